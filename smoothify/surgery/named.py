"""Whether a model's code names what a plan replaces: a forward that asks for a ReLU will find none afterwards."""

from __future__ import annotations

import inspect
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import CodeType, FunctionType
from typing import Any

from torch import nn

from smoothify.surgery.plan import Planned
from smoothify.surgery.probing.bytecode import codes
from smoothify.surgery.recognition.attributes import everything

_CONSTRUCTING = ("__init__", "_make_", "init_weights", "_init_weights", "reset_parameters")
"""What the names of methods begin with that name activations to build a model, and that no forward calls."""


def names_what_changes(root: nn.Module, planned: Iterable[Planned]) -> bool:
    """Whether a method of a model, or a function that one names, names a class or function that a plan replaces."""
    replaced = _Replaced.of(planned)
    if not replaced.things:
        return False
    held: dict[type[nn.Module], dict[str, list[Any]]] = defaultdict(lambda: defaultdict(list))
    for node in everything(root):
        for name, value in node.module.__dict__.items():
            held[type(node.module)][name].append(value)
    return any(
        replaced.named_in(function, attributes, set())
        for cls, attributes in held.items()
        for function in _functions(cls)
    )


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
        """Whether a value is one of the things, the name of one, or contains such."""
        inside = value if isinstance(value, (tuple, list, set, frozenset)) else (value,)
        return any(self._is_one(item) for item in inside)

    def _is_one(self, value: Any) -> bool:
        if isinstance(value, str):
            return value.lower() in {name.lower() for name in self.names}
        return isinstance(value, (type, FunctionType)) and value in self.things

    def named_in(self, function: FunctionType, held: Mapping[str, Sequence[Any]], seen: set[CodeType]) -> bool:
        """Whether a function, or a plain function that it names, names one of the things; ``held`` are attributes."""
        for code in codes(function.__code__):
            if code in seen:
                continue
            seen.add(code)
            of_the_file = [function.__globals__[name] for name in code.co_names if name in function.__globals__]
            values = [*of_the_file, *(value for name in code.co_names for value in held.get(name, ()))]
            if not self.names.isdisjoint(code.co_names) or any(map(self.holds, (*code.co_consts, *values))):
                return True
            plain = (value for value in of_the_file if isinstance(value, FunctionType))
            own = (value for value in plain if not str(value.__module__).startswith("torch."))
            if any(self.named_in(value, held, seen) for value in own):
                return True
        return False


def _functions(cls: type[nn.Module]) -> Iterator[FunctionType]:
    """Return the methods and properties of a class, without torch's own and what constructs it."""
    for base in cls.__mro__:
        if not base.__module__.startswith(("torch.", "builtins")):
            for name, value in vars(base).items():
                method = getattr(value, "fget", None) or getattr(value, "__func__", None) or value
                plain = inspect.unwrap(method) if isinstance(method, FunctionType) else None
                if isinstance(plain, FunctionType) and not name.startswith(_CONSTRUCTING):
                    yield plain
