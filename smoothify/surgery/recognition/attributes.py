"""Activations that a module holds without registering them: functions, partials, list and dict entries."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from smoothify.activations.nested import attributes, entries
from smoothify.surgery.recognition.arguments import operands_for
from smoothify.surgery.recognition.calls import read_call
from smoothify.surgery.recognition.edges import Node, walk
from smoothify.surgery.rules.base import rule_for_callable, spelled
from smoothify.surgery.rules.composites import Composite, run_as
from smoothify.surgery.sites import Found

_LEAVES = (str, bytes, int, float, bool, type(None))


@dataclass(frozen=True, slots=True)
class Held:
    """A function or an unregistered module in an attribute of ``owner``, or in a container there, and its place."""

    path: str
    owner: nn.Module
    value: Any
    container: Any
    key: Any
    aliases: tuple[str, ...] = ()
    """All further paths: of an owner that has several, and of whoever else holds the same module."""


class FunctionSlot(Composite):
    """Stands where a function stood: called as the function was, it runs an activation instead.

    Called with arguments that the activation cannot stand for, it runs the function itself.
    """

    def __init__(self, activation: nn.Module, function: Callable[..., Any], found: Found) -> None:
        super().__init__(activation)
        self.function, self.word = function, spelled(found)

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """Map a tensor, given in whatever way the function takes it, as the function would, smoothly."""
        if len(args) == 1 and not kwargs:  # what the slot was made for
            alone: Tensor = self.activation(*args)
            return alone
        function, given = unbound(self.function)
        call = read_call(function, args, {**given, **kwargs})
        operands = operands_for(self.activation, self.word, call) if call is not None else None
        if call is not None and operands is not None:
            return run_as(self.activation, call.found.inplace, *operands)
        original: Tensor = self.function(*args, **kwargs)
        return original

    def formula(self, inner: str) -> str:
        """Return what is computed, with ``inner`` as the spelling of T."""
        return inner


def held(root: nn.Module) -> list[Held]:
    """Return what the modules of a model hold in plain attributes: callables and unregistered modules."""
    nodes = walk(root)
    found: list[Held] = []
    modules: dict[int, int] = {}
    registered = {id(node.module) for node in nodes}
    for node in nodes:
        opened: set[int] = set()
        for name, value in attributes(node.module):
            place = Held("", node.module, value, node.module.__dict__, name)
            for thing in _inside(name, place, registered, opened):
                below = thing.path, *thing.aliases
                path, *others = (f"{above}.{path}" if above else path for above in node.paths for path in below)
                first = modules.setdefault(id(thing.value), len(found)) if isinstance(thing.value, nn.Module) else None
                if first is not None and first < len(found):
                    found[first] = replace(found[first], aliases=(*found[first].aliases, path, *others))
                else:
                    found.append(replace(thing, path=path, aliases=tuple(others)))
    return found


def everything(root: nn.Module) -> list[Node]:
    """Return the registered modules and then those that they hold unregistered, each once."""
    things = (thing for thing in held(root) if isinstance(thing.value, nn.Module))
    return [*walk(root), *(Node(thing.value, (thing.path, *thing.aliases), thing.owner) for thing in things)]


def _inside(path: str, at: Held, registered: set[int], opened: set[int]) -> Iterator[Held]:
    """Yield what is held at a place, or in the containers there; ``opened`` are those that were looked into, by id."""
    value = at.value
    if isinstance(value, nn.Module):
        for node in walk(value) if id(value) not in registered else ():
            if id(node.module) not in registered:
                first, *others = (f"{path}.{below}" if below else path for below in node.paths)
                yield replace(at, path=first, aliases=tuple(others), value=node.module)
    elif inside := entries(value):
        fixed = isinstance(value, (tuple, set))
        for key, item in inside if id(value) not in opened else ():
            opened.add(id(value))  # it may hold itself
            if type(item) not in _LEAVES:
                for thing in _inside(f"{path}[{key!r}]", Held("", at.owner, item, value, key), registered, opened):
                    if not fixed or thing.container is not value or isinstance(thing.value, nn.Module):
                        yield thing  # a function in a tuple cannot be exchanged: it is a call like any other
    elif callable(value) and not isinstance(value, type) and held_function(value) is not None:
        yield replace(at, path=path)


def held_function(value: Any) -> Found | None:
    """Return the activation that a function or a partial of one computes when called with a tensor alone."""
    function, keywords = unbound(value)
    if rule_for_callable(function) is None:
        return None
    call = read_call(function, ("x",), keywords)
    return call.found if call is not None else None


def unbound(value: Any) -> tuple[Any, dict[str, Any]]:
    """Return the function of a partial with its keywords; of one with positional arguments, and of others, itself."""
    if isinstance(value, functools.partial) and not value.args:
        return value.func, value.keywords
    return value, {}


def slot_for(value: Any, new: nn.Module, found: Found) -> FunctionSlot:
    """Return what replaces a function or a partial."""
    return FunctionSlot(new, value, found)
