"""Activations whose parameters are trained with the weights. One module is one set of parameters.

A parameter is a vector, of one element where it is one number: fully sharded training takes no scalars.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from smoothify.activations import functional
from smoothify.activations.formulas.hermite import relu_coefficients
from smoothify.activations.modules import Pointwise, check_positive

_LEAST_ALPHA = 1e-6  # a root of exactly 0 would leave SmoothReLU undefined
_MOST_BETA = 0.99  # at 1 PSSiLU is undefined, and beyond it falls where it rose


class SmoothReLU(Pointwise):
    """x - log(αx + 1) / α for x ≥ 0, else 0; C1 for every α > 0 (paper eq. 5). α is learned, one per module.

    Any shape in, the same shape and dtype out; the input is kept for backward. The parameter ``root`` stores √α, so
    that no optimizer step can make α negative, as in the released models.

    Args:
        alpha: where α starts, > 0.

    Raises:
        ValueError: an ``alpha`` that is not positive.

    >>> SmoothReLU()
    SmoothReLU(alpha=400)
    >>> SmoothReLU()(torch.tensor([-1.0, 0.0, 1.0])).detach()
    tensor([0.0000, 0.0000, 0.9850])
    """

    function = staticmethod(functional.smoothrelu)
    settings = ("alpha",)

    def __init__(self, alpha: float = 400.0) -> None:
        super().__init__()
        check_positive(self, alpha=alpha)
        self.initial = {"alpha": float(alpha)}
        self.root = nn.Parameter(torch.tensor([math.sqrt(alpha)]))

    @property
    def alpha(self) -> Tensor:
        """α as a scalar tensor that carries the gradient to ``root``."""
        return self.root.squeeze(0).square().clamp(min=_LEAST_ALPHA)


class PSSiLU(Pointwise):
    """x (σ(αx) - β) / (1 - β), smooth of every order (Dai, Mahloujifar and Mittal 2021); α and β are learned.

    Any shape in, the same shape and dtype out; the input is kept for backward. However far an optimizer moves it, β
    counts as 0.99 at most.

    Args:
        alpha: where α starts, > 0.
        beta: where β starts, in [0, 1); the function is not defined at 1.

    Raises:
        ValueError: an ``alpha`` that is not positive, or a ``beta`` outside [0, 1).

    >>> PSSiLU(beta=0.1)(torch.tensor([-1.0, 0.0, 1.0])).detach()
    tensor([-0.1877,  0.0000,  0.7012])
    """

    function = staticmethod(functional.pssilu)
    settings = ("alpha", "beta")

    def __init__(self, alpha: float = 1.0, beta: float = 0.0) -> None:
        super().__init__()
        check_positive(self, alpha=alpha)
        if not 0 <= beta <= _MOST_BETA:
            raise ValueError(f"PSSiLU: beta={beta!r} is outside [0, {_MOST_BETA}]; give one inside, 0 for silu")
        self.initial = {"alpha": float(alpha), "beta": float(beta)}
        self.alpha = nn.Parameter(torch.tensor([float(alpha)]))
        self.beta = nn.Parameter(torch.tensor([float(beta)]))

    def forward(self, x: Tensor) -> Tensor:
        """Any shape in, the same shape and dtype out."""
        return functional.pssilu(x, self.alpha.squeeze(0), self.beta.squeeze(0).clamp(max=_MOST_BETA))


class Hermite(Pointwise):
    """Σ aₙ hₙ(x), n < terms, over normalised Hermite polynomials, smooth of every order (ref. 35).

    Any shape in, the same shape and dtype out; the input is kept for backward. The coefficients are learned and start
    as those of ReLU. It grows as a power of x: use it after a normalisation.

    Args:
        terms: how many, 2 to 170; a whole number.

    Raises:
        ValueError: fewer, more, or a fraction.

    >>> Hermite()(torch.tensor([-1.0, 0.0, 1.0])).detach()
    tensor([-0.1011,  0.1995,  0.8989])
    """

    function = staticmethod(functional.hermite)
    settings = ("coefficients",)

    def __init__(self, terms: float = 4) -> None:
        super().__init__()
        if not 2 <= terms <= 170 or terms != int(terms):  # 171! is beyond float64
            raise ValueError(f"Hermite: terms={terms!r} is not a whole number from 2 to 170; give one")
        self.initial = {"terms": float(terms)}
        self.coefficients = nn.Parameter(torch.tensor(relu_coefficients(int(terms))))
