"""What a model's code can reach without asking the model: global variables, defaults, classes, what they hold."""

from __future__ import annotations

import functools
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from types import CellType, CodeType, FunctionType, MethodType, ModuleType, SimpleNamespace
from typing import Any

from torch import Tensor, nn

from smoothify.surgery.probing.bytecode import codes, is_foreign

_WRAPPERS = (staticmethod, classmethod, MethodType, functools.partial, functools.partialmethod, property)
_FIXED = (str, bytes, int, float, complex, Tensor, nn.Module, type(None))
_STATE = frozenset(nn.Module().__dict__)
_UNNAMED = frozenset({"forward", "__call__", "__init__", "__getitem__", "__enter__"})
"""The methods that code calls without their name."""


class Reach:
    """Follows, from the ``forward`` of every module on, the names that code reads; nothing is run.

    ``codes`` are those of the functions that it found, ``caches`` their ``lru_cache``s, and ``holders`` the dicts,
    lists, sets, deques and classes that may keep something from one call to the next. Libraries are not entered.
    """

    def __init__(self, modules: Iterable[nn.Module]) -> None:
        self.codes: list[CodeType] = []
        self.caches: list[Any] = []
        self.holders: list[Any] = []
        self._seen: dict[tuple[int, frozenset[str]], Any] = {}
        self._open: deque[tuple[Any, frozenset[str]]] = deque()
        self._asked: set[str] = set()
        self._unasked: dict[str, dict[int, Any]] = defaultdict(dict)
        self._read(_UNNAMED)
        for module in modules:
            self._class(type(module))
            self._offer({name: value for name, value in vars(module).items() if name not in _STATE})
        while self._open:
            self._meet(*self._open.popleft())

    def _read(self, names: frozenset[str]) -> None:
        """Code reads these names, of whatever has them."""
        self._asked |= names
        self._open.extend((value, names) for name in names for value in self._unasked.pop(name, {}).values())

    def _offer(self, space: Mapping[str, Any]) -> None:
        """Code that reads one of these names may mean what has it here."""
        for name, value in space.items():
            if name in self._asked:
                self._open.append((value, frozenset({name})))
            elif not isinstance(value, _FIXED):
                self._unasked[name][id(value)] = value

    def _class(self, cls: type) -> None:
        for base in cls.__mro__:
            if not _is_of_a_library(base) and (id(base), _UNNAMED) not in self._seen:
                self._seen[id(base), _UNNAMED] = base
                self.holders.append(base)
                self._offer(vars(base))

    def _meet(self, value: Any, names: frozenset[str]) -> None:
        key = id(value), names if isinstance(value, ModuleType) else frozenset[str]()
        if isinstance(value, _FIXED) or key in self._seen:
            return
        self._seen[key] = value  # alive, so that nothing later takes its address
        if isinstance(value, type):
            self._class(value)
        elif isinstance(value, ModuleType):
            if not _is_of_a_library(value):
                self._look_up(vars(value), names)
        elif isinstance(value, _WRAPPERS):
            parts = ("__func__", "func", "fget", "__self__", "args", "keywords")
            self._open.extend((getattr(value, part, None), names) for part in parts)
        elif isinstance(value, functools._lru_cache_wrapper):
            self.caches.append(value)
            self._open.append((value.__wrapped__, names))
        elif isinstance(value, FunctionType):
            self._function(value)
        elif isinstance(value, tuple):
            self._open.extend((item, names) for item in value)
        elif isinstance(value, dict):
            self._hold(value, dict.values(value), names)  # past a class that loads what it is asked for
        elif isinstance(value, (list, set, deque)):
            self._hold(value, value, names)
        elif not _is_of_a_library(type(value)) or type(value) is SimpleNamespace:
            held = getattr(value, "__dict__", {})
            self._hold(held, held.values(), names)
            self._class(type(value))

    def _hold(self, holder: Any, inside: Iterable[Any], names: frozenset[str]) -> None:
        self.holders.append(holder)
        self._open.extend((item, names) for item in inside)

    def _function(self, function: FunctionType) -> None:
        if is_foreign(str(function.__module__)):
            return
        own = list(codes(function.__code__))
        self.codes += own
        names = frozenset(name for code in own for name in code.co_names)
        self._read(names)
        self._hold(vars(function), vars(function).values(), names)
        cells = [cell.cell_contents for cell in function.__closure__ or () if cell != CellType()]
        given = (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values())
        self._open.extend((item, names) for item in (*cells, *given))
        self._look_up(function.__globals__, names)

    def _look_up(self, space: dict[str, Any], names: frozenset[str]) -> None:
        if (id(space), _UNNAMED) not in self._seen:
            self._seen[id(space), _UNNAMED] = space
            self.holders.append(space)
        self._open.extend((space[name], names) for name in names if name in space)


def _is_of_a_library(value: type | ModuleType) -> bool:
    name = value.__module__ if isinstance(value, type) else value.__name__
    return is_foreign(name)
