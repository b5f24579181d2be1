"""Copies of models that keep tensors of an earlier forward, with the graph that made them."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from torch import Tensor, nn

from smoothify.errors import UnsupportedModelError

Model = TypeVar("Model", bound=nn.Module)


def copy_of(model: Model) -> Model:
    """Return a deep copy of a model.

    Raises:
        UnsupportedModelError: an attribute holds a tensor that a forward has left there with its graph. A copy without
            the graph could train otherwise than the model, so none is made.

    >>> layer = nn.Linear(2, 1)
    >>> layer.double_weight = layer.weight * 2
    >>> copy_of(layer)
    Traceback (most recent call last):
    ...
    smoothify.errors.UnsupportedModelError: double_weight of this Linear holds a tensor with the graph that made it...
    """
    try:
        return copy.deepcopy(model)
    except RuntimeError as error:
        paths = [path for path, _ in _with_graphs(model)]
        if not paths:
            raise
        raise UnsupportedModelError(
            f"{', '.join(paths[:3])}{' …' * (len(paths) > 3)} of this {type(model).__name__} holds a tensor with the "
            "graph that made it, which torch cannot copy; set it to None, run the model once under torch.no_grad(), or "
            "change the model itself with convert_"
        ) from error


def without_graphs(model: nn.Module) -> dict[int, Any]:
    """Return a memo for ``copy.deepcopy``, for a copy that is run but never trained: such tensors without their graph.

    >>> layer = nn.Linear(2, 1)
    >>> layer.double_weight = layer.weight * 2
    >>> copy.deepcopy(layer, without_graphs(layer)).double_weight.requires_grad
    False
    """
    return {id(tensor): tensor.detach().clone() for _, tensor in _with_graphs(model)}


def _with_graphs(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for path, module in model.named_modules():
        for name, value in {**vars(module), **module._buffers}.items():
            if name not in ("_modules", "_parameters", "_buffers"):
                yield from _inside(f"{path}.{name}" if path else name, value, depth=3)


def _inside(path: str, value: Any, depth: int) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        if not value.is_leaf:
            yield path, value
    elif depth and isinstance(value, Mapping | list | tuple | set | deque):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _inside(path, item, depth - 1)
