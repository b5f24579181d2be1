"""One autograd function for every activation of our own: a value, a slope, one tensor kept for backward."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor
from torch._C._functorch import TransformType
from torch._functorch.pyfunctorch import retrieve_all_functorch_interpreters
from torch.autograd import forward_ad

from smoothify.activations.formulas import Number
from smoothify.activations.paths import Program, run, run_whole, widen


@dataclass(frozen=True)
class InPlace:
    """Cheaper spellings of a kernel's three programs for plain code on a CPU, where there are any."""

    forward: Callable[..., tuple[Tensor, ...]] | None = None
    backward: Callable[..., tuple[Tensor, ...]] | None = None
    full_backward: Callable[..., tuple[Tensor, ...]] | None = None


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
    in_place: InPlace = InPlace()

    def __call__(self, x: Tensor, *parameters: Number) -> Tensor:
        """Apply to ``x`` of any shape and floating dtype; a parameter that is a tensor gets its gradient.

        Raises TypeError for another dtype, or a tensor as a parameter that has no gradient.
        """
        if not x.is_floating_point():
            raise TypeError(f"{self.name}: the input is {x.dtype}; give it a floating-point tensor")
        if self.partials is None and any(isinstance(each, Tensor) for each in parameters):
            raise TypeError(f"{self.name}: its parameters are not learned; give them as numbers, not as tensors")
        function = Traceable if torch.compiler.is_compiling() else Elementwise
        output: Tensor = function.apply(x, self, *parameters)
        return output

    @cached_property
    def forward(self) -> Program:
        """The program of the forward pass: x in, y out."""

        def formulas(x: Tensor, *parameters: Number) -> tuple[Tensor]:
            return (self.value(x, *parameters),)

        return Program(f"{self.name}.forward", formulas, self.in_place.forward)

    @cached_property
    def backward(self) -> Program:
        """The program of the backward pass: what was kept and the gradient of y in, the gradient of x out."""

        def formulas(kept: Tensor, grad: Tensor, *parameters: Number) -> tuple[Tensor]:
            return (grad * self.slope(kept, *parameters),)

        return Program(f"{self.name}.backward", formulas, self.in_place.backward)

    @cached_property
    def full_backward(self) -> Program:
        """The backward pass that also gives the gradient of each parameter."""
        partials = self.partials
        assert partials is not None

        def formulas(kept: Tensor, grad: Tensor, *parameters: Number) -> tuple[Tensor, ...]:
            by_parameter = (grad * partial for partial in partials(kept, *parameters))
            return grad * self.slope(kept, *parameters), *by_parameter

        return Program(f"{self.name}.full_backward", formulas, self.in_place.full_backward)


