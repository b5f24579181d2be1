"""ReLU forward, another derivative backward: how autograd is told, and what checkpoints do not let it be told."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils import checkpoint

from smoothify.errors import SmoothifyError

_RELU = (F.relu, torch.relu, Tensor.relu)
_RELU_IN_PLACE = (F.relu_, torch.relu_, Tensor.relu_)


class Substitute(TorchFunctionMode):
    """Redirects every ReLU, and nothing else.

    Args:
        smooth: the function whose derivative takes the place of ReLU's.

    While it is active, ``met_relu`` says whether a ReLU has run.
    """

    def __init__(self, smooth: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.smooth = smooth
        self.met_relu = False

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        options = kwargs or {}
        if function not in _RELU + _RELU_IN_PLACE:
            return function(*args, **options)
        self.met_relu = True
        if function in _RELU_IN_PLACE:
            options = {**options, "inplace": True}
        return _relu(self.smooth, *args, **options)


# F.relu names its arguments so, and may be called by name.
def _relu(smooth: Callable[[Tensor], Tensor], input: Tensor, inplace: bool = False) -> Tensor:  # noqa: A002
    if not torch.compiler.is_compiling():
        _refuse_checkpoint()
    if not torch.is_grad_enabled() or (inplace and not input.requires_grad):
        return torch.relu_(input) if inplace else torch.relu(input)
    if torch.compiler.is_compiling():
        smoothed = smooth(input.clone() if inplace else input)  # what is kept for backward must not be overwritten
        value = torch.relu(input).detach() + (smoothed - smoothed.detach())  # the difference is exactly 0
        return input.copy_(value) if inplace else value
    output: Tensor = _InPlace.apply(input, smooth)[0] if inplace else _Surrogate.apply(input, smooth)
    return output


class _Surrogate(torch.autograd.Function):
    """relu(x) with the derivative of ``smooth`` at x; keeps x."""

    @staticmethod
    def forward(x: Tensor, smooth: Callable[[Tensor], Tensor]) -> Tensor:
        return torch.relu(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, ctx.smooth = inputs
        ctx.save_for_backward(x)
        ctx.save_for_forward(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return _pulled_back(ctx, grad), None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, _: None) -> Tensor:
        (x,) = ctx.saved_tensors
        result: Tensor = torch.func.jvp(ctx.smooth, (x,), (tangent,))[1]
        return result

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int, None], x: Tensor, smooth: Any) -> tuple[Tensor, int]:
        return _Surrogate.apply(x, smooth), in_dims[0]


class _InPlace(torch.autograd.Function):
    """The same, over its input; keeps a copy of what x was."""

    @staticmethod
    def forward(x: Tensor, smooth: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        before = x.clone()
        return x.relu_(), before

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        x, ctx.smooth = inputs
        ctx.mark_dirty(x)
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(output[1])

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor, None]:
        if torch.is_grad_enabled():
            raise NotImplementedError(
                "surrogate gradients of an in-place ReLU cannot be differentiated again; use inplace=False"
            )
        return _pulled_back(ctx, grad), None


def _pulled_back(ctx: Any, grad: Tensor) -> Tensor:
    (x,) = ctx.saved_tensors
    if torch.is_grad_enabled():
        pulled: Tensor = torch.func.vjp(ctx.smooth, x)[1](grad)[0]
        return pulled
    with torch.enable_grad():
        leaf = x.detach().requires_grad_()
        by_x: Tensor = torch.autograd.grad(ctx.smooth(leaf), leaf, grad)[0]
        return by_x


def _refuse_checkpoint() -> None:
    """A checkpoint runs its forward once more in the backward pass, which no mode reaches: torch leaves it for that."""
    hooks = torch._C._autograd._top_saved_tensors_default_hooks(False)
    if (hooks is not None and hooks[0].__module__ == checkpoint.__name__) or _in_reentrant_checkpoint():
        raise SmoothifyError(
            "surrogate gradients do not go with torch.utils.checkpoint, whose backward pass would run plain ReLUs; "
            "turn checkpointing off, and take smaller batches to fit in memory"
        )


def _in_reentrant_checkpoint() -> bool:
    """It leaves no other trace: its forward runs without gradients."""
    frame = inspect.currentframe() if not torch.is_grad_enabled() else None
    while frame is not None and frame.f_code is not checkpoint.CheckpointFunction.forward.__code__:
        frame = frame.f_back
    return frame is not None
