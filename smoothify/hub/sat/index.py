"""The ``.index`` file of a TensorFlow checkpoint: a sorted table of messages, one for each variable."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from smoothify.errors import HubError
from smoothify.hub.sat.crc32c import crc32c, unmasked

_MAGIC = 0xDB4775248B80FB57.to_bytes(8, "little")
_FOOTER = 48  # bytes
MAX_BYTES = 64 * 2**20
MAX_DIMENSIONS = 8
MAX_NAME = 1000  # bytes


@dataclass(frozen=True)
class Entry:
    """Where a variable lies: ``dtype`` is TensorFlow's number of it, ``offset`` and ``size`` are bytes of a shard."""

    dtype: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    crc: int
    sliced: bool


def read_index(data: bytes, source: str) -> tuple[int, dict[str, Entry]]:
    """Return the number of shards and the entry of every variable.

    Raises ``HubError`` for a file that is truncated, damaged or something else.
    """
    try:
        return _read(data)
    except (IndexError, ValueError, OverflowError, UnicodeDecodeError) as error:
        raise HubError(f"{source}: is not a whole index of a TensorFlow checkpoint ({error}); get it again") from error


def _read(data: bytes) -> tuple[int, dict[str, Entry]]:
    if len(data) > MAX_BYTES:
        raise ValueError(f"{len(data):,} bytes")
    footer = data[-_FOOTER:]
    if len(footer) < _FOOTER or footer[-8:] != _MAGIC:
        raise ValueError("it does not end as one does")
    place = 0
    _, place = _varint(footer, place)  # the table of tables, which checkpoints leave empty
    _, place = _varint(footer, place)
    offset, place = _varint(footer, place)
    size, _ = _varint(footer, place)
    shards, entries = 1, {}
    for _, handle in _pairs(_block(data, offset, size)):
        offset, place = _varint(handle, 0)
        size, _ = _varint(handle, place)
        for key, message in _pairs(_block(data, offset, size)):
            if key:
                entries[key.decode()] = _entry(message)
            else:  # the header: shards, and whether the machine that wrote it was big-endian
                header = dict(_fields(message))
                if header.get(2):
                    raise ValueError("it was written by a big-endian machine")
                shards = int(header.get(1, 1))
    return shards, entries


def _block(data: bytes, offset: int, size: int) -> bytes:
    block, trailer = data[offset : offset + size], data[offset + size : offset + size + 5]
    if len(block) < size or len(trailer) < 5:
        raise ValueError("it is truncated")
    if trailer[0] != 0:
        raise ValueError("it is compressed, which TensorFlow does not do to checkpoints")
    if crc32c(block + trailer[:1]) != unmasked(int.from_bytes(trailer[1:], "little")):
        raise ValueError("a checksum disagrees")
    return block


def _pairs(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Keys share a prefix with the key before them; the block ends with its restart points and their number."""
    end = len(block) - 4 - 4 * int.from_bytes(block[-4:], "little")
    if end < 0:
        raise ValueError("a block has more restart points than bytes")
    place, key = 0, b""
    while place < end:
        shared, place = _varint(block, place)
        fresh, place = _varint(block, place)
        length, place = _varint(block, place)
        if place + fresh + length > end or shared > len(key):
            raise ValueError("an entry is longer than its block")
        if shared + fresh > MAX_NAME:
            raise ValueError("a name is longer than any variable's")
        key = key[:shared] + block[place : place + fresh]
        yield key, block[place + fresh : place + fresh + length]
        place += fresh + length


def _entry(message: bytes) -> Entry:
    """Read a BundleEntryProto: 1 dtype, 2 shape, 3 shard, 4 offset, 5 size, 6 CRC, 7 slices."""
    fields = list(_fields(message))
    plain = {number: value for number, value in fields if isinstance(value, int)}
    shapes = [value for number, value in fields if number == 2 and isinstance(value, bytes)]
    dimensions = [
        dict(_fields(dimension)).get(1, 0)
        for shape in shapes
        for number, dimension in _fields(shape)
        if number == 2 and isinstance(dimension, bytes)
    ]
    shape = tuple(size for size in dimensions if isinstance(size, int))
    if len(shape) > MAX_DIMENSIONS or any(size >= 2**40 for size in shape):
        raise ValueError("a shape is beyond bounds")
    return Entry(
        *(plain.get(1, 0), shape, plain.get(3, 0), plain.get(4, 0), plain.get(5, 0)),
        crc=unmasked(plain.get(6, 0)),
        sliced=any(number == 7 for number, _ in fields),
    )


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield the fields of a protocol buffer: numbers of kinds 0, 1 and 5, bytes of kind 2."""
    place = 0
    while place < len(message):
        key, place = _varint(message, place)
        kind = key & 7
        if kind == 0:
            value, place = _varint(message, place)
            yield key >> 3, value
            continue
        if kind == 2:
            length, place = _varint(message, place)
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise ValueError(f"a field is of the unknown kind {kind}")
        if place + length > len(message):
            raise ValueError("a field is longer than its message")
        content = message[place : place + length]
        place += length
        yield key >> 3, content if kind == 2 else int.from_bytes(content, "little")


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise ValueError("a number does not end")
