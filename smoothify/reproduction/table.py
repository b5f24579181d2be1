"""A table of experiments: what is compared, how it is measured, and what the paper found."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smoothify.training.config.files import mapping_in


@dataclass(frozen=True)
class Measure:
    """One attack on the trained model, beside the run's own final one; its fields are options of ``evaluate``.

    Args:
        attack: its name, "pgd-50".
        images: so many test images, chosen as `smoothify.evaluate --images` does; all if not given.
        epsilon: in [0, 1] pixel units, such as "8/255"; the run's own if not given.
        step_size: of PGD, likewise; its default if not given.
        surrogate: the activation whose derivative the attack sees in ReLU's place (§3.2).
        sanity: whether it is put through the sanity checks (§6); then these are what it is for, and it has no column.

    >>> Measure("autoattack", images=1000).arguments
    ['--attack=autoattack', '--images=1000']
    """

    attack: str
    images: int | None = None
    epsilon: float | str | None = None
    step_size: float | str | None = None
    surrogate: str | None = None
    sanity: bool = False

    @property
    def arguments(self) -> list[str]:
        """The options of ``smoothify.evaluate`` that measure it."""
        return [f"--{name}" if value is True else f"--{name}={value}" for name, value in self._given.items()]

    @property
    def slug(self) -> str:
        """A file name for its figures."""
        return "-".join(name if value is True else str(value).replace("/", "_") for name, value in self._given.items())

    @property
    def _given(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if value is not None and value is not False}


@dataclass(frozen=True)
class Row:
    """One line of a table: a training run, repeated with every seed.

    Args:
        name: how the table calls it.
        recipe: the YAML file that ``smoothify.train --config`` reads.
        options: what this row changes in it, by option name ("model.activation").
        paper: what the paper reports, in percent, by column ("clean", "robust").
        note: what a reader must know, such as an assumption of ours.
        start: the row whose best model, trained with the same seed, this one starts from.
        against: the name of the row that it is compared with, if that is not the table's first.

    >>> Row("silu", Path("zoo/fashion_mnist/default.yaml"), {"model.activation": "silu"}, {}).changes
    ['--model.activation=silu']
    """

    name: str
    recipe: Path
    options: Mapping[str, Any]
    paper: Mapping[str, float]
    note: str = ""
    start: Row | None = None
    against: str | None = None

    @property
    def changes(self) -> list[str]:
        """The options of ``smoothify.train`` beside the recipe."""
        return [f"--{name}={_as_option(value)}" for name, value in self.options.items()]

    @property
    def arguments(self) -> list[str]:
        """The options of ``smoothify.train`` that train this row; where it starts from, the runner adds."""
        return ["--config", str(self.recipe), *self.changes]

    @property
    def imports(self) -> list[str]:
        """The option by which ``smoothify.evaluate``, too, learns the names of modules of one's own."""
        named = {**mapping_in(self.recipe), **self.options}.get("imports")
        return [f"--imports={_as_option(named)}"] if named else []

    @property
    def settings(self) -> dict[str, Any]:
        """What the recipe says as this row changes it, nested as in the recipe."""
        said = dict(mapping_in(self.recipe))
        for name, value in self.options.items():
            *parents, last = name.split(".")
            place = said
            for parent in parents:
                below = place.get(parent)
                place[parent] = dict(below) if isinstance(below, Mapping) else {}
                place = place[parent]
            place[last] = value
        return said

    @property
    def digest(self) -> str:
        """A checksum of the recipe as this row changes it; equal ones are the same run, whatever the table calls it."""
        said = self.settings
        if self.start is not None:
            said["start"] = self.start.digest
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Table:
    """A set of rows that differ in one thing.

    Args:
        folder: where its file lies; results go into ``results/`` there.
        title: what is compared, in a line.
        about: what a reader needs to know, in a paragraph.
        seeds: every row is trained once with each.
        rows: the first one is the baseline of all that name no other.
        measures: attacks on the trained models, beside each run's own final one.

    >>> recipe = Path("zoo/fashion_mnist/default.yaml")
    >>> rows = tuple(Row(name, recipe, {"model.activation": name}, {}) for name in ("relu", "silu"))
    >>> table = Table(Path("zoo/fashion_mnist/mine"), "SiLU against ReLU", "A first look.", (0, 1, 2), rows)
    >>> table.name, table.baseline(rows[1]).name
    ('fashion_mnist/mine', 'relu')
    """

    folder: Path
    title: str
    about: str
    seeds: tuple[int, ...]
    rows: tuple[Row, ...]
    measures: tuple[Measure, ...] = ()

    @property
    def name(self) -> str:
        """The table's name on the command line: its folder's place in the zoo, such as "fashion_mnist/figure_3"."""
        return f"{self.folder.parent.name}/{self.folder.name}"

    def baseline(self, row: Row) -> Row | None:
        """The row that one is compared with; None for the first row, unless it names one."""
        name = row.against or self.rows[0].name
        return next((one for one in self.rows if one.name == name and one is not row), None)

    @property
    def results(self) -> Path:
        """Where the records of its runs are."""
        return self.folder / "results"

    @property
    def columns(self) -> list[str]:
        """The columns for which the paper gives a number in some row, clean and robust accuracy first."""
        known = dict.fromkeys(column for row in self.rows for column in row.paper)
        return sorted(known, key=lambda column: column not in ("clean", "robust"))


def _as_option(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
