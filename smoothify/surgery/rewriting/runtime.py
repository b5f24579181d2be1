"""The last resort: a mode around a method that redirects function calls while it runs."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import FrameType
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from smoothify.surgery.recognition.arguments import operands_for
from smoothify.surgery.recognition.attributes import everything
from smoothify.surgery.recognition.calls import Call, read_call
from smoothify.surgery.rules.base import spelled
from smoothify.surgery.rules.composites import run_as


class Redirect(TorchFunctionMode):
    """Sends each recognised call to the slot of a module that stands for its function."""

    def __init__(self, module: nn.Module, slots: Mapping[str, str]) -> None:
        super().__init__()
        self.module, self.slots = module, slots

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        call = read_call(func, args, kwargs or {})
        slot, operands = self._stands_for(call) if call else (None, ())
        if call is None or slot is None or self._in_a_child():
            return func(*args, **(kwargs or {}))
        with torch._C.DisableTorchFunction():
            return run_as(slot, call.found.inplace, *operands)

    def _stands_for(self, call: Call) -> tuple[nn.Module | None, tuple[Any, ...]]:
        """Return the activation for a call and what to call it with: one that was built for other arguments, too."""
        exact = spelled(call.found)
        for word in (exact, *self.slots):
            if word in self.slots:
                slot = getattr(self.module, self.slots[word])
                operands = operands_for(slot, word, call)
                if operands is not None:
                    return slot, operands
        return None, ()

    def _in_a_child(self) -> bool:
        """Whether a module further down asks, registered or held: its calls are its own, to be rewritten or not."""
        frame: FrameType | None = sys._getframe(2)
        while frame is not None:
            code = frame.f_code
            first = frame.f_locals.get(code.co_varnames[0]) if code.co_argcount else None
            if isinstance(first, nn.Module) and hasattr(type(first), code.co_name):
                if first is self.module:
                    return False
                if id(first) in self._registered or id(first) in self._held:
                    return True
            frame = frame.f_back
        return False

    @cached_property
    def _registered(self) -> set[int]:
        return {id(child) for child in self.module.modules()}

    @cached_property
    def _held(self) -> set[int]:
        """With those in lists, dicts and objects: found at twenty times the cost, and only where one runs."""
        return {id(node.module) for node in everything(self.module)}


def redirected(method: Callable[..., Any], slots: Mapping[str, str]) -> Callable[..., Any]:
    """Return a method that runs another one with its recognised calls redirected.

    Under ``torch.compile`` it runs uncompiled: there, a mode misses ``torch.relu_`` without a word.
    """

    @functools.wraps(method)
    def around(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        return RedirectedCallable(self, functools.partial(method, self), slots)(*args, **kwargs)

    return around


@dataclass(frozen=True, slots=True, eq=False)
class RedirectedCallable:
    """A function that runs with its recognised calls redirected to the slots of a module.

    It stands in an instance's own ``forward``, too, where someone has put a function over that of the class.
    Its hash is its identity: ``torch.compile`` (2.8) takes it of an instance that has no fields yet.
    """

    module: nn.Module
    function: Callable[..., Any]
    slots: Mapping[str, str]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function, outside any compiled graph."""
        if torch.compiler.is_dynamo_compiling():
            eager: Any = torch.compiler.disable
            return eager(self._run)(*args, **kwargs)
        return self._run(*args, **kwargs)

    def _run(self, *args: Any, **kwargs: Any) -> Any:
        with Redirect(self.module, self.slots):
            return self.function(*args, **kwargs)
