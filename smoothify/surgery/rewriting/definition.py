"""The definition of a function as it stands in its file: only if that is what the running code was compiled from."""

from __future__ import annotations

import ast
import inspect
import linecache
from collections import defaultdict
from functools import lru_cache
from types import CodeType, FunctionType

_FUTURE = 0xFFF0000  # the bits of co_flags for `from __future__ import`
_SAME = ("co_code", "co_names", "co_varnames", "co_freevars", "co_cellvars", "co_argcount", "co_kwonlyargcount",
         "co_posonlyargcount")  # fmt: skip


class SourceRefusedError(Exception):
    """A method whose text cannot be rewritten; the message says why."""


def definition_of(function: FunctionType) -> tuple[ast.FunctionDef, int]:
    """Return the definition of a function and the number of lines in the file before it."""
    if hasattr(function, "__wrapped__"):
        raise SourceRefusedError("it is decorated")
    try:
        lines, first = inspect.getsourcelines(function)
        text = "".join(lines)
        # Not dedented: that would change the strings in it.
        tree = ast.parse(f"if 1:\n{text}" if text[:1].isspace() else f"\n{text}")
    except (OSError, TypeError, SyntaxError) as error:
        raise SourceRefusedError("its source is not to be had") from error
    found = tree.body[0].body[0] if isinstance(tree.body[0], ast.If) else tree.body[0]
    if not isinstance(found, ast.FunctionDef) or found.decorator_list:
        raise SourceRefusedError("it is no plain function definition")
    if any(isinstance(node, (ast.Global, ast.Nonlocal)) for node in ast.walk(found)):
        raise SourceRefusedError("it sets a variable outside itself")
    ast.increment_lineno(found, -1)
    if not _is_what_runs(function):
        raise SourceRefusedError("its file was changed since it was imported, or something else was made of it")
    return found, first - 1


def class_around(function: FunctionType) -> str:
    """Return the name of the innermost class that a function is defined in, or ''; private names begin with it.

    >>> class Block:
    ...     def forward(self): ...
    >>> class_around(Block.forward), class_around(class_around)
    ('Block', '')
    """
    names = function.__qualname__.split(".")[:-1]
    while names and names[-1] == "<locals>":
        names = names[:-2]
    return names[-1] if names else ""


def has_private_names(node: ast.AST) -> bool:
    """Whether names in a definition are private to the class around it."""
    names = (
        getattr(inner, field, None) for inner in ast.walk(node) for field in ("id", "attr", "arg", "name", "names")
    )
    return any(isinstance(name, str) and name.startswith("__") and not name.endswith("__") for name in names)


def _is_what_runs(function: FunctionType) -> bool:
    """Whether the running code is what its whole file is compiled to: that depends on what the file imports."""
    code = function.__code__
    text = "".join(linecache.getlines(code.co_filename, function.__globals__))
    return any(_same(code, other) for other in _compiled(text, code.co_flags & _FUTURE).get(code.co_firstlineno, ()))


@lru_cache(maxsize=16)
def _compiled(text: str, flags: int) -> dict[int, list[CodeType]]:
    """Return the code of all functions in a text, by the number of their first line."""
    found: dict[int, list[CodeType]] = defaultdict(list)
    waiting = [compile(text, "<text>", "exec", flags=flags, dont_inherit=True)]
    while waiting:
        for inner in waiting.pop().co_consts:
            if isinstance(inner, CodeType):
                found[inner.co_firstlineno].append(inner)
                waiting.append(inner)
    return found


def _same(one: CodeType, other: CodeType) -> bool:
    constants = list(zip(one.co_consts, other.co_consts, strict=False))
    return (
        len(one.co_consts) == len(other.co_consts)
        and all(getattr(one, name) == getattr(other, name) for name in _SAME)
        and all(
            _same(a, b) if isinstance(a, CodeType) and isinstance(b, CodeType) else repr(a) == repr(b)
            for a, b in constants
        )
    )
