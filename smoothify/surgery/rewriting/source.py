"""The source pass: the text of a method, and of the plain functions that it calls, with recognised calls replaced."""

from __future__ import annotations

import ast
import builtins
import inspect
import sys
import textwrap
from collections.abc import Callable, Mapping
from types import CellType, CodeType, FunctionType
from typing import Any

import torch

from smoothify.surgery.recognition.calls import Call, read_call
from smoothify.surgery.rewriting.definition import SourceRefusedError, class_around, definition_of, has_private_names
from smoothify.surgery.rewriting.texts import Code, contents
from smoothify.surgery.rules.composites import run_either_way
from smoothify.surgery.sites import Found

Line = tuple[str, int]
"""File and line."""
SlotName = Callable[[Found, str, int, int], "str | None"]
"""Of what was found at a file, line and column: the name of the attribute that is called instead."""

_CAPTURED, _HELPERS, _OTHERWISE = "_smoothify_captured", "_smoothify_helpers", "_smoothify_otherwise"
_MODULE = "_smoothify_module"
_CHECKPOINTS = frozenset({"checkpoint", "checkpoint_sequential", "checkpoint_seq"})


def rewrite_source(
    function: Callable[..., Any], lines: frozenset[Line], slot: SlotName
) -> tuple[Code, Mapping[str, Code]]:
    """Replace the recognised calls on the given lines, which stand in a method or in functions that it calls.

    Returns the code of the method, and that of the functions which changed with it. Raises SourceRefusedError
    where a line has none that can be read, or there is no plain text to rewrite.
    """
    if not isinstance(function, FunctionType) or not function.__code__.co_argcount:
        raise SourceRefusedError("it is no plain method")
    rewriting = _Rewriting(lines, slot, {function.__code__.co_filename, *(file for file, _ in lines)})
    method = rewriting.code(function, function.__code__.co_varnames[0])
    if lines - rewriting.done:
        raise SourceRefusedError("a call on one of the lines cannot be read from the text")
    return method, rewriting.helpers


class _Rewriting:
    """What is gathered while a method and the functions that it calls are rewritten."""

    def __init__(self, lines: frozenset[Line], slot: SlotName, files: set[str]) -> None:
        self.lines, self.slot, self.files = lines, slot, files
        self.done: set[Line] = set()
        self.helpers: dict[str, Code] = {}
        self._names: dict[FunctionType, str | None] = {}

    def helper(self, function: Any, *, again: bool = False) -> str | None:
        """Return the name of the rewritten copy of a function; None where nothing in it changes.

        ``again`` is for the copy of an earlier rewriting, which is needed in any case.
        """
        if not isinstance(function, FunctionType) or not (again or function.__code__.co_filename in self.files):
            return None
        if function not in self._names:
            self._names[function] = name = f"{function.__name__}_{len(self._names)}"
            before = len(self.done)
            try:
                code = self.code(function, _MODULE)
            except SourceRefusedError:
                if again:
                    raise
                code = None
            if code is None or (len(self.done) == before and not again):
                self._names[function] = None
            else:
                self.helpers[name] = code
        return self._names[function]

    def code(self, function: FunctionType, module: str) -> Code:
        """Return the changed code of a function, in which ``module`` names the one that holds the slots."""
        definition, offset = definition_of(function)
        cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
        closure = {name: contents(cell) for name, cell in cells.items()}
        local = {*function.__code__.co_varnames, *function.__code__.co_cellvars}
        names = {**vars(builtins), **function.__globals__, **closure}
        free = {name: value for name, value in names.items() if name not in local}
        around = {name: cell for name, cell in cells.items() if name not in (_CAPTURED, _HELPERS)}
        captured: dict[str, Any] = {**closure.get(_CAPTURED, {}), **around}
        _keep_defaults(function, definition, captured)
        change = _Change(free, self, function.__code__.co_filename, offset, module, captured)
        changed: ast.FunctionDef = change.visit(definition)
        if module == _MODULE and (not changed.args.args or changed.args.args[0].arg != _MODULE):
            changed.args.args.insert(0, ast.arg(_MODULE))
        assigned = [f"{name} = {_CAPTURED}[{name!r}]" for name in around]
        body = "\n".join([*assigned, ast.unparse(changed), f"return {changed.name}"])
        text = f"def make(__class__, {_OTHERWISE}, {_CAPTURED}, {_HELPERS}):\n{textwrap.indent(body, '    ')}\n"
        owner = class_around(function) if has_private_names(definition) else ""
        if owner:
            text = f"class {owner}:\n{textwrap.indent(text, '    ')}\nmake = {owner}.make\n"
        return Code(text, *_globals(function), captured)


def _globals(function: FunctionType) -> tuple[str, dict[str, Any]]:
    """Return the Python module that a function's globals are those of, or else those that it names."""
    home = str(function.__globals__.get("__name__", ""))
    if home in sys.modules and vars(sys.modules[home]) is function.__globals__:
        return home, {}
    known = _global_names(function.__code__) & function.__globals__.keys()
    return "", {name: function.__globals__[name] for name in known}


