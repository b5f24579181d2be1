"""What the code of a function does that a trace would not see: catching, importing, reading of modules and classes."""

from __future__ import annotations

import dis
import sys
from collections.abc import Iterator
from enum import Enum
from functools import cache
from types import CodeType, ModuleType
from typing import Any

_VARIABLES = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF", "LOAD_CLASSDEREF"})
_ATTRIBUTES = frozenset({"LOAD_ATTR", "LOAD_METHOD"})
_BETWEEN = frozenset({"EXTENDED_ARG", "CACHE", "PUSH_NULL"})
_SET = ("STORE_ATTR", "DELETE_ATTR", "STORE_GLOBAL", "DELETE_GLOBAL")
_FOREIGN = frozenset({"torch", "numpy", "smoothify", *sys.stdlib_module_names})


def codes(code: CodeType) -> Iterator[CodeType]:
    """Yield the code of a function and of all functions defined in it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from codes(constant)


@cache
def catches(code: CodeType) -> bool:
    """Whether a function handles exceptions; what ``with`` does with them is not counted."""
    names = [step.opname for step in dis.get_instructions(code)]
    return names.count("PUSH_EXC_INFO") > names.count("WITH_EXCEPT_START")


@cache
def imports(code: CodeType) -> bool:
    """Whether a function imports something else than torch, numpy, smoothify and the standard library."""
    steps = dis.get_instructions(code)
    return any(step.opname == "IMPORT_NAME" and not is_foreign(str(step.argval)) for step in steps)


@cache
def sets(code: CodeType) -> bool:
    """Whether a function sets or deletes an attribute or a global variable."""
    return any(step.opname.endswith(_SET) for step in dis.get_instructions(code))


@cache
def compares(code: CodeType) -> bool:
    """Whether a function asks by ``is`` for anything but a constant, such as None."""
    before = ""
    for step in (step for step in dis.get_instructions(code) if step.opname not in _BETWEEN):
        if step.opname == "IS_OP" and not before.startswith("LOAD_CONST"):
            return True
        before = step.opname
    return False


@cache
def chains(code: CodeType) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return the variables from outside a function of which it reads attributes, each with the attributes in a row.

    >>> import math
    >>> def area(radius):
    ...     return math.pi * radius
    >>> chains(area.__code__)
    (('math', ('pi',)),)
    """
    return tuple(dict.fromkeys(_chains(code)))


def _chains(code: CodeType) -> Iterator[tuple[str, tuple[str, ...]]]:
    steps = [step for step in dis.get_instructions(code) if step.opname not in _BETWEEN]
    for index, step in enumerate(steps):
        attributes: list[str] = []
        while step.opname in _VARIABLES and steps[index + 1 + len(attributes)].opname in _ATTRIBUTES:
            attributes.append(str(steps[index + 1 + len(attributes)].argval))
        if attributes:
            yield str(step.argval), tuple(attributes)


def read_of(value: Any, attributes: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    """Return the attributes, with their values, that are read in a row of a module or a class of a model's own code."""
    for name in attributes:
        home = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
        own = isinstance(value, (ModuleType, type)) and not is_foreign(str(home))
        if not own or name.startswith("__") or not hasattr(value, name):
            return
        value = getattr(value, name)
        if isinstance(value, Enum):
            return
        yield name, value


def is_foreign(module: str) -> bool:
    """Whether a Python module, by its name, is a library's whose code keeps nothing of a model."""
    return module.partition(".")[0] in _FOREIGN
