"""Surrogate gradients: ReLU forward, the derivative of a smooth activation backward (paper §3, Table 1).

Nothing is put into the model. While a context is active, every ReLU that runs gets another derivative;
outside of it the model is what it was, so what is exported is plain ReLU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from smoothify.activations.catalogue import parse

Pass = Literal["attacker", "optimizer"]

_RELU = (F.relu, torch.relu, Tensor.relu)
_RELU_IN_PLACE = (F.relu_, torch.relu_, Tensor.relu_)


@dataclass(frozen=True)
class SurrogateGradients:
    """Which derivative each pass of adversarial training sees: a spec, or None for ReLU's own.

    Args:
        attacker: what the attack sees, such as "parametric_softplus".
        optimizer: what the update of the parameters sees.

    The four rows of Table 1 are the four settings of one configuration:

    >>> softplus = "parametric_softplus"
    >>> rows = [
    ...     SurrogateGradients(),
    ...     SurrogateGradients(attacker=softplus),
    ...     SurrogateGradients(optimizer=softplus),
    ...     SurrogateGradients(attacker=softplus, optimizer=softplus),
    ... ]
    >>> with rows[1].during("attacker"):
    ...     pass  # compute the adversarial examples here

    Raises SpecError or UnknownNameError for a spec that cannot be read, or one with learned parameters.
    """

    attacker: str | None = None
    optimizer: str | None = None

    def __post_init__(self) -> None:
        for spec in (self.attacker, self.optimizer):
            if spec is not None:
                _function(spec)

    @contextmanager
    def during(self, which: Pass) -> Iterator[None]:
        """Apply what this configuration says for one pass: ``attacker`` or ``optimizer``."""
        with surrogate_gradients({"attacker": self.attacker, "optimizer": self.optimizer}[which]):
            yield


@contextmanager
def surrogate_gradients(spec: str | None) -> Iterator[None]:
    """Give every ReLU whose forward runs in this block the derivative of ``spec``; values do not change.

    It is the forward pass that must run inside; backward may come later. ReLUs are caught however they are
    called: as modules, functions or methods, in place or not, and inside ``torch.compile``. An attack on a
    model that is being *evaluated* goes through a surrogate in the same way. ``None`` changes nothing.

    Raises SpecError or UnknownNameError for a spec that cannot be read.

    >>> x = torch.tensor([-0.1, 0.0, 0.1], requires_grad=True)
    >>> with surrogate_gradients("parametric_softplus"):
    ...     y = torch.relu(x)
    >>> y.detach()
    tensor([0.0000, 0.0000, 0.1000])
    >>> torch.autograd.grad(y.sum(), x)[0]  # 1 / (1 + e^(-10x)), paper eq. 3
    tensor([0.2689, 0.5000, 0.7311])
    """
    if spec is None:
        yield
        return
    with _Substitute(_function(spec)):
        yield


def _function(spec: str) -> Callable[[Tensor], Tensor]:
    entry, parameters = parse(spec)
    values = {**entry.defaults, **parameters}

    def function(x: Tensor) -> Tensor:
        return entry.functional(x, **values)

    return function


class _Substitute(TorchFunctionMode):
    """Redirects every ReLU, and nothing else."""

    def __init__(self, smooth: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.smooth = smooth

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        options = kwargs or {}
        if function in _RELU_IN_PLACE:
            return _relu(self.smooth, *args, **{**options, "inplace": True})
        if function in _RELU:
            return _relu(self.smooth, *args, **options)
        return function(*args, **options)


# F.relu names its arguments so, and may be called by name.
def _relu(smooth: Callable[[Tensor], Tensor], input: Tensor, inplace: bool = False) -> Tensor:  # noqa: A002
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
