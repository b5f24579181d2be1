"""A page for each table of the paper: its numbers beside ours, at every size, and the exact command of every row."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from itertools import groupby
from pathlib import PurePosixPath

from smoothify.reproduction.page import section
from smoothify.reproduction.table import Row, Table

_OPENING = """<!-- Written by `python -m smoothify results`; nothing here is typed by hand. -->
# {title}

[How to run a table](../reproduce.md) says what these commands need, and how to read what they find.
"""
_COMMANDS = """
The whole table, which also writes its numbers into this page:

<!-- test: skip, it trains for hours or longer; tests/zoo reads every command -->
```bash
python -m smoothify reproduce {name}
```

Row by row, with seed {seed}:

<!-- test: skip, the same -->
```bash
{commands}
```
"""


def guides(tables: Sequence[Table]) -> dict[str, str]:
    """Return the pages, as Markdown, by file name; tables of the same name, for several data sets, share one.

    >>> from pathlib import Path
    >>> from smoothify.reproduction import find_tables
    >>> print(guides(find_tables(Path("zoo")))["table_1.md"].splitlines()[1])
    # Table 1
    """
    by_name = sorted(tables, key=lambda table: (table.folder.name, table.name))
    pages = {name: list(group) for name, group in groupby(by_name, key=lambda table: table.folder.name)}
    return {
        f"{name}.md": "\n".join([_OPENING.format(title=_title(group[0])), *map(_reproduced, group)])
        for name, group in pages.items()
    }


def commands(table: Table, row: Row) -> list[str]:
    """Return what trains and measures a row, to be run where the zoo lies."""
    seed, zoo = table.seeds[0], table.folder.parents[1]
    run = PurePosixPath("runs", table.name, row.name)
    recipe = PurePosixPath(zoo.name, *row.recipe.relative_to(zoo).parts)
    start = row.start and [
        f"--model.name={run.with_name(row.start.name)}",
        "--model.pretrained=true",
        "--model.arguments={}",
    ]
    changes = [*row.changes, *(start or ())]
    train = ["smoothify.train", "--config", str(recipe), *changes, f"--seed={seed}", f"--output={run}"]
    evaluate = ["smoothify.evaluate", str(run / "best"), *row.imports]
    measure = [[*evaluate, *measure.arguments, f"--output={run / measure.slug}.json"] for measure in table.measures]
    return [shlex.join(["accelerate", "launch", "-m", *command]) for command in (train, *measure)]


def _reproduced(table: Table) -> str:
    lines = "\n".join(line for row in table.rows for line in commands(table, row))
    return f"{section(table)}\n{_COMMANDS.format(name=table.name, seed=table.seeds[0], commands=lines)}"


def _title(table: Table) -> str:
    """Write a folder's name as the paper's reader says it; a table that is not the paper's has its own title."""
    kind, *numbers = table.folder.name.split("_")
    if all(number.isdigit() for number in numbers) and numbers:
        return f"{kind.title()} {'.'.join(numbers)}"
    return table.title.split(", on ")[0]
