"""What an evaluation has finished, kept on the disk so that it goes on where it was interrupted."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import torch
from torch import nn

from smoothify.files import write_atomically

_PLAIN = (bool, int, float, str, bytes, type(None))


@dataclass
class Unfinished:
    """The folder of measurements that are to go on where they were interrupted, several in one.

    Args:
        folder: where they keep what they have finished.
        made: the checksums of the measurements that were made with this object.

    >>> Unfinished(Path("no/such/folder")).forget()
    """

    folder: Path
    made: set[str] = field(default_factory=set)

    def forget(self) -> None:
        """Delete what was kept of the measurements made; what others have finished there stays."""
        for known_by in self.made:
            for file in self.folder.glob(f"{known_by}.*.json"):
                file.unlink()
        with suppress(OSError):  # not empty, or never made
            self.folder.rmdir()


@dataclass
class Finished:
    """The batches of one measurement that need not be done again.

    Every process writes a file of its own, whole after each batch; all files are read at the start.

    Args:
        file: this process's own; None keeps nothing.
        batches: by number, the rows of verdicts of every batch that was done when the measurement began.
    """

    file: Path | None
    batches: Mapping[int, list[list[int]]]
    _mine: dict[int, list[list[int]]] = field(default_factory=dict)

    @classmethod
    def read(cls, state: Path | Unfinished | None, model: nn.Module, protocol: object, rank: int) -> Self:
        """Read what belongs to this model and this protocol; of another one, nothing is taken.

        Args:
            state: where the files are; made when there is something to keep. None keeps nothing.
            model: its parameters and buffers are part of what is measured.
            protocol: everything else that the verdicts depend on; its ``repr`` tells one from another.
            rank: of this process.
        """
        if state is None:
            return cls(None, {})
        folder, known_by = state.folder if isinstance(state, Unfinished) else state, digest(model, protocol)
        if isinstance(state, Unfinished):
            state.made.add(known_by)
        known: dict[int, list[list[int]]] = {}
        mine: dict[int, list[list[int]]] = {}
        own = folder / f"{known_by}.{rank}.json"
        for file in sorted(folder.glob(f"{known_by}.*.json")):
            batches = {int(number): rows for number, rows in json.loads(file.read_text(encoding="utf-8")).items()}
            known |= batches
            mine = batches if file == own else mine
        return cls(own, dict(sorted(known.items())), mine)

    def add(self, number: int, verdicts: list[list[int]]) -> None:
        """Keep a batch."""
        if self.file is not None:
            self._mine[number] = verdicts
            self.file.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self.file, json.dumps(self._mine))


def digest(model: nn.Module, protocol: object = None) -> str:
    """Return a checksum of a model, its tensors and plain attributes, and of a protocol's ``repr``."""
    known = hashlib.sha256(repr(protocol).encode())
    known.update(repr(model).encode())  # an activation without parameters shows here only
    for path, module in model.named_modules():
        plain = {
            name: value for name, value in vars(module).items() if isinstance(value, _PLAIN) and name != "training"
        }
        known.update(repr((path, type(module).__qualname__, plain)).encode())
    for name, value in (*model.named_parameters(), *model.named_buffers()):
        known.update(name.encode())
        known.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return known.hexdigest()[:16]
