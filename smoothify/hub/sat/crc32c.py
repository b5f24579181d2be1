"""CRC-32C, the checksum of TensorFlow's checkpoints, vectorised: about a second for 100 MB."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint32]
_POLYNOMIAL = 0x82F63B78  # Castagnoli's, bits reversed
_WIDTH = 1024  # bytes that one lane reads


def crc32c(data: bytes | memoryview) -> int:
    """Return the CRC-32C of ``data``.

    Lanes of equal length are read side by side and folded together: appending zeros to a message is a linear map of
    its CRC, and leading zeros change nothing while the register starts at 0.

    >>> hex(crc32c(b"123456789"))
    '0xe3069283'
    """
    raw = np.frombuffer(data, dtype=np.uint8)
    lanes = 1 << max(0, (-(-len(raw) // _WIDTH) - 1).bit_length())
    padded = np.zeros(lanes * _WIDTH, dtype=np.uint8)
    padded[len(padded) - len(raw) :] = raw
    columns = np.ascontiguousarray(padded.reshape(lanes, _WIDTH).T)
    registers = np.zeros(lanes, dtype=np.uint32)
    for column in columns:
        registers = _TABLE[(registers ^ column) & 0xFF] ^ (registers >> np.uint32(8))
    shift = _zeros(_WIDTH)
    while len(registers) > 1:
        registers = _apply(shift, registers[0::2]) ^ registers[1::2]
        shift = _apply(shift, shift)
    start = _apply(_zeros(len(raw)), np.array([0xFFFFFFFF], dtype=np.uint32))
    return int(registers[0] ^ start[0]) ^ 0xFFFFFFFF


def unmasked(stored: int) -> int:
    """Return the CRC that TensorFlow stores rotated and offset.

    >>> unmasked(0xA282EAD8)
    0
    """
    rotated = (stored - 0xA282EAD8) & 0xFFFFFFFF
    return ((rotated >> 17) | (rotated << 15)) & 0xFFFFFFFF


def _zeros(count: int) -> Words:
    """The map of a register over ``count`` zero bytes, as its images of the 32 single bits."""
    images = np.uint32(1) << np.arange(32, dtype=np.uint32)
    step = _TABLE[images & 0xFF] ^ (images >> np.uint32(8))
    while count:
        if count & 1:
            images = _apply(step, images)
        step = _apply(step, step)
        count >>= 1
    return images


def _apply(images: Words, registers: Words) -> Words:
    found = np.zeros_like(registers)
    for bit in range(32):
        found ^= np.where((registers >> np.uint32(bit)) & 1, images[bit], np.uint32(0))
    return found


def _table() -> Words:
    entries = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        entries = np.where(entries & 1, (entries >> 1) ^ np.uint32(_POLYNOMIAL), entries >> 1).astype(np.uint32)
    return entries


_TABLE = _table()
