"""Activations as modules: the ones torch lacks. They hold their parameters under the catalogue's names."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from smoothify.activations import formulas, functional


def _positive(owner: nn.Module, **values: float) -> None:
    for name, value in values.items():
        if not value > 0 or not math.isfinite(value):
            raise ValueError(
                f"{type(owner).__name__}: {name}={value!r} leaves it undefined or not smooth; give a finite {name} > 0"
            )


class ParametricSoftplus(nn.Module):
    """log(1 + e^(αx)) / α, smooth of every order (paper eq. 2).

    Any shape in, the same shape and dtype out; the output is kept for backward. ``alpha`` > 0 may be set
    at any time; ReLU is its limit. Raises ValueError for an ``alpha`` that is not positive.

    >>> ParametricSoftplus()(torch.tensor([0.0, 1.0]))
    tensor([0.0693, 1.0000])
    """

    def __init__(self, alpha: float = 10.0) -> None:
        super().__init__()
        _positive(self, alpha=alpha)
        self.alpha = alpha

    def forward(self, x: Tensor) -> Tensor:
        return functional.parametric_softplus(x, self.alpha)

    def extra_repr(self) -> str:
        return f"alpha={self.alpha:g}"


class Squareplus(nn.Module):
    """(x + √(x² + b)) / 2, smooth of every order (Barron 2021).

    Any shape in, the same shape and dtype out; the output is kept for backward. ``b`` > 0; ReLU is the limit
    b → 0. Raises ValueError for a ``b`` that is not positive.

    >>> Squareplus()(torch.tensor([0.0, 1.5]))
    tensor([1., 2.])
    """

    def __init__(self, b: float = 4.0) -> None:
        super().__init__()
        _positive(self, b=b)
        self.b = b

    def forward(self, x: Tensor) -> Tensor:
        return functional.squareplus(x, self.b)

    def extra_repr(self) -> str:
        return f"b={self.b:g}"


class SmeLU(nn.Module):
    """0 for x ≤ -β, (x + β)² / 4β for |x| ≤ β, x for x ≥ β; C1 (the RSCU of ref. 57).

    Any shape in, the same shape and dtype out; the output is kept for backward. ``beta`` > 0 is half the
    width of the bend. Raises ValueError for a ``beta`` that is not positive.

    >>> SmeLU()(torch.tensor([-1.0, 0.0, 1.0]))
    tensor([0.0000, 0.2500, 1.0000])
    """

    def __init__(self, beta: float = 1.0) -> None:
        super().__init__()
        _positive(self, beta=beta)
        self.beta = beta

    def forward(self, x: Tensor) -> Tensor:
        return functional.smelu(x, self.beta)

    def extra_repr(self) -> str:
        return f"beta={self.beta:g}"


class SmoothReLU(nn.Module):
    """x - log(αx + 1) / α for x ≥ 0, else 0; C1 for every α > 0 (paper eq. 5). α is learned, one per module.

    Any shape in, the same shape and dtype out; the input is kept for backward. The parameter ``root`` stores
    √α, so that no optimizer step can make α negative, as in the released models. ``alpha`` is where it
    starts. Raises ValueError for an ``alpha`` that is not positive.

    >>> SmoothReLU()
    SmoothReLU(alpha=400)
    >>> SmoothReLU()(torch.tensor([-1.0, 0.0, 1.0])).detach()
    tensor([0.0000, 0.0000, 0.9850])
    """

    def __init__(self, alpha: float = 400.0) -> None:
        super().__init__()
        _positive(self, alpha=alpha)
        self.initial = {"alpha": float(alpha)}
        self.root = nn.Parameter(torch.tensor(math.sqrt(alpha)))

    @property
    def alpha(self) -> Tensor:
        """α as a scalar tensor that carries the gradient to ``root``."""
        return self.root.square()

    def forward(self, x: Tensor) -> Tensor:
        return functional.smoothrelu(x, self.alpha)

    def extra_repr(self) -> str:
        return "alpha=learned" if self.root.is_meta else f"alpha={self.root.item() ** 2:g}"


class Swish(nn.Module):
    """x σ(βx), smooth of every order (ref. 51); silu at β = 1, ReLU in the limit of large β.

    Any shape in, the same shape and dtype out; the input is kept for backward. ``beta`` > 0 may be set at
    any time. Raises ValueError for a ``beta`` that is not positive.

    >>> Swish(beta=2.0)(torch.tensor([-1.0, 0.0, 1.0]))
    tensor([-0.1192,  0.0000,  0.8808])
    """

    def __init__(self, beta: float = 1.0) -> None:
        super().__init__()
        _positive(self, beta=beta)
        self.beta = beta

    def forward(self, x: Tensor) -> Tensor:
        return functional.swish(x, self.beta)

    def extra_repr(self) -> str:
        return f"beta={self.beta:g}"


class QuickGELU(nn.Module):
    """x σ(1.702x), smooth of every order (ref. 24). Any shape in, the same shape and dtype out.

    >>> QuickGELU()(torch.tensor([-1.0, 0.0, 1.0]))
    tensor([-0.1542,  0.0000,  0.8458])
    """

    def forward(self, x: Tensor) -> Tensor:
        return functional.quick_gelu(x)


class Mish(nn.Mish):
    """x tanh(log(1 + e^x)), smooth of every order (ref. 40): torch's Mish by a cheaper exact formula.

    Any shape in, the same shape and dtype out. In place, it is torch's own kernel that runs.

    >>> Mish()(torch.tensor([-1.0, 0.0, 1.0]))
    tensor([-0.3034,  0.0000,  0.8651])
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (the base class names it so)
        return super().forward(input) if self.inplace else functional.mish(input)


