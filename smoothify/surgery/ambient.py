"""What a trace asks of the world around it: refused where the answer differs from call to call, else noted."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import CodeType
from typing import Any

import torch

from smoothify.surgery.baked import EFFECTS, counted, global_read, is_of_a_model

_TORCH = f"{Path(torch.__file__).parent}{os.sep}"
_SURGERY = f"{Path(__file__).parent}{os.sep}"

# What these answer may differ from call to call, and a trace would keep the answer of one.
_AMBIENT = frozenset(
    {
        "is_grad_enabled",
        "is_inference_mode_enabled",
        "is_autocast_enabled",
        "is_autocast_cpu_enabled",
        "is_compiling",
        "is_tracing",
        "is_exporting",
        "is_dynamo_compiling",
        "get_autocast_dtype",
        "checkpoint",
        "__enter__",
        "perf_counter",
        "time",
        "random",
    }
)

# A graph does not record these: what is computed under them would be computed without.
_MODES = frozenset({"_set_grad_enabled", "set_autocast_enabled", "_push_saved_tensors_default_hooks"})


class TraceRefusedError(Exception):
    """A method whose trace could differ from the method; the message says why."""


class Ambient:
    """Refuses a trace in which the model's own code asks what differs from call to call; notes what else it asks."""

    def __enter__(self) -> Ambient:
        self.before, self.codes, self.counted = sys.getprofile(), set[CodeType](), set[int]()
        sys.setprofile(self._seen)
        return self

    def __exit__(self, *exception: object) -> None:
        sys.setprofile(self.before)

    def _seen(self, frame: Any, event: str, argument: Any) -> None:
        if event == "call" and (variable := global_read(frame, self.codes)):
            raise TraceRefusedError(f"it reads the variable {variable} of its module, which may change")
        if event == "call" and (through := counted(frame)) is not None:
            self.counted.add(id(through))
        if event == "c_call":
            name, caller = getattr(argument, "__name__", ""), frame
            if name in _MODES:
                raise TraceRefusedError(f"it changes a mode of torch with {name}()")
        elif event == "call":
            name, caller = frame.f_code.co_name, frame.f_back
        else:
            return
        if name in EFFECTS and caller is not None and is_of_a_model(caller):
            raise TraceRefusedError(f"it calls {name}(), which a graph would leave out")
        if name in _AMBIENT and caller is not None:
            file = caller.f_code.co_filename
            if not file.startswith((_TORCH, _SURGERY)):
                raise TraceRefusedError(f"it asks {name}(), whose answer differs from call to call")
