"""Activations as modules: the ones torch lacks. They hold their parameters under the catalogue's names."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import nn

from smoothify.activations import functional


def check_positive(owner: nn.Module, **values: float) -> None:
    """Raise ValueError unless every named value is positive and finite."""
    for name, value in values.items():
        if not value > 0 or not math.isfinite(value):
            raise ValueError(
                f"{type(owner).__name__}: {name}={value!r} leaves it undefined or not smooth; give a finite {name} > 0"
            )


def _shown(value: torch.Tensor | float) -> str:
    if isinstance(value, torch.Tensor):
        return f"{value.detach().item():g}" if value.numel() == 1 and not value.is_meta else "learned"
    return f"{value:g}"


class Pointwise(nn.Module):
    """A function applied to every element: the base of the modules here.

    ``settings`` names the attributes that hold its parameters, in the order in which ``function`` takes them.
    """

    function: ClassVar[Callable[..., torch.Tensor]]
    settings: ClassVar[tuple[str, ...]] = ()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Any shape in, the same shape and dtype out."""
        output: torch.Tensor = type(self).function(x, *[getattr(self, name) for name in self.settings])
        return output

    def extra_repr(self) -> str:
        """The parameters as they are now."""
        return ", ".join(f"{name}={_shown(getattr(self, name))}" for name in self.settings)


class ParametricSoftplus(Pointwise):
    """log(1 + e^(αx)) / α, smooth of every order (paper eq. 2); ReLU is the limit of large α.

    Any shape in, the same shape and dtype out; the input is kept for backward.

    Args:
        alpha: α > 0; may be set at any time.

    Raises:
        ValueError: an ``alpha`` that is not positive.

    >>> ParametricSoftplus()(torch.tensor([0.0, 1.0]))
    tensor([0.0693, 1.0000])
    """

    function = staticmethod(functional.parametric_softplus)
    settings = ("alpha",)

    def __init__(self, alpha: float = 10.0) -> None:
        super().__init__()
        check_positive(self, alpha=alpha)
        self.alpha = alpha


class Squareplus(Pointwise):
    """(x + √(x² + b)) / 2, smooth of every order (Barron 2021); ReLU is the limit b → 0.

    Any shape in, the same shape and dtype out; the output is kept for backward.

    Args:
        b: > 0.

    Raises:
        ValueError: a ``b`` that is not positive.

    >>> Squareplus()(torch.tensor([0.0, 1.5]))
    tensor([1., 2.])
    """

    function = staticmethod(functional.squareplus)
    settings = ("b",)

    def __init__(self, b: float = 4.0) -> None:
        super().__init__()
        check_positive(self, b=b)
        self.b = b


class SmeLU(Pointwise):
    """0 for x ≤ -β, (x + β)² / 4β for |x| ≤ β, x for x ≥ β; C1 (the RSCU of ref. 57).

    Any shape in, the same shape and dtype out; the output is kept for backward.

    Args:
        beta: β > 0, half the width of the bend.

    Raises:
        ValueError: a ``beta`` that is not positive.

    >>> SmeLU()(torch.tensor([-1.0, 0.0, 1.0]))
    tensor([0.0000, 0.2500, 1.0000])
    """

    function = staticmethod(functional.smelu)
    settings = ("beta",)

    def __init__(self, beta: float = 1.0) -> None:
        super().__init__()
        check_positive(self, beta=beta)
        self.beta = beta


class Swish(Pointwise):
    """x σ(βx), smooth of every order (ref. 51); silu at β = 1, ReLU in the limit of large β.

    Any shape in, the same shape and dtype out; the input is kept for backward.

    Args:
        beta: β > 0; may be set at any time.

    Raises:
        ValueError: a ``beta`` that is not positive.

    >>> Swish(beta=2.0)(torch.tensor([-1.0, 0.0, 1.0]))
    tensor([-0.1192,  0.0000,  0.8808])
    """

    function = staticmethod(functional.swish)
    settings = ("beta",)

    def __init__(self, beta: float = 1.0) -> None:
        super().__init__()
        check_positive(self, beta=beta)
        self.beta = beta


