"""Writes checkpoints in TensorFlow's format, whole or with one thing wrong."""

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from smoothify.hub.sat.crc32c import crc32c

DTYPES = {torch.float32: 1, torch.int64: 9}


def varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def masked(data: bytes) -> int:
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    return varint(number << 3) + varint(value)


def block(pairs: list[tuple[bytes, bytes]]) -> bytes:
    body = b"".join(varint(0) + varint(len(key)) + varint(len(value)) + key + value for key, value in pairs)
    body += struct.pack("<II", 0, 1)
    return body + b"\0" + struct.pack("<I", masked(body + b"\0"))


def entry(value: torch.Tensor, place: int, wrong: Mapping[str, Any]) -> bytes:
    data = value.contiguous().numpy().tobytes()
    shape = wrong.get("shape", tuple(value.shape))
    dimensions = b"".join(field(2, field(1, size)) for size in shape)
    return (
        field(1, wrong.get("dtype", DTYPES[value.dtype]))
        + field(2, dimensions)
        + field(4, wrong.get("offset", place))
        + field(5, wrong.get("size", len(data)))
        + varint(6 << 3 | 5)
        + struct.pack("<I", masked(data))
        + (field(7, b"") if wrong.get("sliced") else b"")
    )


def write(prefix: Path, variables: Mapping[str, torch.Tensor], **wrong: Mapping[str, object]) -> Path:
    """Write PREFIX.index and its data; ``wrong`` changes what the index says of one variable, by its name."""
    pairs, data = [(b"", field(1, 1))], b""
    for name in sorted(variables):
        pairs.append((name.encode(), entry(variables[name], len(data), wrong.get(name, {}))))
        data += variables[name].contiguous().numpy().tobytes()
    table = block(pairs)
    index = block([(b"\xff", varint(0) + varint(len(table) - 5))])
    handles = varint(0) + varint(0) + varint(len(table)) + varint(len(index) - 5)
    magic = 0xDB4775248B80FB57.to_bytes(8, "little")
    Path(f"{prefix}.index").write_bytes(table + index + handles.ljust(40, b"\0") + magic)
    Path(f"{prefix}.data-00000-of-00001").write_bytes(data)
    return prefix
