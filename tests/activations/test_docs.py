"""The documentation is what the catalogue says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from smoothify.activations.__main__ import main
from smoothify.activations.table import catalogue_table

DOCS = Path(__file__).parents[2] / "docs"


def test_the_table_is_the_catalogue() -> None:
    text = (DOCS / "activations.md").read_text(encoding="utf-8")
    assert catalogue_table() in text, "paste the output of `python -m smoothify.activations table`"


def test_every_picture_is_there_and_small(tmp_path: Path) -> None:
    main(["plot", "--out", str(tmp_path)])
    for drawn in tmp_path.iterdir():
        committed = DOCS / "images" / drawn.name
        assert committed.stat().st_size < 200_000
        assert drawn.read_bytes()[:8] == committed.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
        assert f"images/{drawn.name}" in (DOCS / "activations.md").read_text(encoding="utf-8")


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.touch()
    command = [sys.executable, "-m", "smoothify.activations", "plot", "--out", str(taken)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("python -m smoothify.activations: ") and str(taken) in done.stderr
