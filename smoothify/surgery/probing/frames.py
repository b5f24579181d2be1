"""Where in a model an operation was asked for, as the Python stack tells."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import torch
import torch.utils.checkpoint
from torch import nn

import smoothify
from smoothify.surgery.rules.composites import run_as

TORCH = f"{Path(torch.__file__).parent}{os.sep}"
_TORCH_MODULES = f"{Path(torch.nn.modules.__file__).parent}{os.sep}"
MODULE_CALL = str(Path(torch.nn.modules.module.__file__))
_CHECKPOINT = str(Path(torch.utils.checkpoint.__file__))
_ACTIVATIONS = f"{Path(smoothify.__file__).parent / 'activations'}{os.sep}"
SURGERY = f"{Path(__file__).parents[1]}{os.sep}"
_BOX_HELPERS = ("box", "iou", "inter_union")
_BOX_HOMES = ("torchvision.ops.", "torchvision.models.detection.", "transformers.")

ALONE = threading.RLock()
"""Held while ``nn.Module`` itself is followed, by a probe or a trace: two at once would not put it back."""

Modules = Mapping[int, nn.Module]
"""Each original module, by the id of the one in its place that runs."""


def is_of_a_model(frame: FrameType) -> bool:
    """Whether a frame runs a model's own code, not that of torch or of this package."""
    file = frame.f_code.co_filename
    library = (file.startswith(TORCH) and not file.startswith(_TORCH_MODULES)) or file == MODULE_CALL
    return not library and not file.startswith(SURGERY)


def is_standard(frame: FrameType) -> bool:
    """Whether a frame runs code of the standard library."""
    return str(frame.f_globals.get("__name__")).partition(".")[0] in sys.stdlib_module_names


def place(modules: Modules) -> tuple[nn.Module, str, FrameType] | None:
    """Return the module whose method holds the running call, that method, and the frame of the call itself.

    The frame is the method's, or that of a helper which the method calls. None inside our own activations.
    """
    frame: FrameType | None = sys._getframe(1)
    held: FrameType | None = None
    root = next(iter(modules.values()))
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(_ACTIVATIONS):
            return None
        if is_of_a_model(frame):
            held = held or frame
            owner = _first_argument(frame, modules)
            if owner is not None and hasattr(type(owner), frame.f_code.co_name):
                return owner, frame.f_code.co_name, held
        elif held is not None and file == MODULE_CALL and (owner := _first_argument(frame, modules)) is not None:
            return owner, "forward", held  # what is called is no method of the class
        frame = frame.f_back
    return None if held is None else (root, "forward", held)


def is_redirected() -> bool:
    """Whether the running call of an activation was redirected to it, and does not stand in rewritten code."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(SURGERY):
        if frame.f_code is run_as.__code__:
            return True
        frame = frame.f_back
    return False


def has_own_backward(modules: Modules) -> bool:
    """Whether an ``autograd.Function`` that a module called is running, and no method of a module within it."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and _first_argument(frame, modules) is None:
        if frame.f_code is followed_apply.__code__:
            return True
        frame = frame.f_back
    return False


def is_run_again(modules: Modules, owner: nn.Module, method: str) -> bool:
    """Whether the running call stands in what a method of a module gave to torch's ``checkpoint``."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        file, name = frame.f_code.co_filename, frame.f_code.co_name
        if (name == method or file == MODULE_CALL) and _first_argument(frame, modules) is owner:
            return False
        if file == _CHECKPOINT:
            return True
        frame = frame.f_back
    return False


def on_boxes(modules: Modules) -> bool:
    """Whether a helper over boxes asked: their sides and overlaps are clamped at 0, and no activation."""
    asked = place(modules)
    return asked is not None and (
        str(asked[2].f_globals.get("__name__")).startswith(_BOX_HOMES)
        and any(word in asked[2].f_code.co_name for word in _BOX_HELPERS)
    )


def _first_argument(frame: FrameType, modules: Modules) -> nn.Module | None:
    code = frame.f_code
    first = frame.f_locals.get(code.co_varnames[0]) if code.co_argcount else None
    return modules.get(id(first))


_APPLY: Any = vars(torch.autograd.Function)["apply"]


def followed_apply(cls: type, *args: Any, **kwargs: Any) -> Any:
    """Apply an ``autograd.Function`` and leave a Python frame to recognise it by: its own is in C."""
    return _APPLY.__get__(None, cls)(*args, **kwargs)
