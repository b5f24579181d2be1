"""What an evaluation has finished, kept on the disk so that it goes on where it was interrupted."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from torch import Tensor, nn

from smoothify.data import Images
from smoothify.evaluation.checksum import checksum
from smoothify.evaluation.versions import installed
from smoothify.files import write_atomically

Kept = list[Any]
"""What is kept of a batch: its four rows of verdicts, and the checksum of its images and labels."""


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
        batches: by number, what was kept of every batch that was done when the measurement began.
    """

    file: Path | None
    batches: Mapping[int, Kept]
    _mine: dict[int, Kept] = field(default_factory=dict)

    @classmethod
    def read(cls, state: Path | Unfinished | None, model: nn.Module, protocol: object, rank: int) -> Self:
        """Read what belongs to this model and this protocol; of another one, nothing is taken.

        Args:
            state: where the files are; made when there is something to keep. None keeps nothing.
            model: all that it holds is part of what is measured.
            protocol: everything else that the verdicts depend on, but for the images' pixels and the libraries.
            rank: of this process.
        """
        if state is None:
            return cls(None, {})
        folder = state.folder if isinstance(state, Unfinished) else state
        known_by = checksum(model, protocol, installed())
        if isinstance(state, Unfinished):
            state.made.add(known_by)
        known: dict[int, Kept] = {}
        mine: dict[int, Kept] = {}
        own = folder / f"{known_by}.{rank}.json"
        for file in sorted(folder.glob(f"{known_by}.*.json")):
            batches = {int(number): rows for number, rows in json.loads(file.read_text(encoding="utf-8")).items()}
            known |= batches
            mine = batches if file == own else mine
        return cls(own, dict(sorted(known.items())), mine)

    def still(self, images: Images, batches: Sequence[range]) -> dict[int, list[list[int]]]:
        """Return the verdicts of the batches whose images are what they were: files may have been written anew."""
        return {
            number: kept[:-1]
            for number, kept in self.batches.items()
            if kept[-1] == checksum(*images.batch(batches[number]))
        }

    def add(self, number: int, verdicts: list[list[int]], images: Tensor, labels: Tensor) -> None:
        """Keep a batch."""
        if self.file is not None:
            self._mine[number] = [*verdicts, checksum(images, labels)]
            self.file.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self.file, json.dumps(self._mine))
