"""One run of a table: its commands, its folder, and the machine that it is started on."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from smoothify.errors import ConfigError
from smoothify.reproduction.table import Row, Table

FINISHED = "evaluation.json"


@dataclass(frozen=True)
class Machine:
    """What a command is started with; a record names it beside the row's own options.

    Args:
        launcher: goes before ``-m smoothify.train``, such as ("accelerate", "launch", "--num_processes", "8"); this
            Python if empty.
        data: where the data set lies here, in place of the recipe's ``data.path``.
        side_by_side: how many runs share the machine at a time.

    >>> Machine(side_by_side=0)
    Traceback (most recent call last):
    smoothify.errors.ConfigError: side_by_side=0: at least 1 is needed
    """

    launcher: tuple[str, ...] = ()
    data: str | None = None
    side_by_side: int = 1

    def __post_init__(self) -> None:
        if self.side_by_side < 1:
            raise ConfigError(f"side_by_side={self.side_by_side}: at least 1 is needed")
        if self.launcher and shutil.which(self.launcher[0]) is None:
            raise ConfigError(f"launch: there is no command {self.launcher[0]!r}; install it, or leave launch out")

    @property
    def opening(self) -> list[str]:
        """The words before a module's name."""
        return [*(self.launcher or (sys.executable,)), "-m"]

    @property
    def threads(self) -> list[str]:
        """The option that shares the cores between runs; a launcher's processes share them by themselves."""
        if self.launcher:
            return []
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return [f"--threads={max(1, cores // self.side_by_side)}"]


@dataclass(frozen=True)
class Job:
    """One row with one seed.

    Args:
        table: where it belongs.
        row: what is trained.
        seed: with which seed.
        folder: the run's folder; one that was interrupted is resumed there, one of another table used again.
        machine: how its commands are started.
    """

    table: Table
    row: Row
    seed: int
    folder: Path
    machine: Machine

    @property
    def arguments(self) -> list[str]:
        """The options of ``smoothify.train`` that train it."""
        if self.start is None:
            return self.row.arguments
        return [*self.row.arguments, f"--model.name={self.start}", "--model.pretrained=true", "--model.arguments={}"]

    @property
    def start(self) -> Path | None:
        """The folder of the run that it starts from."""
        return None if self.row.start is None else self.folder.with_name(f"{self.row.start.digest}.seed-{self.seed}")

    @property
    def finished(self) -> Path:
        """The file that a run leaves when it has come to its end."""
        return self.folder / FINISHED

    @property
    def log(self) -> Path:
        """Everything that the commands print."""
        return self.folder.with_name(f"{self.folder.name}.log")

    def __str__(self) -> str:
        return f"{self.table.name} {self.row.name}, seed {self.seed}"
