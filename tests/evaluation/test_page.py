"""The report's page: nothing is loaded from elsewhere, nothing is taken for markup, and a browser finds no error."""

import io
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from smoothify.evaluation import Share
from smoothify.evaluation.page import Section, page
from smoothify.evaluation.plots import robustness
from tests.evaluation.browser import CHROMIUM, errors_in_browser


def report() -> str:
    curve = robustness({"PGD": [(n, Share(60 - n, 100)) for n in (1, 5, 10)]}, against="steps", chance=0.1)
    return page(
        "resnet10_28px <silu>",
        [
            Section("Robust accuracy", "On 100 images.", ("attack", "robust", ""),
                    (("PGD-200", "55.0% [45.2, 64.4]", "WARNING: 19 points open"),
                     ("a & b", "<script>alert(1)</script>", ""))),
            Section("Sanity", head=("check", "verdict", "found"), rows=(("range", "pass", ""), ("eval", "fail", ""))),
            Section("Pictures", pictures=(("robustness against steps", curve),)),
        ],
    )  # fmt: skip


class References(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.found += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "action")]


def test_nothing_is_loaded_from_elsewhere_and_text_is_not_markup() -> None:
    text = report()
    parsed = References()
    parsed.feed(text)
    assert parsed.found
    assert all(reference.startswith("data:") for reference in parsed.found)
    assert "script" not in parsed.tags
    assert not re.search(r"@import|url\(|://", text)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert '<td class="number">55.0% [45.2, 64.4]</td><td class="warning">WARNING: 19 points open</td>' in text


def test_wide_pictures_have_a_row_of_their_own() -> None:
    pictures = [(f"{width} wide", png_of(width)) for width in (300, 900)]
    text = page("pictures", [Section("", pictures=tuple(pictures))])
    assert '<figure><img alt="300 wide" width="300" height="300"' in text
    assert '<figure class="wide"><img alt="900 wide" width="900" height="300"' in text


def png_of(width: int) -> bytes:
    file = io.BytesIO()
    Image.new("L", (width, 300)).save(file, format="PNG")
    return file.getvalue()


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_a_browser_shows_it_without_an_error(tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text(report(), encoding="utf-8")
    assert errors_in_browser(file) == []


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_a_browser_would_tell_of_an_error(tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text(report().replace("<body>", "<body><script>alert(1)</script>"), encoding="utf-8")
    assert "Content Security Policy" in "".join(errors_in_browser(file))