class QuickGELU(Pointwise):
    """x σ(1.702x), smooth of every order (ref. 24). Any shape in, the same shape and dtype out.

    >>> QuickGELU()(torch.tensor([-1.0, 0.0, 1.0]))
    tensor([-0.1542,  0.0000,  0.8458])
    """

    function = staticmethod(functional.quick_gelu)


class Mish(nn.Mish):
    """x tanh(log(1 + e^x)), smooth of every order (ref. 40): torch's Mish by a cheaper exact formula.

    Any shape in, the same shape and dtype out. In place, it is torch's own kernel that runs.

    >>> Mish()(torch.tensor([-1.0, 0.0, 1.0]))
    tensor([-0.3034,  0.0000,  0.8651])
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 (the base class names it so)
        """Any shape in, the same shape and dtype out."""
        return super().forward(input) if self.inplace else functional.mish(input)


class TanhExp(Pointwise):
    """x tanh(e^x), smooth of every order (Liu and Di 2020). Any shape in, the same shape and dtype out.

    >>> TanhExp()(torch.tensor([-1.0, 0.0, 1.0]))
    tensor([-0.3521,  0.0000,  0.9913])
    """

    function = staticmethod(functional.tanhexp)


class TanhSoft1(Pointwise):
    """tanh(αx) log(1 + e^x), smooth of every order (ref. 5). Any shape in, the same shape and dtype out.

    >>> TanhSoft1()(torch.tensor([-1.0, 0.0, 1.0]))
    tensor([-0.2197,  0.0000,  0.9211])
    """

    function = staticmethod(functional.tanhsoft_1)
    settings = ("alpha",)

    def __init__(self, alpha: float = 0.87) -> None:
        super().__init__()
        check_positive(self, alpha=alpha)
        self.alpha = alpha


class TanhSoft2(Pointwise):
    """x tanh(βe^(γx)), smooth of every order (ref. 5). Any shape in, the same shape and dtype out.

    >>> TanhSoft2()(torch.tensor([-1.0, 0.0, 1.0]))
    tensor([-0.2172,  0.0000,  0.9262])
    """

    function = staticmethod(functional.tanhsoft_2)
    settings = ("beta", "gamma")

    def __init__(self, beta: float = 0.6, gamma: float = 1.0) -> None:
        super().__init__()
        check_positive(self, beta=beta, gamma=gamma)
        self.beta, self.gamma = beta, gamma


class TanhSoft3(Pointwise):
    """log(1 + e^x tanh(αx)), smooth of every order (ref. 5). Any shape in, the same shape and dtype out.

    >>> TanhSoft3()(torch.tensor([-1.0, 0.0, 1.0]))
    tensor([-0.2933,  0.0000,  1.0573])
    """

    function = staticmethod(functional.tanhsoft_3)
    settings = ("alpha",)

    def __init__(self, alpha: float = 0.85) -> None:
        super().__init__()
        check_positive(self, alpha=alpha)
        self.alpha = alpha


class Serf(Pointwise):
    """x erf(log(1 + e^x)), smooth of every order (Nag and Bhattacharyya 2021). Shape and dtype are kept.

    >>> Serf()(torch.tensor([-1.0, 0.0, 1.0]))
    tensor([-0.3422,  0.0000,  0.9367])
    """

    function = staticmethod(functional.serf)


class Logish(Pointwise):
    """x log(1 + σ(x)), smooth of every order (Zhu et al. 2021). Any shape in, the same shape and dtype out.

    >>> Logish()(torch.tensor([-1.0, 0.0, 1.0]))
    tensor([-0.2382,  0.0000,  0.5487])
    """

    function = staticmethod(functional.logish)
