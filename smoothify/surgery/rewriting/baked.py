"""What a trace would bake in without seeing it, or drop: reads outside the traced module, and side effects."""

from __future__ import annotations

import dis
import functools
import inspect
import logging
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import BuiltinFunctionType, CodeType, FrameType, FunctionType, MethodDescriptorType, MethodType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from smoothify.surgery.probing.bytecode import (
    catches,
    chains,
    codes,
    compares,
    imports,
    is_foreign,
    matches,
    read_of,
    sets,
)
from smoothify.surgery.probing.frames import TORCH, is_of_a_model, is_standard

_STATE = frozenset(nn.Module().__dict__) - {"training"}
_READS = frozenset({"LOAD_GLOBAL", "LOAD_NAME"})
_INSIDES = frozenset(nn.Module().__dict__) - {"training"} | {"__dict__"}
_OURS = str(Path(__file__).parent)
_FIXED = (str, bytes, int, float, complex, type(None), torch.dtype, torch.device, torch.layout, torch.memory_format)
_SETTLED = (ModuleType, type, tuple, frozenset, logging.Logger, torch.dtype, torch.device)
_FUNCTIONS = (FunctionType, BuiltinFunctionType, MethodDescriptorType, type, torch.jit.ScriptFunction, nn.Module)
_OPERATORS = (torch._ops.OpOverload, torch._ops.OpOverloadPacket)

# Builtins that would answer for what stands for a tensor or for a child, or go past everything that is watched.
_ASKS = frozenset(
    {"isinstance", "issubclass", "callable", "vars", "dir", "id", "hash", "object"}
    | {"open", "input", "globals", "locals", "eval", "exec"}
)
_WORLD = frozenset(
    {"os", "posix", "sys", "time", "datetime", "random", "io", "pathlib", "posixpath", "threading", "gc", "inspect"}
    | {"subprocess", "socket", "shutil", "tempfile", "secrets", "uuid", "ctypes", "glob", "platform"}
)
_SETTINGS = frozenset(
    {"backends", "onnx", "are_deterministic_algorithms_enabled", "use_deterministic_algorithms"}
    | {"get_num_threads", "set_num_threads", "get_float32_matmul_precision", "set_float32_matmul_precision"}
)


def refusal(name: str, value: Any) -> str:
    """Say why a trace may not read a plain attribute of its module; '' where setting it anew would be noticed."""
    return "" if _fixed(value) and not isinstance(value, type) else f"it reads self.{name}, which may change inside"


