"""Whether a state is one to go on from: none of its numbers is a NaN or an infinity."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor


def not_finite(states: Mapping[Any, Any], device: torch.device) -> list[str]:
    """Return the dotted names of tensors that are not finite; the device is waited for once, not once a tensor.

    >>> states = {"model": {"weight": torch.tensor([1.0, float("nan")]), "count": torch.tensor(3)}}
    >>> not_finite(states, torch.device("cpu"))
    ['model.weight']
    """
    named = {name: tensor for name, tensor in _tensors(states) if tensor.is_floating_point()}
    if not named:
        return []
    finite = torch.stack([torch.isfinite(tensor).all().to(device, non_blocking=True) for tensor in named.values()])
    return [name for name, fine in zip(named, finite.tolist(), strict=True) if not fine]


def _tensors(states: Mapping[Any, Any] | list[Any], prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    for name, value in states.items() if isinstance(states, Mapping) else enumerate(states):
        if isinstance(value, Tensor):
            yield f"{prefix}{name}", value
        elif isinstance(value, Mapping | list):
            yield from _tensors(value, f"{prefix}{name}.")