class TanhExp(nn.Module):
    """x tanh(e^x), smooth of every order (Liu and Di 2020). Any shape in, the same shape and dtype out.

    >>> TanhExp()(torch.tensor([-1.0, 0.0, 1.0]))
    tensor([-0.3521,  0.0000,  0.9913])
    """

    def forward(self, x: Tensor) -> Tensor:
        return functional.tanhexp(x)


class TanhSoft1(nn.Module):
    """tanh(αx) log(1 + e^x), smooth of every order (ref. 5). Any shape in, the same shape and dtype out.

    >>> TanhSoft1()(torch.tensor([-1.0, 0.0, 1.0]))
    tensor([-0.2197,  0.0000,  0.9211])
    """

    def __init__(self, alpha: float = 0.87) -> None:
        super().__init__()
        _positive(self, alpha=alpha)
        self.alpha = alpha

    def forward(self, x: Tensor) -> Tensor:
        return functional.tanhsoft_1(x, self.alpha)

    def extra_repr(self) -> str:
        return f"alpha={self.alpha:g}"


class TanhSoft2(nn.Module):
    """x tanh(βe^(γx)), smooth of every order (ref. 5). Any shape in, the same shape and dtype out.

    >>> TanhSoft2()(torch.tensor([-1.0, 0.0, 1.0]))
    tensor([-0.2172,  0.0000,  0.9262])
    """

    def __init__(self, beta: float = 0.6, gamma: float = 1.0) -> None:
        super().__init__()
        _positive(self, beta=beta, gamma=gamma)
        self.beta, self.gamma = beta, gamma

    def forward(self, x: Tensor) -> Tensor:
        return functional.tanhsoft_2(x, self.beta, self.gamma)

    def extra_repr(self) -> str:
        return f"beta={self.beta:g}, gamma={self.gamma:g}"


class TanhSoft3(nn.Module):
    """log(1 + e^x tanh(αx)), smooth of every order (ref. 5). Any shape in, the same shape and dtype out.

    >>> TanhSoft3()(torch.tensor([-1.0, 0.0, 1.0]))
    tensor([-0.2933,  0.0000,  1.0573])
    """

    def __init__(self, alpha: float = 0.85) -> None:
        super().__init__()
        _positive(self, alpha=alpha)
        self.alpha = alpha

    def forward(self, x: Tensor) -> Tensor:
        return functional.tanhsoft_3(x, self.alpha)

    def extra_repr(self) -> str:
        return f"alpha={self.alpha:g}"


class Serf(nn.Module):
    """x erf(log(1 + e^x)), smooth of every order (Nag and Bhattacharyya 2021). Shape and dtype are kept.

    >>> Serf()(torch.tensor([-1.0, 0.0, 1.0]))
    tensor([-0.3422,  0.0000,  0.9367])
    """

    def forward(self, x: Tensor) -> Tensor:
        return functional.serf(x)


class Logish(nn.Module):
    """x log(1 + σ(x)), smooth of every order (Zhu et al. 2021). Any shape in, the same shape and dtype out.

    >>> Logish()(torch.tensor([-1.0, 0.0, 1.0]))
    tensor([-0.2382,  0.0000,  0.5487])
    """

    def forward(self, x: Tensor) -> Tensor:
        return functional.logish(x)


class PSSiLU(nn.Module):
    """x (σ(αx) - β) / (1 - β), smooth of every order (Dai, Mahloujifar and Mittal 2021); α and β are learned.

    Any shape in, the same shape and dtype out; the input is kept for backward. Raises ValueError for an
    ``alpha`` that is not positive or a ``beta`` of 1, where the function is not defined.

    >>> PSSiLU(beta=0.1)(torch.tensor([-1.0, 0.0, 1.0])).detach()
    tensor([-0.1877,  0.0000,  0.7012])
    """

    def __init__(self, alpha: float = 1.0, beta: float = 0.0) -> None:
        super().__init__()
        _positive(self, alpha=alpha)
        if not 0 <= beta < 1:
            raise ValueError(f"PSSiLU: beta={beta!r} is outside [0, 1); give one inside, 0 for silu")
        self.initial = {"alpha": float(alpha), "beta": float(beta)}
        self.alpha = nn.Parameter(torch.tensor(float(alpha)))
        self.beta = nn.Parameter(torch.tensor(float(beta)))

    def forward(self, x: Tensor) -> Tensor:
        return functional.pssilu(x, self.alpha, self.beta)


class Hermite(nn.Module):
    """Σ aₙ hₙ(x), n < terms, over normalised Hermite polynomials, smooth of every order (ref. 35).

    Any shape in, the same shape and dtype out; the input is kept for backward. The coefficients are learned
    and start as those of ReLU. It grows as a power of x: use it after a normalisation. Raises ValueError for
    fewer than 2 or a fraction of ``terms``.

    >>> Hermite()(torch.tensor([-1.0, 0.0, 1.0])).detach()
    tensor([-0.1011,  0.1995,  0.8989])
    """

    def __init__(self, terms: float = 4) -> None:
        super().__init__()
        if terms < 2 or terms != int(terms):
            raise ValueError(f"Hermite: terms={terms!r} is not a whole number of at least 2; give one")
        self.initial = {"terms": float(terms)}
        self.coefficients = nn.Parameter(torch.tensor(formulas.hermite_relu_coefficients(int(terms))))

    def forward(self, x: Tensor) -> Tensor:
        return functional.hermite(x, self.coefficients)

    def extra_repr(self) -> str:
        return f"terms={self.coefficients.numel()}"
