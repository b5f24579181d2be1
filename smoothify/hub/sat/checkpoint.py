"""A TensorFlow checkpoint as a mapping of names to tensors, read without TensorFlow."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from smoothify.errors import HubError
from smoothify.hub.sat.crc32c import crc32c
from smoothify.hub.sat.index import MAX_BYTES, Entry, read_index

# TensorFlow's numbers of the types that weights and counters have.
_DTYPES = {
    1: torch.float32,
    2: torch.float64,
    3: torch.int32,
    4: torch.uint8,
    6: torch.int8,
    9: torch.int64,
    10: torch.bool,
    14: torch.bfloat16,
    19: torch.float16,
}


class Checkpoint(Mapping[str, Tensor]):
    """The variables of a checkpoint; each is read, and its checksum compared, when it is asked for.

    Args:
        path: the prefix ("dir/Res50-silu"), any of its files ("dir/Res50-silu.index"), or a folder with one checkpoint.

    Raises:
        HubError: no checkpoint is there, or its index is truncated, damaged or something else.

    >>> Checkpoint("no/such")
    Traceback (most recent call last):
    smoothify.errors.HubError: no/such: there is no no/such.index; a checkpoint is a .index and its .data files
    """

    def __init__(self, path: str | Path) -> None:
        self.prefix = _prefix(Path(path))
        index = Path(f"{self.prefix}.index")
        if not index.is_file():
            raise HubError(f"{path}: there is no {index}; a checkpoint is a .index and its .data files")
        with index.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        self.shards, self._entries = read_index(data, str(index))

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape that the index states; nothing is read."""
        return self._entries[name].shape

    def __getitem__(self, name: str) -> Tensor:
        entry = self._entries[name]
        shard = Path(f"{self.prefix}.data-{entry.shard:05d}-of-{self.shards:05d}")
        where = f"{shard}: {name}"
        dtype = self._checked_dtype(entry, where)
        try:
            with shard.open("rb") as file:
                if shard.stat().st_size < entry.offset + entry.size:
                    raise HubError(f"{where} lies beyond the end of the file, which is truncated; get it again")
                file.seek(entry.offset)
                data = file.read(entry.size)
        except OSError as error:
            raise HubError(
                f"{where} cannot be read ({error.strerror}); the .data files lie beside the .index"
            ) from error
        if crc32c(data) != entry.crc:
            raise HubError(f"{where} has another checksum than the index states: it is damaged; get it again")
        if not data:
            return torch.empty(entry.shape, dtype=dtype)
        return torch.frombuffer(bytearray(data), dtype=dtype).reshape(entry.shape)

    def _checked_dtype(self, entry: Entry, where: str) -> torch.dtype:
        """Sizes are compared before anything is read: what is allocated is no larger than the file."""
        if entry.sliced or entry.dtype not in _DTYPES:
            raise HubError(f"{where} is partitioned or of TensorFlow's type {entry.dtype}, which is not read")
        dtype = _DTYPES[entry.dtype]
        if math.prod(entry.shape) * dtype.itemsize != entry.size:
            raise HubError(f"{where} is stated as {entry.shape} in {entry.size:,} bytes, which disagree")
        return dtype


def _prefix(path: Path) -> Path:
    if path.is_dir():
        found = sorted(path.glob("*.index"))
        if len(found) != 1:
            raise HubError(f"{path}: holds {len(found)} checkpoints; name one, as {path}/NAME")
        return found[0].with_suffix("")
    if path.suffix in (".index", ".meta") or path.suffix.startswith(".data-"):
        return path.with_suffix("")
    return path
