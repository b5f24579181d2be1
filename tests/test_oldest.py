"""What pyproject.toml promises to run on is what tests/oldest.txt installs."""

from __future__ import annotations

import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

HERE = Path(__file__).parent


def test_every_lower_bound_is_the_version_that_was_tried() -> None:
    project = tomllib.loads((HERE.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [line for line in (HERE / "oldest.txt").read_text(encoding="utf-8").splitlines() if line[0] != "#"]
    tried = {pin.name: {Version(each.version) for each in pin.specifier} for pin in map(Requirement, lines)}
    extras = [bound for extra in ("transformers", "autoattack") for bound in project["optional-dependencies"][extra]]
    for bound in map(Requirement, [*project["dependencies"], *extras]):
        assert {Version(each.version) for each in bound.specifier if each.operator == ">="} == tried[bound.name]
