"""``recompute`` as a property of a model: every forward pass that will have a backward pass runs inside of it."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from typing import Any

import torch
from torch import nn

from smoothify.activations.recompute import recompute


class _Entered(threading.local):
    """The contexts that this thread has entered and not left, with the model of each."""

    def __init__(self) -> None:
        self.stack: list[tuple[nn.Module, ExitStack]] = []


_entered = _Entered()


def recompute_(model: nn.Module) -> None:
    """Let every forward pass of ``model`` from now on train in ReLU's memory, as within ``recompute``.

    It stays out of the way where there is nothing to save: without gradients, under ``torch.func``, and when
    the model is compiled as a whole, since compiled code recomputes cheap operations by itself. A model of
    which only parts are compiled raises UnsupportedModelError when it runs. Copies and pickles keep it; a
    saved model does not, since it matters to training alone.

    >>> model = nn.Sequential(nn.Linear(2, 2), nn.SiLU(), nn.Linear(2, 1))
    >>> recompute_(model)
    >>> model(torch.ones(1, 2)).sum().backward()
    """
    if _enter in model._forward_pre_hooks.values():
        return
    model.register_forward_pre_hook(_enter)
    model.register_forward_hook(_leave, always_call=True)


def _enter(model: nn.Module, arguments: tuple[Any, ...]) -> None:
    if torch.compiler.is_compiling() or not torch.is_grad_enabled():
        return
    if torch._C._functorch.peek_interpreter_stack() is not None:  # torch.func forbids hooks on saved tensors
        return
    context = ExitStack()
    context.enter_context(recompute(model))
    _entered.stack.append((model, context))


def _leave(model: nn.Module, arguments: tuple[Any, ...], output: Any) -> None:
    if torch.compiler.is_compiling():
        return
    if _entered.stack and _entered.stack[-1][0] is model:
        _entered.stack.pop()[1].close()