class Traceable(torch.autograd.Function):
    """y = kernel.value(x, *parameters) for ``torch.compile``, which fuses it and refuses a custom jvp."""

    @staticmethod
    def forward(x: Tensor, kernel: Kernel, *parameters: Number) -> Tensor:
        """The value, on whole tensors."""
        return kernel.value(widen(x), *parameters).to(x.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Keep one tensor, and the parameters that are tensors."""
        x, kernel, *parameters = inputs
        kept = x if kernel.keeps == "input" else output
        ctx.save_for_backward(kept, *[each for each in parameters if isinstance(each, Tensor)])
        ctx.kernel = kernel
        ctx.numbers = [None if isinstance(each, Tensor) else each for each in parameters]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients by plain operations, which can be differentiated again."""
        kernel, kept, parameters = _restore(ctx)
        wide, wide_grad = widen(kept), widen(grad)
        by_x = (wide_grad * kernel.slope(wide, *parameters)).to(grad.dtype)
        by_parameter: list[Tensor | None] = [None] * len(parameters)
        if kernel.partials is not None and any(ctx.needs_input_grad[2:]):
            for index, partial in enumerate(kernel.partials(wide, *parameters)):
                parameter = parameters[index]
                if isinstance(parameter, Tensor):
                    total = (wide_grad * partial).sum_to_size(parameter.shape)
                    by_parameter[index] = total.to(parameter.dtype)
        return by_x, None, *by_parameter


class Elementwise(Traceable):
    """y = kernel.value(x, *parameters), by the fastest path, with forward mode and vmap."""

    @staticmethod
    def forward(x: Tensor, kernel: Kernel, *parameters: Number) -> Tensor:
        """The value, by the fastest path."""
        runner = run if _are_scalars(parameters) else run_whole
        return runner(kernel.forward, (x,), parameters)[0]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Keep one tensor, and the parameters that are tensors."""
        Traceable.setup_context(ctx, inputs, output)
        ctx.save_for_forward(*ctx.to_save)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients: by the fastest path, or by plain operations where they are differentiated again."""
        kernel, kept, parameters = _restore(ctx)
        if torch.is_grad_enabled() or forward_ad._current_level >= 0 or not _are_scalars(parameters):
            return Traceable.backward(ctx, grad)
        if kernel.partials is None or not any(ctx.needs_input_grad[2:]):
            return run(kernel.backward, (kept, grad), parameters)[0], None, *[None] * len(parameters)
        by_x, *totals = run(kernel.full_backward, (kept, grad), parameters)
        by_parameter = [
            total.to(parameter.dtype).reshape(parameter.shape) if isinstance(parameter, Tensor) else None
            for parameter, total in zip(parameters, totals, strict=True)
        ]
        return by_x, None, *by_parameter

    @staticmethod
    def jvp(ctx: Any, x_tangent: Tensor | None, _: None, *tangents: Tensor | None) -> Tensor:
        """The forward-mode derivative, by plain operations.

        Raises RuntimeError where a second forward derivative is asked for: torch would silently make it 0
        (pytorch/pytorch#197867).
        """
        kernel, kept, parameters = _restore(ctx)
        if [level.key() for level in retrieve_all_functorch_interpreters()].count(TransformType.Jvp) > 1:
            raise RuntimeError(
                f"{kernel.name}: torch takes the forward derivative of a forward derivative of its function for 0; "
                "use torch.func.hessian, or jacfwd of jacrev"
            )
        wide = widen(kept)
        total = torch.zeros_like(wide)
        if x_tangent is not None:
            total = total + widen(x_tangent) * kernel.slope(wide, *parameters)
        if kernel.partials is not None and any(tangent is not None for tangent in tangents):
            for tangent, partial in zip(tangents, kernel.partials(wide, *parameters), strict=True):
                if tangent is not None:
                    total = total + tangent * partial
        return total.to(kept.dtype)

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, ...], x: Tensor, kernel: Kernel, *parameters: Number
    ) -> tuple[Tensor, int]:
        """Batch over x as it is; batched parameters are lined up with x's leading dimension."""
        x_dim, _, *parameter_dims = in_dims
        if all(dim is None for dim in parameter_dims):
            assert x_dim is not None
            return kernel(x, *parameters), x_dim
        x = x.expand(info.batch_size, *x.shape) if x_dim is None else x.movedim(x_dim, 0)
        aligned = [
            parameter if dim is None else _align(parameter, dim, x.dim())
            for parameter, dim in zip(parameters, parameter_dims, strict=True)
        ]
        return kernel(x, *aligned), 0


# torch binds arguments by signature at every call; a signature that is there need not be worked out again.
for _function in (Traceable, Elementwise):
    _function.forward.__signature__ = inspect.signature(_function.forward)  # type: ignore[attr-defined]


def _align(parameter: Number, dim: int, dims: int) -> Tensor:
    """A batched parameter with its batch in front and its own dimensions at the end of ``dims``."""
    assert isinstance(parameter, Tensor)
    moved = parameter.movedim(dim, 0)
    return moved.reshape(moved.shape[0], *[1] * (dims - moved.dim()), *moved.shape[1:])


def _are_scalars(parameters: tuple[Number, ...] | list[Number]) -> bool:
    return all(not isinstance(parameter, Tensor) or parameter.numel() == 1 for parameter in parameters)


def _restore(ctx: Any) -> tuple[Kernel, Tensor, list[Number]]:
    kept, *tensors = ctx.saved_tensors
    remaining = iter(tensors)
    return ctx.kernel, kept, [next(remaining) if number is None else number for number in ctx.numbers]
