"""The text of a rewritten function: made a function of, and put into a pickle."""

from __future__ import annotations

import linecache
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from itertools import count
from types import CellType, FunctionType, ModuleType
from typing import Any

_numbers = count()


@dataclass(frozen=True)
class Code:
    """The text of a function and what it names.

    ``text`` defines ``make``, which returns the function, called with the class, the method ``otherwise`` that
    never bakes anything in (for calls which the text does not cover), ``captured``, and the helpers by name.
    """

    text: str
    home: str = ""
    """The Python module whose globals the text reads, as they are whenever it runs."""
    scope: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """The globals where there is no such module."""
    captured: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """What the function had captured: the variables of its closure, as cells, and its defaults."""

    def __reduce__(self) -> Any:
        scope = {
            name: _ModuleName(value.__name__) if isinstance(value, ModuleType) else value
            for name, value in self.scope.items()
        }
        captured = {
            name: contents(value) if type(value) is CellType else value for name, value in self.captured.items()
        }
        return _code, (self.text, self.home, scope, captured)

    def function(
        self, title: str, cls: type, otherwise: Callable[..., Any], helpers: Mapping[str, Callable[..., Any]]
    ) -> Callable[..., Any]:
        """Return the function; as long as it lives, tracebacks show its text under ``title``."""
        file = f"<smoothify {title} {next(_numbers)}>"
        linecache.cache[file] = len(self.text), None, self.text.splitlines(keepends=True), file
        defined: dict[str, Any] = {}
        names = vars(import_module(self.home)) if self.home else dict(self.scope)
        exec(compile(self.text, file, "exec"), names, defined)
        function = defined["make"](cls, otherwise, self.captured, helpers)
        made = _with_cells(function, self.captured) if isinstance(function, FunctionType) else function
        weakref.finalize(made, linecache.cache.pop, file, None).atexit = False
        return made


def contents(cell: CellType) -> Any:
    """Return what a cell holds; None of an empty one."""
    return cell.cell_contents if cell != CellType() else None


def _with_cells(function: FunctionType, captured: Mapping[str, Any]) -> FunctionType:
    """Let a function share the variables around the original one, which others may set."""
    own = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
    cells = {name: cell for name in own if type(cell := captured.get(name)) is CellType}
    if not cells:
        return function
    closure = tuple({**own, **cells}.values())
    made = FunctionType(function.__code__, function.__globals__, function.__name__, function.__defaults__, closure)
    made.__kwdefaults__, made.__annotations__ = function.__kwdefaults__, function.__annotations__
    made.__qualname__, made.__doc__ = function.__qualname__, function.__doc__
    return made


@dataclass(frozen=True)
class _ModuleName:
    """Stands for a Python module in a pickle."""

    name: str


def _code(text: str, home: str, scope: Mapping[str, Any], captured: Mapping[str, Any]) -> Code:
    known = {
        key: import_module(value.name) if isinstance(value, _ModuleName) else value for key, value in scope.items()
    }
    return Code(text, home, known, captured)
