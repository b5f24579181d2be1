"""The source pass: a method's own text with its recognised calls replaced."""

from __future__ import annotations

import ast
import builtins
import inspect
import textwrap
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


def rewrite_source(
    function: Callable[..., Any], lines: frozenset[int], slot: Callable[[Found, int, int], str | None]
) -> Rewritten:
    """Replace the recognised calls on the given lines; ``slot`` names what is called instead.

    Raises SourceRefusedError where a line has none that can be read, or there is no plain text to rewrite.
    """
    if hasattr(function, "__wrapped__") or not inspect.isfunction(function):
        raise SourceRefusedError("it is decorated")
    try:
        text, first = inspect.getsourcelines(function)
        tree = ast.parse(textwrap.dedent("".join(text)))
    except (OSError, TypeError, SyntaxError) as error:
        raise SourceRefusedError("its source is not to be had") from error
    definition = tree.body[0]
    if not isinstance(definition, ast.FunctionDef) or definition.decorator_list:
        raise SourceRefusedError("it is no plain function definition")
    closure = inspect.getclosurevars(function).nonlocals if function.__closure__ else {}
    names = {**vars(builtins), **function.__globals__, **closure}
    change = _Change(names, lines, first - 1, slot)
    changed = change.visit(definition)
    if lines - change.done:
        raise SourceRefusedError("a call on it cannot be read from the text")
    changed.decorator_list = []
    captured = sorted(name for name in function.__code__.co_freevars if name != "__class__")
    body = textwrap.indent(ast.unparse(changed), "    ")
    copies = "".join(f"    {name} = _captured[{name!r}]\n" for name in captured)
    made = f"def make(__class__, otherwise):\n{copies}{body}\n    return {definition.name}\n"
    scope = {
        name: function.__globals__[name] for name in _global_names(function.__code__) if name in function.__globals__
    }
    defaults = {name: value for name, value in closure.items() if name in captured}
    return Rewritten(made, {**scope, "_captured": defaults})


def _global_names(code: Any) -> set[str]:
    names = set(code.co_names)
    for constant in code.co_consts:
        if inspect.iscode(constant):
            names |= _global_names(constant)
    return names


class _Change(ast.NodeTransformer):
    def __init__(
        self,
        names: Mapping[str, Any],
        lines: frozenset[int],
        offset: int,
        slot: Callable[[Found, int, int], str | None],
    ) -> None:
        self.names, self.lines, self.offset, self.slot = names, lines, offset, slot
        self.done: set[int] = set()

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        call = self._read(node.value) if isinstance(node.value, ast.Call) else None
        if call is not None and call.found.inplace:
            raise SourceRefusedError("it drops the result of an in-place call")
        return self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        call = self._read(node)
        self.generic_visit(node)
        if call is None:
            return node
        name = self.slot(call.found, node.lineno + self.offset, node.col_offset)
        if name is None:
            return node
        self.done.add(node.lineno + self.offset)
        target = ast.Attribute(ast.Name("self", ast.Load()), name, ast.Load())
        operands = [operand for operand in call.operands if isinstance(operand, ast.expr)]
        replaced = ast.copy_location(ast.Call(target, operands, []), node)
        return ast.fix_missing_locations(replaced)

    def _read(self, node: ast.Call) -> Call | None:
        if node.lineno + self.offset not in self.lines:
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


def _literal(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        return node
