"""Containers that modules hold and a conversion writes into: they may be the caller's, and are copied first."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from torch import nn

from smoothify.activations.nested import attributes, entries
from smoothify.surgery.recognition.attributes import Held
from smoothify.surgery.recognition.modules import Snapshot

Writings = frozenset[tuple[int, Any]]
"""What is to be written in a container and in those inside it: the containers by id, with the keys."""


def own_copies(places: Iterable[Held], snapshot: Snapshot) -> dict[tuple[int, int], Any]:
    """Let the owners of places to write to hold copies of the containers there, and of those around these.

    One copy of each, however many modules hold it, as long as the same is to be written there for all of them: what
    others hold, for whom nothing is to be written, stays what it was. Returns the copies by the ids of owner and
    original.
    """
    written: dict[int, list[Held]] = defaultdict(list)
    for place in places:
        if place.container is not place.owner.__dict__:
            written[id(place.owner)].append(place)
    own: dict[tuple[int, int], Any] = {}
    made: dict[tuple[int, Writings], Any] = {}
    for held in written.values():
        owner = held[0].owner
        copies = _Copies(_writings(owner, held), made)
        snapshot.take(owner)
        for name, value in attributes(owner):
            owner.__dict__[name] = copies.of(value)
        own.update({(id(owner), key): made[key, copies.wanted[key]] for key in copies.wanted})
    return own


def _writings(owner: nn.Module, places: Iterable[Held]) -> dict[int, Writings]:
    """Return the containers of a module to copy, by id, with what is to be written in each and beneath it."""
    holders = _holders(owner)
    found: dict[int, set[tuple[int, Any]]] = defaultdict(set)
    for place in places:
        target = id(place.container)
        around, new = {target}, {target}
        while new:
            new = {holder for key in new for holder in holders[key]} - around
            around |= new
        for key in around:
            found[key].add((target, place.key))
    return {key: frozenset(writings) for key, writings in found.items()}


def _holders(module: nn.Module) -> dict[int, set[int]]:
    """Return, by id, which containers each thing is in that a module holds."""
    holders: dict[int, set[int]] = defaultdict(set)
    opened: set[int] = set()
    waiting = [value for _, value in attributes(module)]
    while waiting:
        container = waiting.pop()
        inside = entries(container) if id(container) not in opened else []
        opened.add(id(container))
        for _, item in inside:
            holders[id(item)].add(id(container))
            waiting.append(item)
    return holders


class _Copies:
    """The copies that one module holds; those that are to be written alike are ``made`` once for all modules."""

    def __init__(self, wanted: dict[int, Writings], made: dict[tuple[int, Writings], Any]) -> None:
        self.wanted, self._made = wanted, made

    def of(self, value: Any) -> Any:
        if id(value) not in self.wanted:
            return value
        key = id(value), self.wanted[id(value)]
        if key in self._made:
            return self._made[key]
        if isinstance(value, tuple):
            items = [self.of(item) for item in value]
            self._made[key] = value._make(items) if hasattr(value, "_make") else type(value)(items)
            return self._made[key]
        self._made[key] = copied = copy.copy(value)  # before what is inside, which may hold it
        for name, item in entries(value):
            if id(item) in self.wanted:
                copied[name] = self.of(item)
        return copied
