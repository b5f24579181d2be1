"""One HTML file that holds a whole report: it opens without a network and carries its pictures inside."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass

# A page that could load anything from elsewhere would not be self-contained: the browser is told to refuse.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_STYLE = """
:root { color-scheme: light dark; --line: #d0d7de; --soft: #57606a; --pass: #1a7f37; --fail: #cf222e; }
@media (prefers-color-scheme: dark) { :root { --line: #3d444d; --soft: #9198a1; --pass: #3fb950; --fail: #f85149; } }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; vertical-align: top; padding: .35rem .7rem .35rem 0; border-bottom: 1px solid var(--line); }
th, figcaption, .note { color: var(--soft); font-weight: normal; }
.pass { color: var(--pass); } .fail, .warning { color: var(--fail); font-weight: 600; }
figure { margin: 1rem 0; } img { max-width: 100%; height: auto; background: #fff; }
"""
_MARKED = {"pass": "pass", "fail": "fail"}  # cells that say only this are coloured


@dataclass(frozen=True)
class Section:
    """A part of a report; what it does not have is left out.

    Args:
        title: its heading.
        text: a paragraph.
        warnings: preconditions that are not met, each printed above everything else of the section.
        head: the columns of its table.
        rows: the table; a cell that is just "pass" or "fail" is coloured.
        pictures: captions and PNG files.
    """

    title: str
    text: str = ""
    warnings: tuple[str, ...] = ()
    head: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    pictures: tuple[tuple[str, bytes], ...] = ()


def page(title: str, sections: Sequence[Section]) -> str:
    """Return the HTML of a report; all text is taken literally.

    >>> text = page("resnet18", [Section("Accuracy", head=("attack", "robust"), rows=(("PGD-50", "71.5%"),))])
    >>> "<td>71.5%</td>" in text, "://" in text
    (True, False)
    """
    body = "\n".join(_section(section) for section in sections)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n<link rel="icon" href="data:,">\n'
        f"<title>{html.escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n"
        f"<body>\n<h1>{html.escape(title)}</h1>\n{body}\n</body>\n</html>\n"
    )


def _section(section: Section) -> str:
    parts = [f"<h2>{html.escape(section.title)}</h2>"]
    parts += [f'<p class="warning">Warning: {html.escape(warning)}</p>' for warning in section.warnings]
    if section.text:
        parts.append(f"<p>{html.escape(section.text)}</p>")
    if section.rows:
        head = "".join(f"<th>{html.escape(name)}</th>" for name in section.head)
        rows = "\n".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in section.rows)
        parts.append(f"<table>\n<tr>{head}</tr>\n{rows}\n</table>")
    for caption, png in section.pictures:
        data = base64.b64encode(png).decode()
        shown = html.escape(caption)
        parts.append(
            f'<figure><img alt="{shown}" src="data:image/png;base64,{data}"><figcaption>{shown}</figcaption></figure>'
        )
    return "\n".join(parts)


def _cell(text: str) -> str:
    kind = _MARKED.get(text)
    return f'<td class="{kind}">{text}</td>' if kind else f"<td>{html.escape(text)}</td>"