def _fixed(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(map(_fixed, value))
    return isinstance(value, (*_FIXED, Tensor)) or _is_function(value)


def _is_function(value: Any) -> bool:
    """Whether a value is called and keeps no state of its own, as an instance with a ``__call__`` may."""
    if isinstance(value, functools.partial):
        return _is_function(value.func) and _fixed((*value.args, *value.keywords.values()))
    if isinstance(value, MethodType):
        return isinstance(value.__self__, nn.Module)
    if isinstance(value, functools._lru_cache_wrapper):
        return _is_function(value.__wrapped__)
    return isinstance(value, (*_FUNCTIONS, *_OPERATORS)) or type(value).__module__ == "typing"


def of_the_class(module: nn.Module, name: str, value: Any) -> bool:
    """Whether an attribute is a plain value in the class of a module, which nobody hears of when it is set anew."""
    return not hasattr(nn.Module, name) and inspect.getattr_static(type(module), name, None) is value


def goes_past_setting(cls: type[nn.Module]) -> bool:
    """Whether a method of a class takes the ``__dict__`` of an instance: what it writes there nobody hears of."""
    held = [value for base in cls.__mro__ if not is_foreign(base.__module__) for value in vars(base).values()]
    held += [part for value in held if isinstance(value, property) for part in (value.fget, value.fset)]
    functions = (value.__func__ if isinstance(value, (staticmethod, classmethod)) else value for value in held)
    own = (value.__code__ for value in functions if isinstance(value, FunctionType))
    return any(
        "__dict__" in code.co_names or "vars" in _globals_of(code)
        for inside in own
        for code in codes(inside)
        if not code.co_filename.startswith(_OURS)
    )


def is_empty(state: Mapping[str, Any], name: str) -> bool:
    """Whether a child, parameter or buffer, by the state of its module, is not there; False for what is none."""
    tables = (state.get(table, {}) for table in ("_modules", "_parameters", "_buffers"))
    return any(name in table and table[name] is None for table in tables)


def is_registered(state: Mapping[str, Any], name: str) -> bool:
    """Whether a module, by its state, has a child, parameter or buffer of this name, be it None."""
    return any(name in state.get(table, {}) for table in ("_modules", "_parameters", "_buffers"))


def of_the_insides(name: str, frame: FrameType) -> bool:
    """Whether a model's code, and not torch's, reads a table of a module: what is asked of one may change."""
    return name in _INSIDES and is_of_a_model(frame) and not frame.f_code.co_filename.startswith(TORCH)


def variable_read(frame: FrameType, known: set[CodeType], within: set[CodeType]) -> str:
    """Say which variable from outside it the code of a frame reads that may change, or that it asks for a type.

    '' for none. ``known`` collects the code that has been looked at, ``within`` what is defined in it: the variables
    around that are the trace's own.
    """
    code = frame.f_code
    if code in known or not is_of_a_model(frame) or is_standard(frame):
        return ""
    known.add(code)
    if catches(code):
        return "it catches exceptions, and a graph would raise them"
    if imports(code):
        return "it imports what it reads, which may change"
    if sets(code):
        return "it sets an attribute or a global variable, which a graph would leave out"
    if matches(code):
        return "it matches patterns, and what stands for a tensor has no such form"
    if compares(code):
        return "it asks whether two things are the same, and a trace would keep the answer"
    within.update(inner for inner in code.co_consts if isinstance(inner, CodeType))
    names = _globals_of(code)
    if "type" in names and "type" not in frame.f_globals:
        return "it asks type(), and a trace would answer for what stands for a tensor"
    if asked := _ASKS.intersection(names) - frame.f_globals.keys():
        return f"it asks {min(asked)}(), and a trace would keep the answer"
    for name in (name for name in names if name in frame.f_globals):
        value = frame.f_globals[name]
        if _is_of_the_world(value):
            return f"it uses {name}, whose answers differ from call to call"
        if not isinstance(value, _SETTLED) and not _is_function(value):
            return f"it reads the variable {name} of its module, which may change"
    for name in () if code in within else code.co_freevars:
        value = frame.f_locals.get(name)
        if not isinstance(value, (ModuleType, type, nn.Module)) and not _is_function(value):
            return f"it reads the variable {name} from around it, which may change"
    for name, attributes in chains(code):
        if frame.f_globals.get(name) is torch and attributes[0] in _SETTINGS:
            return f"it reads or sets torch.{attributes[0]}, which may change"
        around = {} if code in within else {free: frame.f_locals.get(free) for free in code.co_freevars}
        value = around.get(name, frame.f_globals.get(name))
        for attribute, held in read_of(value, attributes):
            if not isinstance(held, _SETTLED) and not _is_function(held):
                return f"it reads {attribute} of {name}, which may change"
    return ""


def _is_of_the_world(value: Any) -> bool:
    """Whether a value is a module of the standard library that deals with time, files and the system, or is of one."""
    home = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
    return str(home).partition(".")[0] in _WORLD


@cache
def _globals_of(code: CodeType) -> tuple[str, ...]:
    """Return the global names that a function reads: ``co_names`` has those of attributes too."""
    return tuple(dict.fromkeys(str(step.argval) for step in dis.get_instructions(code) if step.opname in _READS))


@contextmanager
def watched(root: nn.Module, refuse: Callable[[str], None]) -> Iterator[None]:
    """Refuse what model code reads of other modules than the traced one, except tensors and modules; and any write."""
    plain_set, thread = nn.Module.__setattr__, threading.get_ident()

    def asked_by_a_model() -> bool:
        return threading.get_ident() == thread and is_of_a_model(sys._getframe(2))

    def read(module: nn.Module, name: str) -> Any:
        held = object.__getattribute__(module, "__dict__")
        if module is not root and is_empty(held, name) and asked_by_a_model():
            refuse(f"it reads .{name} of a {type(module).__name__}, which is None and may come")
        if of_the_insides(name, sys._getframe(1)) and threading.get_ident() == thread:
            refuse(f"it reads .{name} of a {type(module).__name__}, which may change inside")
        try:
            value = object.__getattribute__(module, name)
        except AttributeError:
            if module is not root and not is_registered(held, name) and asked_by_a_model():
                refuse(f"it asks for .{name} of a {type(module).__name__}, which may come")
            raise
        plain = name in held and name not in _STATE and not isinstance(value, (Tensor, nn.Module))
        method = isinstance(value, MethodType) and not hasattr(nn.Module, name)
        method = method or (name == "forward" and module is not root)
        if module is not root and (plain or method or of_the_class(module, name, value)) and asked_by_a_model():
            refuse(f"it reads .{name} of a {type(module).__name__}, which may change")
        return value

    def write(module: nn.Module, name: str, value: Any) -> None:
        if asked_by_a_model():
            refuse(f"it sets .{name} of a {type(module).__name__}")
        plain_set(module, name, value)

    nn.Module.__getattribute__ = read  # type: ignore[assignment]  # for this trace only
    nn.Module.__setattr__ = write  # type: ignore[assignment]  # as above
    try:
        yield
    finally:
        del nn.Module.__getattribute__  # and put back
        nn.Module.__setattr__ = plain_set  # type: ignore[method-assign]  # as above


def numpy_draws() -> Any:
    """Return where numpy's generator stands; None where nobody has imported numpy."""
    numpy = sys.modules.get("numpy")
    return numpy.random.get_state() if numpy is not None else None
