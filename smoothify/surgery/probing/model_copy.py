"""Copies of models that keep tensors of an earlier forward, with the graph that made them."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, TypeVar

from torch import Tensor, nn

from smoothify.activations.nested import attributes
from smoothify.errors import UnsupportedModelError
from smoothify.surgery.probing.contents import contents

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
        for name, value in (*attributes(module), *module._buffers.items()):
            for item in contents(value):
                if isinstance(item, Tensor) and not item.is_leaf:
                    yield f"{path}.{name}" if path else name, item
