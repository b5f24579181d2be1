"""One autograd function for every activation of our own: a value, a slope, and one tensor kept for backward."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from smoothify.activations.formulas import Number


@dataclass(frozen=True)
class Kernel:
    """An elementwise function by its formulas: y = value(x), dy/dx = slope(x or y), dy/dp = partials(x).

    ``keeps`` says which tensor the slope is a function of, and so which one forward keeps for backward.
    Formulas take float32 or float64; half-precision tensors are widened before and rounded once after.
    """

    name: str
    value: Callable[..., Tensor]
    slope: Callable[..., Tensor]
    keeps: Literal["input", "output"] = "input"
    partials: Callable[..., tuple[Tensor, ...]] | None = None

    def __call__(self, x: Tensor, *parameters: Number) -> Tensor:
        """Apply the kernel to ``x`` of any shape and floating dtype; parameters broadcast against it."""
        output: Tensor = Elementwise.apply(x, self, *parameters)
        return output


def widen(x: Tensor) -> Tensor:
    """float16 and bfloat16 as float32, everything else as it is."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


class Elementwise(torch.autograd.Function):
    """y = kernel.value(x, *parameters), differentiable in x and in the parameters that are tensors."""

    @staticmethod
    def forward(x: Tensor, kernel: Kernel, *parameters: Number) -> Tensor:
        return kernel.value(widen(x), *parameters).to(x.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, kernel, *parameters = inputs
        kept = x if kernel.keeps == "input" else output
        tensors = [parameter for parameter in parameters if isinstance(parameter, Tensor)]
        ctx.save_for_backward(kept, *tensors)
        ctx.save_for_forward(kept, *tensors)
        ctx.kernel = kernel
        ctx.numbers = [None if isinstance(parameter, Tensor) else parameter for parameter in parameters]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        kernel, kept, parameters = _restore(ctx)
        wide, wide_grad = widen(kept), widen(grad)
        by_x = (wide_grad * kernel.slope(wide, *parameters)).to(grad.dtype)
        by_parameter: list[Tensor | None] = [None] * len(parameters)
        if kernel.partials is not None and any(ctx.needs_input_grad[2:]):
            partials = kernel.partials(wide, *parameters)
            for index, (parameter, partial) in enumerate(zip(parameters, partials, strict=True)):
                if ctx.needs_input_grad[2 + index] and isinstance(parameter, Tensor):
                    total = (wide_grad * partial).sum_to_size(parameter.shape)
                    by_parameter[index] = total.to(parameter.dtype)
        return by_x, None, *by_parameter

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> Tensor:
        kernel, kept, parameters = _restore(ctx)
        wide = widen(kept)
        x_tangent, _, *parameter_tangents = tangents
        total = torch.zeros_like(wide)
        if x_tangent is not None:
            total = total + widen(x_tangent) * kernel.slope(wide, *parameters)
        if kernel.partials is not None and any(tangent is not None for tangent in parameter_tangents):
            for tangent, partial in zip(parameter_tangents, kernel.partials(wide, *parameters), strict=True):
                if tangent is not None:
                    total = total + widen(tangent) * partial
        return total.to(kept.dtype)

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, ...], x: Tensor, kernel: Kernel, *parameters: Number
    ) -> tuple[Tensor, int]:
        x_dim, _, *parameter_dims = in_dims
        if all(dim is None for dim in parameter_dims):
            assert x_dim is not None
            return kernel(x, *parameters), x_dim
        if x_dim is None:
            x = x.expand(info.batch_size, *x.shape)
        else:
            x = x.movedim(x_dim, 0)
        aligned = [
            parameter if dim is None else _align(parameter, dim, x.dim())
            for parameter, dim in zip(parameters, parameter_dims, strict=True)
        ]
        return kernel(x, *aligned), 0


def _align(parameter: Number, dim: int, dims: int) -> Tensor:
    """A batched parameter with its batch in front and its own dimensions at the end of ``dims``."""
    assert isinstance(parameter, Tensor)
    moved = parameter.movedim(dim, 0)
    return moved.reshape(moved.shape[0], *[1] * (dims - moved.dim()), *moved.shape[1:])


def _restore(ctx: Any) -> tuple[Kernel, Tensor, list[Number]]:
    kept, *tensors = ctx.saved_tensors
    remaining = iter(tensors)
    return ctx.kernel, kept, [next(remaining) if number is None else number for number in ctx.numbers]
