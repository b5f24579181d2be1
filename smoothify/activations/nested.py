"""What a module holds in plain attributes: in dicts, lists, tuples and sets, one in another."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import Any

from torch import nn

_STATE = frozenset(nn.Module().__dict__)


def attributes(module: nn.Module) -> list[tuple[str, Any]]:
    """Return the plain attributes of a module: all but its children, tensors, hooks and its mode.

    >>> attributes(nn.Dropout(0.5))
    [('p', 0.5), ('inplace', False)]
    """
    return [(name, value) for name, value in module.__dict__.items() if name not in _STATE]


def entries(value: Any) -> list[tuple[Any, Any]]:
    """Return the items of a container with their keys or indices; nothing of what is no plain container.

    >>> entries({"a": [1]}), entries((2,)), entries("text")
    ([('a', [1])], [(0, 2)], [])
    """
    if isinstance(value, MutableMapping) and type(value).__module__ in ("builtins", "collections"):
        return list(value.items())
    return list(enumerate(value)) if isinstance(value, (list, tuple, set)) else []


def held_modules(module: nn.Module) -> Iterator[nn.Module]:
    """Yield the modules in the plain attributes of a module, however deep in containers.

    >>> class Block(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.activations = {"first": [nn.ReLU()]}
    >>> list(held_modules(Block()))
    [ReLU()]
    """
    seen: set[int] = set()
    waiting = [value for _, value in attributes(module)]
    while waiting:
        value = waiting.pop()
        if isinstance(value, nn.Module):
            yield value
        elif (inside := entries(value)) and id(value) not in seen:  # a container may hold itself
            seen.add(id(value))
            waiting += [item for _, item in inside]


def with_slots(model: nn.Module) -> Iterator[nn.Module]:
    """Yield all modules, those too that attributes hold unregistered: what stands for a converted call, for one."""
    seen: set[int] = set()
    waiting = [model]
    while waiting:
        for owner in waiting.pop().modules():
            if id(owner) not in seen:
                seen.add(id(owner))
                yield owner
                waiting += held_modules(owner)
