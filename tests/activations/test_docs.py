"""The documentation is what the catalogue says."""

from __future__ import annotations

from pathlib import Path

from smoothify.activations.__main__ import main
from smoothify.activations.table import catalogue_table

DOCS = Path(__file__).parents[2] / "docs"


def test_the_table_is_the_catalogue() -> None:
    text = (DOCS / "activations.md").read_text(encoding="utf-8")
    assert catalogue_table() in text, "paste the output of `python -m smoothify.activations table`"


def test_every_picture_is_there_and_small(tmp_path: Path) -> None:
    assert main(["plot", "--out", str(tmp_path)]) == 0
    for drawn in tmp_path.iterdir():
        committed = DOCS / "images" / drawn.name
        assert committed.stat().st_size < 200_000
        assert drawn.read_bytes()[:8] == committed.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
        assert f"images/{drawn.name}" in (DOCS / "activations.md").read_text(encoding="utf-8")
