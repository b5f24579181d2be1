"""One HTML file that holds a whole report: it opens without a network and carries its pictures inside."""

from __future__ import annotations

import base64
import html
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass

# A page that could load anything from elsewhere would not be self-contained: the browser is told to refuse.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_STYLE = """
:root { color-scheme: light dark; --line: #d0d7de; --soft: #57606a; --pass: #1a7f37; --fail: #cf222e; }
@media (prefers-color-scheme: dark) { :root { --line: #3d444d; --soft: #9198a1; --pass: #3fb950; --fail: #f85149; } }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: .3rem; overflow-wrap: anywhere; } h2 { font-size: 1.2rem; margin-top: 2.2rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; vertical-align: top; padding: .35rem .9rem .35rem 0; border-bottom: 1px solid var(--line); }
td { overflow-wrap: anywhere; } td:first-child, .verdict, .number { white-space: nowrap; overflow-wrap: normal; }
th, figcaption, .soft { color: var(--soft); font-weight: normal; }
.pass { color: var(--pass); } .fail, .warning { color: var(--fail); font-weight: 600; }
.pictures { display: grid; grid-template-columns: 1fr 1fr; gap: 1rem 1.5rem; align-items: end; }
figure { margin: 0; } .wide { grid-column: 1 / -1; } img { width: 100%; height: auto; background: #fff; }
@media (max-width: 45rem) { .pictures { display: block; } td:first-child { white-space: normal; } }
"""
_VERDICTS = {"pass": "pass", "fail": "fail", "not applicable": "soft"}  # classes of cells that say only this
_WIDE = 1.8  # from this ratio of width to height on, a picture has a row of its own


@dataclass(frozen=True)
class Section:
    """A part of a report; what it does not have is left out.

    Args:
        title: its heading.
        text: a paragraph.
        head: the columns of its table.
        rows: the table; a cell that is a check's verdict, or begins with "WARNING", is coloured.
        pictures: captions and PNG files.

    >>> Section("Accuracy", head=("attack", "robust"), rows=(("PGD-50", "71.5%"),)).pictures
    ()
    """

    title: str
    text: str = ""
    head: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    pictures: tuple[tuple[str, bytes], ...] = ()


def page(title: str, sections: Sequence[Section]) -> str:
    """Return the HTML of a report; all text is taken literally.

    >>> text = page("resnet18", [Section("Accuracy", head=("attack", "robust"), rows=(("PGD-50", "71.5%"),))])
    >>> ">71.5%</td>" in text, "://" in text
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
    parts = [f"<h2>{html.escape(section.title)}</h2>"] if section.title else []
    if section.text:
        parts.append(f"<p>{html.escape(section.text)}</p>")
    if section.rows:
        head = "".join(f"<th>{html.escape(name)}</th>" for name in section.head)
        rows = "\n".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in section.rows)
        parts.append(f"<table>\n<tr>{head}</tr>\n{rows}\n</table>")
    if section.pictures:
        parts.append(f'<div class="pictures">\n{"".join(map(_figure, section.pictures))}</div>')
    return "\n".join(parts)


def _figure(picture: tuple[str, bytes]) -> str:
    caption, png = html.escape(picture[0]), picture[1]
    width, height = struct.unpack(">II", png[16:24])  # where the first chunk of every PNG file has them
    kind = ' class="wide"' if width > _WIDE * height else ""
    image = f'<img alt="{caption}" width="{width}" height="{height}" src="data:image/png;base64,'
    return f'<figure{kind}>{image}{base64.b64encode(png).decode()}"><figcaption>{caption}</figcaption></figure>\n'


def _cell(text: str) -> str:
    if text in _VERDICTS:
        return f'<td class="verdict {_VERDICTS[text]}">{text}</td>'
    kind = "warning" if text.startswith("WARNING") else "number" if re.match(r"\d+\.\d%", text) else ""
    return f'<td class="{kind}">{html.escape(text)}</td>' if kind else f"<td>{html.escape(text)}</td>"
