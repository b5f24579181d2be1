"""What one run came to, as the JSON file that every figure on a page goes back to."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from smoothify.errors import DataError
from smoothify.evaluation import Verdicts
from smoothify.evaluation.hardware import describe_machine
from smoothify.files import write_atomically
from smoothify.protocol import show, unusual_step
from smoothify.reproduction.table import Row, Table


@dataclass(frozen=True)
class Measurement(Verdicts):
    """One attack on one trained model.

    Args:
        attack: its name, "PGD-50".
        norm: of the threat model.
        epsilon: likewise, in [0, 1] pixel units.
        step_size: of the attack, in [0, 1] pixel units; None where the attack has none.
        seed: of its random starts.
        clean_correct: per image, whether the clean image is classified right.
        robust_correct: per image, whether the clean *and* the attacked image are.
        surrogate: the activation whose derivative the attack saw in ReLU's place.
        sanity: what the sanity checks came to, in a line; None where they were not made.
        fell_to: how many images fell to which attack of an ensemble; empty where a record does not say.

    >>> Measurement("PGD-50", "linf", 0.1, 0.005, 0, (True,) * 1000, (True,) * 740 + (False,) * 260).column
    'PGD-50, Linf 0.1 (1,000 images)'
    """

    attack: str
    norm: str
    epsilon: float
    step_size: float | None
    seed: int
    clean_correct: tuple[bool, ...]
    robust_correct: tuple[bool, ...]
    surrogate: str | None = None
    sanity: str | None = None
    fell_to: Mapping[str, int] = field(default_factory=dict)

    @property
    def column(self) -> str:
        """How a table heads it: whatever makes the attack another one makes the column another one."""
        unusual = unusual_step(self.attack, self.norm, self.epsilon, self.step_size)
        step = "" if unusual is None else f", step {show(unusual, self.norm)}"
        through = "" if self.surrogate is None else f" through {self.surrogate}"
        threat = f"{self.norm.capitalize()} {show(self.epsilon, self.norm)}"
        return f"{self.attack}{step}{through}, {threat} ({self.robust.images:,} images)"

    @classmethod
    def read(cls, result: Mapping[str, Any]) -> Measurement:
        """Read one result of an evaluation's JSON."""
        return cls(
            result["attack"],
            result["norm"],
            result["epsilon"],
            result["step_size"],
            result["seed"],
            tuple(bool(verdict) for verdict in result["clean_correct"]),
            tuple(bool(verdict) for verdict in result["robust_correct"]),
            result["surrogate"],
            result.get("sanity"),
            dict(Counter(attack for attack in result.get("fell_to", ()) if attack).most_common()),
        )


