"""What a trace asks of the world around it: refused where the answer differs from call to call, else noted."""

from __future__ import annotations

import sys
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import torch.utils._contextlib
from torch import fx

from smoothify.surgery.probing.frames import SURGERY, TORCH, is_of_a_model
from smoothify.surgery.rewriting.baked import variable_read
from smoothify.surgery.rewriting.doings import (
    changes_modules,
    counted,
    finds_tensors,
    is_an_effect,
    reads_the_environment,
)

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
        "is_initialized",
        "get_rank",
        "get_world_size",
        "get_autocast_dtype",
        "checkpoint",
        "__enter__",
        "get_default_dtype",
        "set_default_dtype",
        "set_default_device",
        "is_in_onnx_export",
        "perf_counter",
        "time",
        "random",
    }
)

# Asked of a tensor, a trace would answer for what stands for it.
_KINDS = frozenset({"is_tensor", "is_tensor_like", "is_storage"})
_ATTRIBUTES = frozenset({"hasattr", "getattr"})

# Whoever asks: torch wraps the function of this name once its compiler was imported.
_SEEDS = frozenset({"manual_seed", "seed", "get_rng_state", "set_rng_state"})
_DECORATED = str(Path(torch.utils._contextlib.__file__))

# A graph does not record these: what is computed under them would be computed without.
_MODES = frozenset({"_set_grad_enabled", "set_autocast_enabled", "_push_saved_tensors_default_hooks"})


class TraceRefusedError(Exception):
    """A method whose trace could differ from the method; the message says why."""


class Ambient:
    """Refuses a trace in which the model's own code asks what differs from call to call; notes what else it asks."""

    def __enter__(self) -> Ambient:
        self.before, self.counted = sys.getprofile(), set[int]()
        self.codes, self.within = set[CodeType](), set[CodeType]()
        self.asking: FrameType | None = None
        sys.setprofile(self._seen)
        return self

    def __exit__(self, *exception: object) -> None:
        sys.setprofile(self.before)

    def _seen(self, frame: FrameType, event: str, argument: Any) -> None:
        if event == "call":
            self._entered(frame)
            self._asked(frame.f_code.co_name, frame.f_back)
        elif event == "c_call":
            name = getattr(argument, "__name__", "")
            if name in _MODES:
                raise TraceRefusedError(f"it changes a mode of torch with {name}()")
            self.asking = frame if name in _ATTRIBUTES and is_of_a_model(frame) else None
            self._asked(name, frame)
        elif event == "c_return":
            self.asking = None

    def _entered(self, frame: FrameType) -> None:
        """A function begins to run."""
        if why := variable_read(frame, self.codes, self.within):
            raise TraceRefusedError(why)
        if finds_tensors(frame):
            raise TraceRefusedError(f"it goes through {frame.f_code.co_name}(), and a trace would keep what is there")
        if frame.f_code.co_filename == _DECORATED and frame.f_back is not None and is_of_a_model(frame.f_back):
            raise TraceRefusedError(f"it calls {frame.f_code.co_name}(), which runs in a mode of torch of its own")
        if changes_modules(frame):
            raise TraceRefusedError(f"it calls {frame.f_code.co_name}() of a module, which a graph would leave out")
        if reads_the_environment(frame):
            raise TraceRefusedError("it reads an environment variable, which may change")
        if (through := counted(frame)) is not None:
            self.counted.add(id(through))
        asking, self.asking = self.asking, None
        if asking is not None and asking is frame.f_back and isinstance(frame.f_locals.get("self"), fx.Proxy):
            raise TraceRefusedError("it asks what attributes its input has")

    def _asked(self, name: str, caller: FrameType | None) -> None:
        """Somebody calls a function of this name."""
        if caller is None:
            return
        if name in _SEEDS and not caller.f_code.co_filename.startswith(SURGERY):
            raise TraceRefusedError(f"it calls {name}(), which a graph would leave out")
        if is_an_effect(name, caller):
            raise TraceRefusedError(f"it calls {name}(), which a graph would leave out")
        outside = not caller.f_code.co_filename.startswith((TORCH, SURGERY))
        if name in _KINDS and outside:
            raise TraceRefusedError(f"it asks {name}(), and a trace would answer for what stands for a tensor")
        if name in _AMBIENT and outside:
            raise TraceRefusedError(f"it asks {name}(), whose answer differs from call to call")
