"""The source pass: the text of a method, and of the helpers that it calls, with the recognised calls replaced."""

from __future__ import annotations

import ast
import builtins
import inspect
import textwrap
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from smoothify.surgery.calls import Call, read_call
from smoothify.surgery.sites import Found


class SourceRefusedError(Exception):
    """A method whose text cannot be rewritten; the message says why."""


@dataclass(frozen=True, slots=True)
class Rewritten:
    """The text of ``make(__class__, otherwise)`` and the names that it needs."""

    text: str
    scope: Mapping[str, Any]


Line = tuple[str, int]
"""File and line of a call."""
Slot = Callable[[Found, str, int, int], "str | None"]
"""What names the slot of a call: what was found there, file, line and column."""


def rewrite_source(function: Callable[..., Any], lines: frozenset[Line], slot: Slot) -> Rewritten:
    """Replace the recognised calls on the given lines; ``slot`` names what is called instead.

    The lines may stand in the method itself or in plain functions that it calls: such a helper is copied, and gets
    the module as its first argument.

    Raises SourceRefusedError where a line has none that can be read, or there is no plain text to rewrite.
    """
    writer = _Writer(lines, slot)
    definition = writer.definition(function)
    closure = inspect.getclosurevars(function).nonlocals if function.__closure__ else {}
    names = {**vars(builtins), **function.__globals__, **closure}
    body = _indented(writer.change(definition, function, names))
    if lines - writer.done:
        raise SourceRefusedError("a call on it cannot be read from the text")
    captured = sorted(name for name in function.__code__.co_freevars if name != "__class__")
    copies = "".join(f"    {name} = _captured[{name!r}]\n" for name in captured)
    helpers = "".join(f"{text}\n" for text in writer.helpers.values())
    made = f"def make(__class__, otherwise):\n{copies}{helpers}{body}\n    return {definition.name}\n"
    scope = {
        name: function.__globals__[name] for name in _global_names(function.__code__) if name in function.__globals__
    }
    defaults = {name: value for name, value in closure.items() if name in captured}
    return Rewritten(made, {**scope, **writer.scope, "_captured": defaults})


def _global_names(code: types.CodeType) -> set[str]:
    names = set(code.co_names)
    for constant in code.co_consts:
        if inspect.iscode(constant):
            names |= _global_names(constant)
    return names


def _local_names(code: types.CodeType) -> set[str]:
    names = {*code.co_varnames, *code.co_cellvars, *code.co_freevars}
    for constant in code.co_consts:
        if inspect.iscode(constant):
            names |= _local_names(constant)
    return names


def _indented(definition: ast.FunctionDef) -> str:
    definition.decorator_list = []
    return textwrap.indent(ast.unparse(definition), "    ")


class _Writer:
    """The text of a method and of the helpers that hold calls of it."""

    def __init__(self, lines: frozenset[Line], slot: Slot) -> None:
        self.lines, self.slot = lines, slot
        self.done: set[Line] = set()
        self.helpers: dict[str, str] = {}
        self.scope: dict[str, Any] = {}
        self._names: dict[types.FunctionType, str] = {}

    def definition(self, function: Callable[..., Any]) -> ast.FunctionDef:
        """Read a function's own text."""
        if hasattr(function, "__wrapped__") or not inspect.isfunction(function):
            raise SourceRefusedError("it is decorated")
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
        except (OSError, TypeError, SyntaxError) as error:
            raise SourceRefusedError("its source is not to be had") from error
        definition = tree.body[0]
        if not isinstance(definition, ast.FunctionDef) or definition.decorator_list:
            raise SourceRefusedError("it is no plain function definition")
        return definition

    def change(self, definition: ast.FunctionDef, function: Any, names: Mapping[str, Any]) -> ast.FunctionDef:
        """Replace the calls in a function's text."""
        code = function.__code__
        changed: ast.FunctionDef = _Change(names, code.co_filename, code.co_firstlineno - 1, self).visit(definition)
        return changed

    def helper(self, function: types.FunctionType) -> str | None:
        """Return the name of a helper's copy that takes the module first; None where it holds none of the calls."""
        if function not in self._names:
            if not self._holds(function, set()):
                return None
            self._names[function] = f"_helper_{len(self._names)}_{function.__name__}"
            self.helpers[self._names[function]] = self._copy(function, self._names[function])
        return self._names[function]

    def _holds(self, function: types.FunctionType, seen: set[types.FunctionType]) -> bool:
        """Whether one of the lines is in a function, or in a function that it calls by a global name."""
        seen.add(function)
        code = function.__code__
        own = {line for *_, line in code.co_lines() if line is not None}
        if any(file == code.co_filename and line in own for file, line in self.lines):
            return True
        called = (function.__globals__.get(name) for name in _global_names(code))
        return any(
            isinstance(other, types.FunctionType) and other not in seen and self._holds(other, seen) for other in called
        )

    def _copy(self, function: types.FunctionType, name: str) -> str:
        local = _local_names(function.__code__)
        if function.__closure__ or "self" in local:
            raise SourceRefusedError("a call stands in a helper that is no plain function of its arguments")
        changed = self.change(self.definition(function), function, {**vars(builtins), **function.__globals__})
        prefixed = _Prefixed(f"{name}_", function.__globals__, local)
        renamed: ast.FunctionDef = prefixed.visit(changed)
        self.scope |= {f"{name}_{word}": function.__globals__[word] for word in prefixed.words}
        renamed.name = name
        renamed.args.args.insert(0, ast.arg("self"))
        return _indented(renamed)


