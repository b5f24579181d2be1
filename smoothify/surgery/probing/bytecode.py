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
_SET = frozenset({"STORE_ATTR", "DELETE_ATTR", "STORE_GLOBAL", "DELETE_GLOBAL"})
_SET_AROUND = frozenset({"STORE_DEREF", "DELETE_DEREF"})
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
    """Whether a function sets or deletes an attribute, a global variable, or one of the function around it."""
    own = {*code.co_cellvars}
    return any(
        step.opname in _SET or (step.opname in _SET_AROUND and step.argval not in own)
        for step in dis.get_instructions(code)
    )


@cache
def matches(code: CodeType) -> bool:
    """Whether a function has a ``match`` over sequences, mappings or classes."""
    return any(step.opname.startswith("MATCH_") for step in dis.get_instructions(code))


@cache
def compares(code: CodeType) -> bool:
    """Whether a function asks by ``is`` for more than whether an argument or an attribute of ``self`` is a constant."""
    return "other" in _compared(code)


@cache
def tells_none_apart(code: CodeType) -> bool:
    """Whether a function asks of an argument whether it is a constant, such as None."""
    return "argument" in _compared(code)


def _compared(code: CodeType) -> set[str]:
    """Say of what it is asked by ``is`` which constant it is; "other" where it is asked for anything else."""
    arguments = {*code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]}
    steps = [step for step in dis.get_instructions(code) if step.opname not in _BETWEEN]
    arguments -= {step.argval for step in steps if step.opname == "STORE_FAST"}
    found: set[str] = set()
    for index, step in enumerate(steps):
        if step.opname == "IS_OP":
            asked = steps[max(index - 3, 0) : index - 1]
            if not steps[index - 1].opname.startswith("LOAD_CONST"):
                found.add("other")
        elif step.opname.endswith("_NONE"):
            asked = steps[max(index - 2, 0) : index]
        else:
            continue
        *before, last = asked
        if last.opname == "LOAD_FAST" and last.argval in arguments:
            found.add("argument")
        elif not (last.opname == "LOAD_ATTR" and before and _is_self(before[-1], code)):
            found.add("other")
    return found


def _is_self(step: dis.Instruction, code: CodeType) -> bool:
    return step.opname == "LOAD_FAST" and step.argval == code.co_varnames[0]


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
