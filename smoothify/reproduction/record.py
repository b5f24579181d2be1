"""What one run came to, as the JSON file that every figure on a page goes back to."""

from __future__ import annotations

import itertools
import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from smoothify.attacks import show
from smoothify.errors import DataError
from smoothify.evaluation import Verdicts
from smoothify.evaluation.versions import library_versions
from smoothify.files import write_atomically
from smoothify.reproduction.table import Row, Table


@dataclass(frozen=True)
class Measurement(Verdicts):
    """One attack on one trained model.

    Args:
        attack: its name, "PGD-50".
        epsilon: of the threat model, in [0, 1] pixel units.
        clean_correct: per image, whether the clean image is classified right.
        robust_correct: per image, whether the clean *and* the attacked image are.
        surrogate: the activation whose derivative the attack saw in ReLU's place.
    """

    attack: str
    epsilon: float
    clean_correct: tuple[bool, ...]
    robust_correct: tuple[bool, ...]
    surrogate: str | None = None

    def column(self, usual_epsilon: float) -> str:
        """How a table heads it: another attack, other images, another epsilon than the usual one are other columns."""
        at = "" if self.epsilon == usual_epsilon else f" at {show(self.epsilon)}"
        through = "" if self.surrogate is None else f" through {self.surrogate}"
        return f"{self.attack}{at}{through} ({self.robust.images:,} images)"

    @classmethod
    def read(cls, result: Mapping[str, Any]) -> Measurement:
        """Read one result of an evaluation's JSON."""
        return cls(
            result["attack"],
            result["epsilon"],
            tuple(bool(verdict) for verdict in result["clean_correct"]),
            tuple(bool(verdict) for verdict in result["robust_correct"]),
            result["surrogate"],
        )


@dataclass(frozen=True)
class Record:
    """One finished run of a row.

    Args:
        row: the row's name.
        seed: of the run.
        digest: the row's, when it was run; a record with another one is out of date.
        command: the options of ``smoothify.train``.
        epochs: passes over the training images.
        train_accuracy: on attacked training images in the last of them, in [0, 1].
        train_loss: likewise.
        training_seconds: wall-clock time of all epochs.
        held_out: robust accuracy on held-out training images after every epoch, in [0, 1], against the run's own check.
        measured: what the attacks did.
        machine: what it ran on.
        versions: of the libraries.
    """

    row: str
    seed: int
    digest: str
    command: tuple[str, ...]
    epochs: int
    train_accuracy: float
    train_loss: float
    training_seconds: float
    held_out: tuple[float, ...]
    measured: tuple[Measurement, ...]
    machine: str = field(default_factory=lambda: describe_machine())
    versions: Mapping[str, str] = field(default_factory=library_versions)

    @property
    def largest_fall(self) -> float:
        """How far the held-out robust accuracy fell, at the most, below what it had been after an earlier epoch."""
        highest = itertools.accumulate(self.held_out, max)
        return max((before - now for before, now in zip(highest, self.held_out, strict=True)), default=0.0)

    @property
    def columns(self) -> dict[str, Measurement]:
        """What was measured, by the head of its column; the usual epsilon is that of the run's own attack."""
        return {one.column(self.measured[0].epsilon): one for one in self.measured}

    def write(self, folder: Path) -> Path:
        """Write the record into a table's folder of results."""
        content = {name: value for name, value in vars(self).items() if name != "measured"}
        content["measured"] = [
            {
                "attack": one.attack,
                "epsilon": one.epsilon,
                "surrogate": one.surrogate,
                "images": one.robust.images,
                "clean_accuracy": one.clean.value,
                "robust_accuracy": one.robust.value,
                "clean_correct": _pack(one.clean_correct),
                "robust_correct": _pack(one.robust_correct),
            }
            for one in self.measured
        ]
        folder.mkdir(parents=True, exist_ok=True)
        return write_atomically(file_of(folder, self.row, self.seed), json.dumps(content, indent=1) + "\n")

    @classmethod
    def read(cls, file: Path) -> Record:
        """Read a record.

        Raises:
            DataError: the file is not one.
        """
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            content["measured"] = tuple(
                Measurement(
                    one["attack"],
                    one["epsilon"],
                    _unpack(one["clean_correct"], one["images"]),
                    _unpack(one["robust_correct"], one["images"]),
                    one.get("surrogate"),
                )
                for one in content["measured"]
            )
            content |= {name: tuple(content[name]) for name in ("command", "held_out")}
            return cls(**content)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{file} is not the record of a run ({error!r}); delete it and run the table again"
            ) from error


def file_of(folder: Path, row: str, seed: int) -> Path:
    """Where the record of a row and a seed is."""
    return folder / f"{row}.seed-{seed}.json"


def read_records(table: Table, row: Row) -> list[Record]:
    """Read the records of a row that belong to it as it is now, by seed."""
    files = (file_of(table.results, row.name, seed) for seed in table.seeds)
    records = [Record.read(file) for file in files if file.is_file()]
    return [record for record in records if record.digest == row.digest]


def describe_machine() -> str:
    """Name the device and how much of it a run may use."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{_processor()}, {cores} cores"


def _processor() -> str:
    listed = Path("/proc/cpuinfo")
    if listed.is_file():
        for line in listed.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _pack(verdicts: Sequence[bool]) -> str:
    """Write verdicts as hexadecimal digits, the first image in the highest bit.

    >>> _pack([True, False, True, True, False])
    'b0'
    """
    bits = "".join("1" if verdict else "0" for verdict in verdicts)
    bits += "0" * (-len(bits) % 8)
    return int(bits or "0", 2).to_bytes(len(bits) // 8, "big").hex()


def _unpack(digits: str, count: int) -> tuple[bool, ...]:
    bits = "".join(f"{byte:08b}" for byte in bytes.fromhex(digits))
    if not count <= len(bits) < count + 8:
        raise ValueError(f"{len(bits)} verdicts for {count} images")
    return tuple(bit == "1" for bit in bits[:count])