class _Prefixed(ast.NodeTransformer):
    """Gives every global name of a helper a prefix: it is copied into the scope of another module."""

    def __init__(self, prefix: str, known: Mapping[str, Any], local: set[str]) -> None:
        self.prefix, self.known, self.local = prefix, known, local
        self.words: set[str] = set()

    def visit_Name(self, node: ast.Name) -> ast.AST:
        if node.id in self.known and node.id not in self.local:
            self.words.add(node.id)
            node.id = f"{self.prefix}{node.id}"
        return node


class _Change(ast.NodeTransformer):
    """Replaces the recognised calls in the text of one function."""

    def __init__(self, names: Mapping[str, Any], file: str, offset: int, writer: _Writer) -> None:
        self.names, self.file, self.offset, self.writer = names, file, offset, writer

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        call = self._read(node.value) if isinstance(node.value, ast.Call) else None
        if call is not None and call.found.inplace:
            raise SourceRefusedError("it drops the result of an in-place call")
        return self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        call = self._read(node)
        self.generic_visit(node)
        if call is None:
            return self._to_helper(node)
        name = self.writer.slot(call.found, *self._line(node), node.col_offset)
        if name is None:
            return node
        self.writer.done.add(self._line(node))
        operands = [operand for operand in call.operands if isinstance(operand, ast.expr)]
        return _at(node, ast.Call(_of_self(name), operands, []))

    def _to_helper(self, node: ast.Call) -> ast.AST:
        function = self._resolve(node.func)
        name = self.writer.helper(function) if isinstance(function, types.FunctionType) else None
        if name is None:
            return node
        return _at(
            node, ast.Call(ast.Name(name, ast.Load()), [ast.Name("self", ast.Load()), *node.args], node.keywords)
        )

    def _line(self, node: ast.Call) -> Line:
        return self.file, node.lineno + self.offset

    def _read(self, node: ast.Call) -> Call | None:
        if self._line(node) not in self.writer.lines:
            return None
        function = self._resolve(node.func)
        args: list[Any] = list(node.args)
        if function is None and isinstance(node.func, ast.Attribute):
            function = getattr(torch.Tensor, node.func.attr, None)
            args = [node.func.value, *args]
        if not callable(function):
            return None
        kwargs = {word.arg: _literal(word.value) for word in node.keywords if word.arg}
        if isinstance(kwargs.get("inplace"), ast.expr):
            kwargs["inplace"] = False
        return read_call(function, tuple(args[:1] + [_literal(arg) for arg in args[1:]]), kwargs)

    def _resolve(self, node: ast.expr) -> Any:
        if isinstance(node, ast.Name):
            return self.names.get(node.id)
        if isinstance(node, ast.Attribute):
            holder = self._resolve(node.value)
            return getattr(holder, node.attr, None) if holder is not None else None
        return None


def _of_self(name: str) -> ast.expr:
    return ast.Attribute(ast.Name("self", ast.Load()), name, ast.Load())


def _at(place: ast.expr, new: ast.expr) -> ast.expr:
    return ast.fix_missing_locations(ast.copy_location(new, place))


def _literal(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        return node
