"""What is kept of a run that ceased to be finite."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from smoothify.errors import DataError
from smoothify.evaluation.hardware import describe_machine
from smoothify.files import write_atomically
from smoothify.reproduction.record import file_of
from smoothify.reproduction.table import Row, Table


@dataclass(frozen=True)
class Divergence:
    """One run of a row that ceased to be finite: it has no model to measure, and that is what it came to.

    Args:
        row: the row's name.
        seed: of the run.
        digest: the row's, when it was run; one with another is out of date.
        command: the options of ``smoothify.train``, and what launched it if not this Python.
        what: what was not finite.
        step: the update at which it was not, counted from 0.
        epoch: that it belongs to, counted from 1.
        versions: of the libraries.
        machine: what it was trained on.

    >>> print(Divergence("relu", 0, "45dbfcb7", ("--lr=9",), "the loss is not finite", 310, 4, {"torch": "2.15.0"}))
    diverged in epoch 4: the loss is not finite, at step 310
    """

    row: str
    seed: int
    digest: str
    command: tuple[str, ...]
    what: str
    step: int
    epoch: int
    versions: Mapping[str, str]
    machine: str = field(default_factory=describe_machine)

    def __str__(self) -> str:
        return f"diverged in epoch {self.epoch}: {self.what}, at step {self.step}"

    def write(self, folder: Path) -> Path:
        """Write it into a table's folder of results, where no record of the same run can then be."""
        folder.mkdir(parents=True, exist_ok=True)
        file_of(folder, self.row, self.seed).unlink(missing_ok=True)
        return write_atomically(
            file_of(folder, self.row, self.seed, ".diverged"), json.dumps(vars(self), indent=1) + "\n"
        )

    @classmethod
    def read(cls, file: Path) -> Divergence:
        """Read one.

        Raises:
            DataError: the file is none.
        """
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            return cls(**{**content, "command": tuple(content["command"])})
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{file} does not say where a run diverged ({error!r}); delete it and run the table again"
            ) from error


def read_divergences(table: Table, row: Row) -> list[Divergence]:
    """Read which runs of a row, as it is now, diverged, by seed.

    >>> from smoothify.reproduction import read_table
    >>> table = read_table(Path("zoo/fashion_mnist/table_1/table.yaml"))
    >>> read_divergences(table, table.rows[0])
    []
    """
    files = (file_of(table.results, row.name, seed, ".diverged") for seed in table.seeds)
    found = [Divergence.read(file) for file in files if file.is_file()]
    return [one for one in found if one.digest == row.digest]
