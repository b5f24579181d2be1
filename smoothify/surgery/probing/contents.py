"""What is in a value, however deep: in containers, in dataclasses and in the attributes of any object."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from smoothify.surgery.probing.copies import slots_of


def contents(value: Any) -> Iterator[Any]:
    """Yield a value and everything in it, each once; classes, modules of Python and tensors are not opened.

    >>> from types import SimpleNamespace
    >>> list(contents([SimpleNamespace(number=1)]))[2:]
    [1]
    """
    seen: dict[int, Any] = {}
    inside = [value]
    while inside:
        item = inside.pop()
        if id(item) in seen:
            continue
        seen[id(item)] = item  # alive, so that nothing later takes its address
        yield item
        if isinstance(item, (type, ModuleType, Tensor, str, bytes, int, float)):
            continue
        if isinstance(item, (list, tuple, set, frozenset, deque)):
            inside += item
        if isinstance(item, dict):
            inside += dict.values(item)  # past a class that loads what it is asked for
        inside += getattr(item, "__dict__", {}).values()
        inside += [getattr(item, name) for name in slots_of(type(item)) if hasattr(item, name)]


def home(tensor: Tensor) -> tuple[int, Any]:
    """Return the key of the memory that a tensor lies in, and what to hold so that no later one gets the same key.

    A sparse or nested tensor has none of its own, and stands for itself.
    """
    if not has_memory(tensor):
        return id(tensor), tensor
    storage = tensor.untyped_storage()
    return storage._cdata, storage


def has_memory(tensor: Tensor) -> bool:
    """Whether a tensor lies in one piece of memory, as sparse and nested ones do not."""
    return tensor.layout is torch.strided and not tensor.is_nested