def _keep_defaults(function: FunctionType, definition: ast.FunctionDef, captured: dict[str, Any]) -> None:
    """Let the defaults be the very objects that they are: they were computed when the function was made."""
    for index, value in enumerate(function.__defaults__ or ()):
        if not isinstance(definition.args.defaults[index], ast.Constant):
            definition.args.defaults[index] = _kept(captured, f"{function.__qualname__} {index}", value)
    keywords = zip(definition.args.kwonlyargs, definition.args.kw_defaults, strict=True)
    for index, (argument, node) in enumerate(keywords):
        if node is not None and not isinstance(node, ast.Constant):
            value = (function.__kwdefaults__ or {})[argument.arg]
            definition.args.kw_defaults[index] = _kept(captured, f"{function.__qualname__} {argument.arg}", value)


def _kept(captured: dict[str, Any], key: str, value: Any) -> ast.expr:
    captured[key] = value
    return ast.Subscript(ast.Name(_CAPTURED, ast.Load()), ast.Constant(key), ast.Load())


def mentions_checkpoint(function: Callable[..., Any]) -> bool:
    """Whether a method, or what it wraps, names one of the functions that run code again in the backward pass."""
    if not isinstance(function, FunctionType):
        return False
    names = _global_names(function.__code__)
    named = (getattr(function.__globals__.get(name), "__module__", None) for name in names)
    if names & _CHECKPOINTS or "torch.utils.checkpoint" in named:
        return True
    inner = [cell.cell_contents for cell in function.__closure__ or () if cell != CellType()]
    return any(map(mentions_checkpoint, inner))


def _global_names(code: CodeType) -> set[str]:
    names = set(code.co_names)
    for constant in code.co_consts:
        if inspect.iscode(constant):
            names |= _global_names(constant)
    return names


class _Change(ast.NodeTransformer):
    def __init__(
        self,
        names: Mapping[str, Any],
        rewriting: _Rewriting,
        file: str,
        offset: int,
        module: str,
        captured: dict[str, Any],
    ) -> None:
        self.names, self.rewriting, self.file, self.offset, self.module = names, rewriting, file, offset, module
        self.captured = captured

    def visit_Call(self, node: ast.Call) -> ast.AST:
        call = self._read(node)
        function = self._resolve(node.func)
        self.generic_visit(node)
        if call is not None:
            return self._replaced(node, call)
        again = isinstance(node.func, ast.Subscript) and function is not None
        helper = self.rewriting.helper(function, again=again)
        if helper is not None:
            node.func = ast.Subscript(ast.Name(_HELPERS, ast.Load()), ast.Constant(helper), ast.Load())
            if not again:
                node.args.insert(0, ast.Name(self.module, ast.Load()))
        return ast.fix_missing_locations(node)

    def _replaced(self, node: ast.Call, call: Call) -> ast.AST:
        line = self.file, node.lineno + self.offset
        name = self.rewriting.slot(call.found, *line, node.col_offset)
        if name is None:
            return node
        self.rewriting.done.add(line)
        target: ast.expr = ast.Attribute(ast.Name(self.module, ast.Load()), name, ast.Load())
        operands = [operand for operand in call.operands if isinstance(operand, ast.expr)]
        if isinstance(call.asked, ast.expr):  # in place at one time, perhaps, and not at another
            operands = [target, call.asked, *operands]
            target = _kept(self.captured, run_either_way.__name__, run_either_way)
        replaced = ast.copy_location(ast.Call(target, operands, []), node)
        return ast.fix_missing_locations(replaced)

    def _read(self, node: ast.Call) -> Call | None:
        if (self.file, node.lineno + self.offset) not in self.rewriting.lines:
            return None
        if any(word.arg is None for word in node.keywords) or any(isinstance(arg, ast.Starred) for arg in node.args):
            return None  # what is unpacked may be something else next time
        function = self._resolve(node.func)
        args: list[Any] = list(node.args)
        if function is None and isinstance(node.func, ast.Attribute):
            function = getattr(torch.Tensor, node.func.attr, None)
            args = [node.func.value, *args]
        if not callable(function):
            return None
        kwargs = {word.arg: _literal(word.value) for word in node.keywords if word.arg}
        return read_call(function, tuple(args[:1] + [_literal(arg) for arg in args[1:]]), kwargs)

    def _resolve(self, node: ast.expr) -> Any:
        if isinstance(node, ast.Name):
            return self.names.get(node.id)
        if isinstance(node, ast.Attribute):
            holder = self._resolve(node.value)
            return getattr(holder, node.attr, None) if holder is not None else None
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id == _HELPERS:
            return self.names[_HELPERS][_literal(node.slice)]
        return None


def _literal(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        return node
