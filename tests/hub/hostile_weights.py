"""Weights made to do harm: a valid file with one thing changed, and the words of its refusal."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import safetensors.torch
import torch

Files = dict[str, bytes]
READS_COMPLEX = tuple(map(int, version("safetensors").split(".")[:2])) >= (0, 6)


def _tensors(files: Files) -> dict[str, torch.Tensor]:
    return safetensors.torch.load(files["model.safetensors"])


def _stored(tensors: dict[str, torch.Tensor]) -> bytes:
    return safetensors.torch.save(tensors)


def _without(name: str) -> Callable[[Files], bytes]:
    return lambda files: _stored({k: v for k, v in _tensors(files).items() if k != name})


def _with(**changes: torch.Tensor) -> Callable[[Files], bytes]:
    return lambda files: _stored(_tensors(files) | {k.replace("__", "."): v for k, v in changes.items()})


# What model.safetensors becomes (its digest in config.json follows, as a liar would have it), and what the
# error says.
WEIGHTS: dict[str, tuple[Callable[[Files], bytes], str]] = {
    "empty": (lambda files: b"", "not a whole safetensors file"),
    "truncated": (lambda files: files["model.safetensors"][:-1000], "not a whole safetensors file"),
    "only a header": (lambda files: files["model.safetensors"][:8], "not a whole safetensors file"),
    "a header as long as the world": (
        lambda files: struct.pack("<Q", 2**62) + b"{}",
        "not a whole safetensors",
    ),
    "a pickle": (lambda files: b"\x80\x04cos\nsystem\n(S'true'\ntR.", "not a whole safetensors file"),
    "offsets beyond the end": (
        lambda files: _header({"fc.bias": {"dtype": "F32", "shape": [10], "data_offsets": [0, 40_000]}}),
        "not a whole safetensors file",
    ),
    "overlapping offsets": (
        lambda files: _header(
            {
                "a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
                "b": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
            },
            b"\0" * 4,
        ),
        "not a whole safetensors file",
    ),
    "a missing key": (_without("fc.bias"), "fc.bias is missing"),
    "a surplus key": (_with(extra=torch.zeros(1)), "extra is not in the model"),
    "another shape": (_with(fc__bias=torch.zeros(11)), "fc.bias is stored as (11,)"),
    "whole numbers for weights": (
        _with(fc__bias=torch.zeros(10, dtype=torch.int64)),
        "stored as torch.int64",
    ),
    "complex weights": (  # by hand: before 0.6 safetensors writes none, and reads none
        lambda files: _with(fc__bias=torch.zeros(20))(files).replace(
            b'"dtype":"F32","shape":[20]', b'"dtype":"C64","shape":[10]'
        ),
        "stored as torch.complex64" if READS_COMPLEX else "not a whole safetensors file",
    ),
    "no tensors": (lambda files: _stored({}), "is missing"),
    "NaN": (_with(fc__bias=torch.full((10,), torch.nan)), "fc.bias holds NaN"),
    "NaN among a million": (lambda files: _stored(_one_nan(_tensors(files))), "layer4.0.conv2.weight holds NaN"),
    "eight-bit floats": (
        lambda files: _stored({k: v.to(torch.float8_e4m3fn) for k, v in _tensors(files).items()}),
        "is stored as torch.float8_e4m3fn, in which no layer computes",
    ),
    "a counter of one bit": (
        _with(bn1__num_batches_tracked=torch.tensor(True)),
        "bn1.num_batches_tracked is stored as torch.bool and the model has torch.int64",
    ),
    "names that move the cursor": (_with(**{"fc\x1b[2J": torch.zeros(1)}), r"fc\x1b[2J is not in the model"),
    "names that read backwards": (_with(**{"fc\u202esaib": torch.zeros(1)}), r"fc\u202esaib is not in the model"),
    "a look-alike of a name": (_with(**{"fc.bi\u0430s": torch.zeros(10)}), "is not in the model"),
    "a name of a megabyte": (_with(**{"x" * 2**20: torch.zeros(1)}), "x is not in the model"),
    "two thousand surplus tensors": (
        lambda files: _stored(_tensors(files) | {f"extra.{n}": torch.zeros(1) for n in range(2000)}),
        "and 1990 more",
    ),
    "a shape beyond memory that holds nothing": (
        _with(fc__bias=torch.zeros(2**40, 0)),
        "fc.bias is stored as (1099511627776, 0)",
    ),
    "a shape whose product overflows": (
        lambda files: _header(
            {"fc.bias": {"dtype": "F32", "shape": [2**62, 2**62], "data_offsets": [0, 4]}}, b"\0" * 4
        ),
        "not a whole safetensors file",
    ),
    "a negative shape": (
        lambda files: _header({"fc.bias": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}, b"\0" * 4),
        "not a whole safetensors file",
    ),
    "one tensor twice": (
        lambda files: _raw(
            b'{"fc.bias":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},'
            b'"fc.bias":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}',
            b"\0" * 8,
        ),
        "not a whole safetensors file",
    ),
    "a header of 90 MB": (lambda files: _raw(b"{" + b" " * 90_000_000 + b"}"), "is missing"),
    "a header of 101 MB": (lambda files: _raw(b"{" + b" " * 101_000_000 + b"}"), "not a whole safetensors file"),
    "a header cut in the middle": (
        lambda files: files["model.safetensors"][:8] + files["model.safetensors"][8:500],
        "not a whole safetensors file",
    ),
    "a header that is no JSON": (lambda files: _raw(b"{'fc.bias': 1}"), "not a whole safetensors file"),
    "bytes after the last tensor": (lambda files: files["model.safetensors"] + b"\0", "not a whole safetensors file"),
    "a pickle behind a header's length": (
        lambda files: _raw(b"\x80\x04cos\nsystem\n(S'true'\ntR."),
        "not a whole safetensors file",
    ),
    "a zip of torch.save": (lambda files: b"PK\x03\x04" + b"\0" * 200, "not a whole safetensors file"),
}


def _one_nan(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    tensors["layer4.0.conv2.weight"][-1, -1, -1, -1] = torch.nan
    return tensors


def _raw(header: bytes, data: bytes = b"") -> bytes:
    return struct.pack("<Q", len(header)) + header + data


def _header(entries: dict[str, Any], data: bytes = b"") -> bytes:
    return _raw(json.dumps(entries).encode(), data)
