"""What stands for a tensor in a trace: it answers what a graph can record, and refuses what a trace would keep."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from torch import fx

from smoothify.surgery.probing.frames import SURGERY, TORCH, is_of_a_model
from smoothify.surgery.rewriting import augmented
from smoothify.surgery.rewriting.ambient import TraceRefusedError


class StandIn(fx.Proxy):
    """A proxy of which no answer is baked in that would be wrong: its type, its hash, how it is written.

    ``y += x`` is recorded as what it is, since others may hold ``y``, and an attribute of it is not set.
    """

    def __getattr__(self, name: str) -> fx.proxy.Attribute:
        return _Attribute(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if is_of_a_model(sys._getframe(1)):
            raise TraceRefusedError(f"it sets .{name} of what it computes")
        object.__setattr__(self, name, value)

    def __hash__(self) -> int:
        _only_asked_by_torch("looks up a number")
        return id(self)

    def __repr__(self) -> str:
        _only_asked_by_torch("writes out a number")
        return str(super().__repr__())

    def __str__(self) -> str:
        _only_asked_by_torch("writes out a number")
        return str(super().__str__())

    def __format__(self, spec: str) -> str:
        _only_asked_by_torch("writes out a number")
        return format(str(self), spec)

    @property
    def __class__(self) -> type:
        caller = sys._getframe(1).f_code.co_filename
        if caller.startswith((TORCH, SURGERY)):
            return StandIn
        raise TraceRefusedError("it asks for the type of its input")

    @__class__.setter
    def __class__(self, value: type) -> None:
        raise TraceRefusedError("it changes the type of its input")


def _only_asked_by_torch(what: str) -> None:
    if is_of_a_model(sys._getframe(2)):
        raise TraceRefusedError(f"it {what} that is of its input")


def _in_place(function: Callable[[Any, Any], Any]) -> Callable[[StandIn, Any], fx.Proxy]:
    def record(self: StandIn, other: Any) -> fx.Proxy:
        return self.tracer.create_proxy("call_function", function, (self, other), {})

    return record


for _function in augmented.ALL:
    setattr(StandIn, f"__{_function.__name__}__", _in_place(_function))


class _Attribute(StandIn, fx.proxy.Attribute):
    """An attribute of such a proxy."""
