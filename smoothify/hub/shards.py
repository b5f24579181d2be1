"""Weights in several files, as transformers writes large models: an index and the shards that it names."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import torch

from smoothify.errors import HubError
from smoothify.hub.checks import MAX_CONFIG_BYTES, Checks, brief, parse_object
from smoothify.hub.weights import read_weights, refuse_disagreements

INDEX = "model.safetensors.index.json"
MAX_SHARDS = 1000
_SHARD = r"[A-Za-z0-9][\w\-]*(\.[\w\-]+)*\.safetensors"


def read_index(data: bytes, source: str) -> dict[str, set[str]]:
    """Return which tensors each shard is to hold; shards are plain file names beside the index.

    Raises ``HubError`` for a shard that is a path or no safetensors file, and for more of them than any model has.
    The sizes that an index states are not read: what counts is what the shards hold.

    >>> read_index(b'{"weight_map": {"fc.bias": "model-00001-of-00001.safetensors"}}', INDEX)
    {'model-00001-of-00001.safetensors': {'fc.bias'}}
    >>> read_index(b'{"weight_map": {"fc.bias": "../secret.safetensors"}}', INDEX)
    Traceback (most recent call last):
    ...
    smoothify.errors.HubError: model.safetensors.index.json: weight_map names '../secret.safetensors', which is no
    safetensors file beside it
    """
    weight_map = parse_object(data, source).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise HubError(f"{source}: weight_map is {brief(weight_map)}, not an object from tensors to files")
    checks = Checks(source)
    shards: dict[str, set[str]] = {}
    for name, shard in weight_map.items():
        if not isinstance(shard, str) or len(shard) > 200 or not re.fullmatch(_SHARD, shard, re.ASCII):
            checks.complain("weight_map", f"names {brief(shard)}, which is no safetensors file beside it")
            continue
        shards.setdefault(shard, set()).add(name)
    if len(shards) > MAX_SHARDS:
        checks.complain("weight_map", f"names {len(shards)} files; at most {MAX_SHARDS} are read")
    checks.raise_if_any()
    return shards


def read_sharded(index: bytes, read: Callable[[str], bytes], source: str) -> dict[str, torch.Tensor]:
    """Return the tensors of all shards; ``read`` gives the content of one, ``source`` names the repository.

    Raises ``HubError`` unless every shard is whole and holds just the tensors that the index says it does.
    """
    stored: dict[str, torch.Tensor] = {}
    for shard, expected in sorted(read_index(index, f"{source}/{INDEX}").items()):
        tensors = read_weights(read(shard), f"{source}/{shard}")
        found = [f"{name} is missing, and {INDEX} says it is here" for name in sorted(expected - tensors.keys())]
        found += [f"{name} is not said to be here by {INDEX}" for name in sorted(tensors.keys() - expected)]
        refuse_disagreements(f"{source}/{shard}", found)
        stored |= tensors
    return stored


def read_index_file(path: Path, source: str) -> bytes | None:
    """Return the content of a folder's index, or None if it has none."""
    index = path / INDEX
    if not index.is_file():
        return None
    if index.stat().st_size > MAX_CONFIG_BYTES:
        raise HubError(f"{source}/{INDEX}: is more than the {MAX_CONFIG_BYTES:,} bytes that an index may have")
    return index.read_bytes()
