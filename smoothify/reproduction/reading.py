"""Tables of experiments from their files, read strictly."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from smoothify.attacks import ThreatModel, attack
from smoothify.errors import ConfigError, SmoothifyError, UnknownNameError
from smoothify.reproduction.table import Measure, Row, Table
from smoothify.training import Config
from smoothify.training.config.files import mapping_in
from smoothify.training.saving.settings import flat

TABLE_FILE = "table.yaml"
_OPTIONS = flat(asdict(Config()))
_FILE_NAME = re.compile(r"\w[\w.+-]*")


def find_tables(zoo: Path) -> list[Table]:
    """Read every table under a folder, in the order of their names.

    Raises:
        ConfigError: there is none, or one cannot be read.

    >>> "fashion_mnist/headline" in [table.name for table in find_tables(Path("zoo"))]
    True
    """
    files = sorted(zoo.glob(f"*/*/{TABLE_FILE}"))
    if not files:
        raise ConfigError(f"{zoo}: no {TABLE_FILE} in a folder of it; run this in a clone, or give --zoo FOLDER")
    return [read_table(file) for file in files]


def read_table(file: Path) -> Table:
    """Read a table.

    Raises:
        ConfigError: the file cannot be understood, or names a recipe that is not there.

    >>> table = read_table(Path("zoo/fashion_mnist/table_1/table.yaml"))
    >>> table.name, table.seeds, table.rows[0].name
    ('fashion_mnist/table_1', (0, 1, 2), 'neither')
    """
    content = mapping_in(file)
    _only(content, {"title", "about", "recipe", "seeds", "rows", "measure"}, str(file))
    rows = content.get("rows")
    if not isinstance(rows, Mapping) or not rows:
        raise ConfigError(f"{file}: rows is missing; name each row and what it changes")
    seeds = content.get("seeds", [0])
    if not isinstance(seeds, list) or not seeds or not all(isinstance(seed, int) and seed >= 0 for seed in seeds):
        raise ConfigError(f"{file}: seeds={seeds!r} is not a list of whole numbers from 0")
    if len({*seeds}) < len(seeds):
        raise ConfigError(f"{file}: seeds={seeds!r} names a seed twice; drop one")
    read = tuple(_row(str(name), row, content.get("recipe"), file) for name, row in rows.items())
    read = tuple(_started(row, one, read, file) for row, one in zip(read, rows.values(), strict=True))
    for recipe in {row.recipe for row in read}:
        _known(mapping_in(recipe), str(recipe))
    for row in read:
        if row.start is not None and next(one for one in read if one.name == row.start.name).start is not None:
            raise ConfigError(f"{file}, row {row.name!r}: it starts from a row that itself starts from another")
    same: dict[str, str] = {}
    others = {row.name for row in read}
    for row in read:
        if row.against is not None and row.against not in others - {row.name}:
            error = UnknownNameError("row to compare with", row.against, others - {row.name})
            raise ConfigError(f"{file}, row {row.name!r}: {error}")
        if (first := same.setdefault(row.digest, row.name)) != row.name:
            raise ConfigError(f"{file}: rows {first!r} and {row.name!r} are the same run; leave one out")
    measures = content.get("measure", [])
    if not isinstance(measures, list):
        raise ConfigError(f"{file}: measure={measures!r} is not a list; leave it out, or list attacks in it")
    own_names = any(row.imports for row in read)
    measured = tuple(_measure(measure, file, own_names=own_names) for measure in measures)
    slugs = [measure.slug for measure in measured]
    for slug in slugs:
        if slugs.count(slug) > 1:
            raise ConfigError(f"{file}: two entries of measure would write the file {slug!r}; leave one out")
    table = Table(
        folder=file.parent,
        title=_text(content, "title", file),
        about=_text(content, "about", file).strip(),
        seeds=tuple(seeds),
        rows=read,
        measures=measured,
    )
    for row in read:
        if (other := table.baseline(row)) is not None and _images(row) != _images(other):
            raise ConfigError(
                f"{file}, row {row.name!r}: it is measured on other images than {other.name!r}, which it is compared "
                "with; give both the same data.path and data.test_split"
            )
    return table


def _images(row: Row) -> tuple[object, object]:
    """Return what decides on which images a row is measured."""
    given = row.settings.get("data")
    data = {**asdict(Config().data), **(given if isinstance(given, Mapping) else {})}
    return data["path"], data["test_split"]


def _row(name: str, content: object, common: object, file: Path) -> Row:
    where = f"{file}, row {name!r}"
    if not _FILE_NAME.fullmatch(name):
        raise ConfigError(f"{where}: results are files of its name; use letters, digits, '_', '.', '+' and '-' only")
    content = {} if content is None else content
    if not isinstance(content, Mapping):
        raise ConfigError(f"{where}: it must map names to values, or be empty")
    _only(content, {"recipe", "options", "paper", "note", "start", "against"}, where)
    recipe = content.get("recipe", common)
    if not isinstance(recipe, str):
        raise ConfigError(f"{where}: it names no recipe, and neither does the table")
    path = Path(os.path.normpath(file.parent / recipe))
    if not path.is_file():
        raise ConfigError(f"{where}: there is no recipe {path}")
    options, paper = content.get("options", {}), content.get("paper", {})
    if not isinstance(options, Mapping) or not isinstance(paper, Mapping):
        raise ConfigError(f"{where}: options and paper must map names to values")
    if not all(isinstance(value, int | float) for value in paper.values()):
        raise ConfigError(
            f"{where}: paper={dict(paper)!r} does not map columns to numbers; leave out what it does not give"
        )
    row = Row(
        name,
        path,
        dict(options),
        {str(key): float(value) for key, value in paper.items()},
        str(content.get("note", "")),
        against=None if content.get("against") is None else str(content["against"]),
    )
    _known(row.options, where)
    return row


def _known(settings: Mapping[str, Any], where: str) -> None:
    """Refuse a misspelt option now: the command would do so only when it comes to that row."""
    for option in flat(settings):
        group = any(known.startswith(f"{option}.") for known in _OPTIONS)
        inside = any(value == {} and option.startswith(f"{known}.") for known, value in _OPTIONS.items())
        if not (option in _OPTIONS or group or inside):
            raise ConfigError(f"{where}: {UnknownNameError('option', option, _OPTIONS)}")


def _started(row: Row, content: Mapping[str, Any] | None, rows: tuple[Row, ...], file: Path) -> Row:
    """Give a row the one that it starts from."""
    name = (content or {}).get("start")
    if name is None:
        return row
    starts = {one.name: one for one in rows}
    if str(name) not in starts:
        raise ConfigError(f"{file}, row {row.name!r}: {UnknownNameError('row to start from', str(name), starts)}")
    if "model.name" in row.options:
        raise ConfigError(f"{file}, row {row.name!r}: it names its model twice, by start and by model.name; drop one")
    return replace(row, start=starts[str(name)])


def _measure(content: object, file: Path, *, own_names: bool) -> Measure:
    if not isinstance(content, Mapping) or not isinstance(content.get("attack"), str):
        raise ConfigError(f"{file}: an entry of measure needs an attack, such as {{attack: pgd-50, images: 1000}}")
    where = f"{file}, measure {content['attack']!r}"
    _only(content, {field.name for field in fields(Measure)}, where)
    measure = Measure(**content)
    if not isinstance(measure.sanity, bool):
        raise ConfigError(f"{where}: sanity={measure.sanity!r} is neither true nor false")
    if measure.images is not None and (not isinstance(measure.images, int) or measure.images < 1):
        raise ConfigError(f"{where}: images={measure.images!r} is no number of images; leave it out for all")
    if not own_names:  # else only the recipe's own modules know which attacks there are
        try:
            threat = ThreatModel() if measure.epsilon is None else ThreatModel(epsilon=measure.epsilon)
            attack(measure.attack, threat, step_size=measure.step_size)
        except SmoothifyError as error:
            raise ConfigError(f"{where}: {error}") from None
    return measure


def _only(content: Mapping[str, Any], known: set[str], where: str) -> None:
    for name in content:
        if name not in known:
            raise ConfigError(f"{where}: {UnknownNameError('key', str(name), known)}")


def _text(content: Mapping[str, Any], name: str, file: Path) -> str:
    value = content.get(name)
    if not isinstance(value, str):
        raise ConfigError(f"{file}: {name} is missing; say it in a line of text")
    return value
