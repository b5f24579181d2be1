"""Whether a model's code names what a plan replaces: a forward that asks for a ReLU will find none afterwards."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import CodeType, FunctionType
from typing import Any

from torch import nn

from smoothify.surgery.attributes import everything
from smoothify.surgery.plan import Planned


def names_what_changes(root: nn.Module, planned: Iterable[Planned]) -> bool:
    """Whether a method of a model, or a function that one names, names a class or function that a plan replaces."""
    replaced = _Replaced.of(planned)
    if not replaced.things:
        return False
    modules = [node.module for node in everything(root) if not type(node.module).__module__.startswith("torch.")]
    seen: set[CodeType] = set()
    return any(replaced.named_in(function, module, seen) for module in modules for function in _functions(type(module)))


@dataclass(frozen=True, slots=True)
class _Replaced:
    things: frozenset[Any]
    """Classes and functions."""
    names: frozenset[str]

    @classmethod
    def of(cls, planned: Iterable[Planned]) -> _Replaced:
        things: set[Any] = set()
        for item in planned:
            if item.new is not None and item.event is None:
                of_a_module = item.held is None or item.held.value is item.module
                bases = type(item.module).__mro__[: -len(nn.Module.__mro__)]
                things.update(bases if of_a_module else [item.held.value] if item.held else [])
        return cls(frozenset(things), frozenset(str(getattr(thing, "__name__", "")) for thing in things))

    def holds(self, value: Any) -> bool:
        """Whether a value is one of the things, the name of one, or a tuple of such."""
        if isinstance(value, (tuple, list, set, frozenset)):
            return any(map(self.holds, value))
        if isinstance(value, str):
            return value.lower() in {name.lower() for name in self.names}
        return isinstance(value, (type, FunctionType)) and value in self.things

    def named_in(self, function: FunctionType, module: nn.Module, seen: set[CodeType]) -> bool:
        """Whether a function, or one of the plain functions that it names, names one of the things."""
        for code in _codes(function.__code__):
            if code in seen:
                continue
            seen.add(code)
            values = [holder[name] for holder in (module.__dict__, function.__globals__) for name in code.co_names
                      if name in holder]  # fmt: skip
            if not self.names.isdisjoint(code.co_names) or self.holds([*code.co_consts, *values]):
                return True
            plain = (value for value in values if isinstance(value, FunctionType))
            own = (value for value in plain if not str(value.__module__).startswith("torch."))
            if any(self.named_in(value, module, seen) for value in own):
                return True
        return False


def _functions(cls: type[nn.Module]) -> Iterator[FunctionType]:
    """Return the methods and properties of a class, without torch's own and what constructs it."""
    for base in cls.__mro__:
        if not base.__module__.startswith(("torch.", "builtins")):
            for name, value in vars(base).items():
                method = getattr(value, "fget", None) or getattr(value, "__func__", None) or value
                if isinstance(method, FunctionType) and name != "__init__":
                    yield inspect.unwrap(method)


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)
