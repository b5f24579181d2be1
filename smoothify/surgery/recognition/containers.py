"""Containers that modules hold and a conversion writes into: they may be the caller's, and are copied first."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from torch import nn

from smoothify.activations.nested import attributes, entries
from smoothify.surgery.recognition.attributes import everything
from smoothify.surgery.recognition.modules import Snapshot


def own_copies(root: nn.Module, written: Iterable[Any], snapshot: Snapshot) -> dict[int, Any]:
    """Let the modules of a model hold copies of the containers to write into, and of those around these.

    One copy of each, however many modules hold it. Returns the copies by the id of their originals.
    """
    targets = {id(container) for container in written}
    modules = [node.module for node in everything(root)] if targets else []
    copies = _Copies(_around(modules, targets))
    for module in modules:
        for name, value in attributes(module):
            if id(value) in copies.wanted:
                snapshot.take(module)
                module.__dict__[name] = copies.of(value)
    return copies.made


def _around(modules: Iterable[nn.Module], targets: set[int]) -> set[int]:
    """Return containers, by id, and all those that they are in."""
    holders: dict[int, set[int]] = defaultdict(set)
    opened: set[int] = set()
    waiting = [value for module in modules for _, value in attributes(module)]
    while waiting:
        container = waiting.pop()
        inside = entries(container) if id(container) not in opened else []
        opened.add(id(container))
        for _, item in inside:
            holders[id(item)].add(id(container))
            waiting.append(item)
    found, new = set(targets), set(targets)
    while new:
        new = {holder for key in new for holder in holders[key]} - found
        found |= new
    return found


class _Copies:
    def __init__(self, wanted: set[int]) -> None:
        self.wanted = wanted
        self.made: dict[int, Any] = {}

    def of(self, value: Any) -> Any:
        if id(value) in self.made or id(value) not in self.wanted:
            return self.made.get(id(value), value)
        if isinstance(value, tuple):
            items = [self.of(item) for item in value]
            self.made[id(value)] = value._make(items) if hasattr(value, "_make") else type(value)(items)
            return self.made[id(value)]
        self.made[id(value)] = copied = copy.copy(value)  # before what is inside, which may hold it
        for key, item in entries(value):
            if id(item) in self.wanted:
                copied[key] = self.of(item)
        return copied
