"""The report's page: nothing is loaded from elsewhere, nothing is taken for markup, and a browser finds no error."""

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from smoothify.evaluation import Share
from smoothify.evaluation.page import Section, page
from smoothify.evaluation.plots import robustness

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def report() -> str:
    curve = robustness({"PGD": [(n, Share(60 - n, 100)) for n in (1, 5, 10)]}, against="steps", chance=0.1)
    return page(
        "resnet10_28px <silu>",
        [
            Section("Robust accuracy", "On 100 images.", ("100 images leave 19 points open",), ("attack", "robust"),
                    (("PGD-200", "55.0% [45.2, 64.4]"), ("a & b", "<script>alert(1)</script>"))),
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
    assert "Warning: 100 images leave 19 points open" in text


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_a_browser_shows_it_without_an_error(tmp_path: Path) -> None:
    assert CHROMIUM
    file = tmp_path / "report.html"
    file.write_text(report(), encoding="utf-8")
    done = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
         "--enable-logging=stderr", "--v=0", f"--screenshot={tmp_path / 'page.png'}", "--window-size=1000,1200",
         file.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert [line for line in done.stderr.splitlines() if "CONSOLE" in line] == []
    assert (tmp_path / "page.png").stat().st_size > 10_000