@dataclass(frozen=True)
class Record:
    """One finished run of a row.

    Args:
        row: the row's name.
        seed: of the run.
        digest: the row's, when it was run; a record with another one is out of date.
        command: the options of ``smoothify.train``, and what launched it if not this Python.
        epochs: passes over the training images.
        epoch: whose model was kept and measured, counted from 1: the best on held-out training images.
        train_accuracy: on attacked training images in that epoch, in [0, 1].
        train_loss: likewise.
        held_out: robust accuracy on held-out training images after every epoch, in [0, 1], against the run's own check.
        held_out_single_step: likewise, against PGD-1.
        attack_precision: that training attacks were computed in, which "auto" leaves to the machine; None without any.
        measures: the slugs of the table's measures that are among what was measured.
        measured: what the attacks did, the run's own final one first.
        training_seconds: wall-clock time of all epochs.
        measuring_seconds: wall-clock time of the table's measures; None where an evaluation did not keep it.
        versions: of the libraries, when it was trained.
        machine: what it was trained on.

    >>> record = Record.read(Path("zoo/fashion_mnist/table_1/results/neither.seed-0.json"))
    >>> record.row, record.epochs, record.measured[0].attack
    ('neither', 25, 'PGD-50')
    """

    row: str
    seed: int
    digest: str
    command: tuple[str, ...]
    epochs: int
    epoch: int
    train_accuracy: float
    train_loss: float
    held_out: tuple[float, ...]
    held_out_single_step: tuple[float, ...]
    attack_precision: str | None
    measures: tuple[str, ...]
    measured: tuple[Measurement, ...]
    training_seconds: float
    measuring_seconds: float | None
    versions: Mapping[str, str]
    machine: str = field(default_factory=describe_machine)

    @property
    def run(self) -> tuple[str, int, str]:
        """What makes it a run of its own: recipe, seed and machine."""
        return self.digest, self.seed, self.machine

    @property
    def network(self) -> tuple[str, int, tuple[float, ...]]:
        """What makes it a network of its own: recipe, seed and course; machines that round alike train the same one."""
        return self.digest, self.seed, self.held_out

    @property
    def single_step_gap(self) -> float:
        """How much more a single step leaves standing than the run's own check: held-out images, of the model kept.

        A large one is overfitting to single steps (Wong et al., "Fast is better than free", arXiv:2001.03994).
        """
        kept = self.epoch - 1
        return self.held_out_single_step[kept] - self.held_out[kept]

    @property
    def columns(self) -> dict[str, Measurement]:
        """What was measured, by the head of its column; a measure that was for the sanity checks has none."""
        final, *others = self.measured
        found: dict[str, Measurement] = {}
        for one in (final, *(other for other in others if other.sanity is None)):
            column = one.column
            while column in found:  # two attacks of one's own that print the same name, or two seeds of one attack
                column += ", again"
            found[column] = one
        return found

    def write(self, folder: Path) -> Path:
        """Write the record into a table's folder of results."""
        content = {name: value for name, value in vars(self).items() if name != "measured"}
        content["measured"] = [
            {
                "attack": one.attack,
                "norm": one.norm,
                "epsilon": one.epsilon,
                "step_size": one.step_size,
                "seed": one.seed,
                "surrogate": one.surrogate,
                "sanity": one.sanity,
                "fell_to": one.fell_to,
                "images": one.robust.images,
                "clean_accuracy": one.clean.value,
                "robust_accuracy": one.robust.value,
                "clean_correct": _pack(one.clean_correct),
                "robust_correct": _pack(one.robust_correct),
            }
            for one in self.measured
        ]
        folder.mkdir(parents=True, exist_ok=True)
        file_of(folder, self.row, self.seed, ".diverged").unlink(missing_ok=True)
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
                    one["norm"],
                    one["epsilon"],
                    one["step_size"],
                    one["seed"],
                    _unpack(one["clean_correct"], one["images"]),
                    _unpack(one["robust_correct"], one["images"]),
                    one["surrogate"],
                    one["sanity"],
                    one.get("fell_to", {}),
                )
                for one in content["measured"]
            )
            lists = ("command", "held_out", "held_out_single_step", "measures")
            content |= {name: tuple(content[name]) for name in lists}
            return cls(**content)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{file} is not the record of a run ({error!r}); delete it and run the table again"
            ) from error


def file_of(folder: Path, row: str, seed: int, kind: str = "") -> Path:
    """Where the record of a row and a seed is, or what says ``".diverged"`` of it; one of the two is there."""
    return folder / f"{row}.seed-{seed}{kind}.json"


def read_records(table: Table, row: Row) -> list[Record]:
    """Read the records of a row that belong to it as it is now, by seed.

    >>> from smoothify.reproduction import read_table
    >>> table = read_table(Path("zoo/fashion_mnist/table_1/table.yaml"))
    >>> [record.seed for record in read_records(table, table.rows[0])]
    [0, 1, 2]
    """
    files = (file_of(table.results, row.name, seed) for seed in table.seeds)
    records = [Record.read(file) for file in files if file.is_file()]
    return [record for record in records if record.digest == row.digest]


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
