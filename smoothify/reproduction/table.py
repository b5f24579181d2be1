"""A table of experiments: one file that says what is compared, how it is measured, and what the paper found."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from smoothify.errors import ConfigError, UnknownNameError

TABLE_FILE = "table.yaml"


@dataclass(frozen=True)
class Measure:
    """One attack on the trained model, beside the run's own final one.

    Args:
        attack: as ``smoothify.evaluate --attack`` takes it.
        images: the first so many test images; all if not given.
    """

    attack: str
    images: int | None = None

    @property
    def slug(self) -> str:
        """A file name for its figures."""
        return self.attack if self.images is None else f"{self.attack}-{self.images}"


@dataclass(frozen=True)
class Row:
    """One line of a table: a training run, repeated with every seed.

    Args:
        name: how the table calls it.
        recipe: the YAML file that ``smoothify.train --config`` reads.
        options: what this row changes in it, by option name ("model.activation").
        paper: what the paper reports, in percent, by column ("clean", "robust").
        note: what a reader must know, such as an assumption of ours.
    """

    name: str
    recipe: Path
    options: Mapping[str, Any]
    paper: Mapping[str, float]
    note: str = ""

    @property
    def arguments(self) -> list[str]:
        """The options of ``smoothify.train`` that train this row."""
        changed = [f"--{name}={_as_option(value)}" for name, value in self.options.items()]
        return ["--config", str(self.recipe), *changed]

    @property
    def digest(self) -> str:
        """A checksum of the recipe as this row changes it; equal ones are the same run, whatever the table calls it."""
        said = dict(_mapping_in(self.recipe))
        for name, value in self.options.items():
            *parents, last = name.split(".")
            place = said
            for parent in parents:
                below = place.get(parent)
                place[parent] = dict(below) if isinstance(below, Mapping) else {}
                place = place[parent]
            place[last] = value
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Table:
    """A set of rows that differ in one thing.

    Args:
        folder: where its file lies; results go into ``results/`` there.
        title: what is compared, in a line.
        about: what a reader needs to know, in a paragraph.
        seeds: every row is trained once with each.
        rows: the first one is the baseline that the others are compared with.
        measures: attacks on the trained models, beside each run's own final one.
        columns: names of the paper's columns.
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

    @property
    def results(self) -> Path:
        """Where the records of its runs are."""
        return self.folder / "results"

    @property
    def columns(self) -> list[str]:
        """The columns for which the paper gives a number in some row."""
        return list(dict.fromkeys(column for row in self.rows for column in row.paper))


def find_tables(zoo: Path) -> list[Table]:
    """Read every table under a folder, in the order of their names.

    Raises:
        ConfigError: there is none, or one cannot be read.
    """
    files = sorted(zoo.glob(f"*/*/{TABLE_FILE}"))
    if not files:
        raise ConfigError(f"{zoo}: no {TABLE_FILE} in a folder of it; run this in a clone, or give --zoo FOLDER")
    return [read_table(file) for file in files]


def read_table(file: Path) -> Table:
    """Read a table.

    Raises:
        ConfigError: the file cannot be understood, or names a recipe that is not there.
    """
    content = _mapping_in(file)
    _only(content, {"title", "about", "recipe", "seeds", "rows", "measure"}, str(file))
    rows = content.get("rows")
    if not isinstance(rows, Mapping) or not rows:
        raise ConfigError(f"{file}: rows is missing; name each row and what it changes")
    seeds = content.get("seeds", [0])
    if not isinstance(seeds, list) or not seeds or not all(isinstance(seed, int) and seed >= 0 for seed in seeds):
        raise ConfigError(f"{file}: seeds={seeds!r} is not a list of whole numbers from 0")
    read = tuple(_row(str(name), row, content.get("recipe"), file) for name, row in rows.items())
    same: dict[str, str] = {}
    for row in read:
        if (first := same.setdefault(row.digest, row.name)) != row.name:
            raise ConfigError(f"{file}: rows {first!r} and {row.name!r} are the same run; leave one out")
    return Table(
        folder=file.parent,
        title=_text(content, "title", file),
        about=_text(content, "about", file).strip(),
        seeds=tuple(seeds),
        rows=read,
        measures=tuple(_measure(measure, file) for measure in content.get("measure", [])),
    )


def _row(name: str, content: object, common: object, file: Path) -> Row:
    where = f"{file}, row {name!r}"
    content = {} if content is None else content
    if not isinstance(content, Mapping):
        raise ConfigError(f"{where}: it must map names to values, or be empty")
    _only(content, {"recipe", "options", "paper", "note"}, where)
    recipe = content.get("recipe", common)
    if not isinstance(recipe, str):
        raise ConfigError(f"{where}: it names no recipe, and neither does the table")
    path = Path(os.path.normpath(file.parent / recipe))
    if not path.is_file():
        raise ConfigError(f"{where}: there is no recipe {path}")
    options, paper = content.get("options", {}), content.get("paper", {})
    if not isinstance(options, Mapping) or not isinstance(paper, Mapping):
        raise ConfigError(f"{where}: options and paper must map names to values")
    return Row(name, path, dict(options), {str(key): float(value) for key, value in paper.items()},
               str(content.get("note", "")))  # fmt: skip


def _measure(content: object, file: Path) -> Measure:
    if not isinstance(content, Mapping) or not isinstance(content.get("attack"), str):
        raise ConfigError(f"{file}: an entry of measure needs an attack, such as {{attack: pgd-50, images: 1000}}")
    _only(content, {"attack", "images"}, f"{file}, measure")
    return Measure(content["attack"], content.get("images"))


def _mapping_in(file: Path) -> Mapping[str, Any]:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{file} cannot be read as YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, Mapping):
        raise ConfigError(f"{file} does not map names to values")
    return content


def _only(content: Mapping[str, Any], known: set[str], where: str) -> None:
    for name in content:
        if name not in known:
            raise ConfigError(f"{where}: {UnknownNameError('key', str(name), known)}")


def _text(content: Mapping[str, Any], name: str, file: Path) -> str:
    value = content.get(name)
    if not isinstance(value, str):
        raise ConfigError(f"{file}: {name} is missing; say it in a line of text")
    return value


def _as_option(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
