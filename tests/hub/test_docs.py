"""Every ``python hub`` block of docs/hub.md runs, in order, in one namespace, against the loopback Hub."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import smoothify
from tests.hub.server import Hub

PAGE = Path(smoothify.__file__).parents[1] / "docs" / "hub.md"


def test_the_page_runs_as_it_stands(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"^```python hub\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    names: dict[str, object] = {}
    for number, block in enumerate(blocks, 1):
        exec(compile(block, f"docs/hub.md block {number}", "exec"), names)
    assert "Unknown model (load_with_smoothify_test_resnet)" in capsys.readouterr().out
    assert sorted(hub.repos) == ["me/own", "me/plain-resnet", "me/small-resnet-silu", "me/small-resnet-smoothrelu"]
    assert len(blocks) == 7
