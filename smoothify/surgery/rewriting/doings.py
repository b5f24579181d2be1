"""What a function that a model calls while it is traced does, besides computing: seen by the frame that it runs in."""

from __future__ import annotations

import os
from pathlib import Path
from types import FrameType

import torch
from torch import nn

from smoothify.surgery.probing.frames import MODULE_CALL, SURGERY, TORCH, is_of_a_model, is_standard

_CONTAINER = str(Path(torch.nn.modules.container.__file__))
_THROUGH = frozenset({"children", "named_children", "modules", "named_modules"})
_TENSORS = frozenset({"parameters", "named_parameters", "buffers", "named_buffers", "state_dict"})
# What is done while tracing would be done no more.
_EFFECTS = frozenset({"print", "warn"})
_SETS = frozenset({"setattr", "delattr"})
_LOOKS = frozenset(
    {"_wrapped_call_impl", "_call_impl", "__call__", "__getattr__", "__dir__", "__repr__", "get_submodule"}
)
_CHANGES = frozenset(
    {"append", "insert", "extend", "pop", "popitem", "clear", "update", "setdefault"}
    | {"__setitem__", "__delitem__", "__iadd__"}
)
_ENVIRONMENT = type(os.environ).__getitem__.__code__


def counted(frame: FrameType) -> nn.Module | None:
    """Return the module whose children a frame goes through for a model: a trace keeps how many they are."""
    code = frame.f_code
    through = code.co_filename == _CONTAINER or (code.co_filename == MODULE_CALL and code.co_name in _THROUGH)
    if not through or frame.f_back is None or not is_of_a_model(frame.f_back):
        return None
    first = frame.f_locals.get("self")
    return first if isinstance(first, nn.Module) else None


def is_an_effect(name: str, caller: FrameType) -> bool:
    """Whether a call that a model makes is for what it does besides; the standard library sets its own attributes."""
    return is_of_a_model(caller) and (name in _EFFECTS or (name in _SETS and not is_standard(caller)))


def changes_modules(frame: FrameType) -> bool:
    """Whether a frame, called by a model, does something to a module that is neither a call nor a look at it."""
    code, caller = frame.f_code, frame.f_back
    if caller is None or not is_of_a_model(caller) or caller.f_code.co_filename == code.co_filename:
        return False
    if code.co_filename == _CONTAINER:
        return code.co_name in _CHANGES
    return code.co_filename == MODULE_CALL and code.co_name not in {*_LOOKS, *_THROUGH, *_TENSORS}


def reads_the_environment(frame: FrameType) -> bool:
    """Whether a frame reads an environment variable for a model, be it by way of the standard library."""
    if frame.f_code is not _ENVIRONMENT:
        return False
    caller = frame.f_back
    while caller is not None and is_standard(caller):
        caller = caller.f_back
    return caller is not None and is_of_a_model(caller)


def finds_tensors(frame: FrameType) -> bool:
    """Whether a frame looks for the tensors of a module for a model: a trace would keep their shapes and dtypes."""
    code, caller = frame.f_code, frame.f_back
    through = code.co_filename == MODULE_CALL and code.co_name in _TENSORS
    return through and caller is not None and not caller.f_code.co_filename.startswith((TORCH, SURGERY))
