"""The textbook definition of every entry in arbitrary precision: what the catalogue is measured against."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import numpy as np
import torch
from mpmath import mp, mpf

from smoothify import activations

DIGITS = 50
Reference = Callable[..., mpf]


def _sigmoid(x: mpf) -> mpf:
    return 1 / (1 + mp.exp(-x))


def _softplus(x: mpf) -> mpf:
    return mp.log1p(mp.exp(x))


def _elu(x: mpf, alpha: float) -> mpf:
    return x if x >= 0 else mpf(alpha) * mp.expm1(x)


def _celu(x: mpf, alpha: float) -> mpf:
    return x if x >= 0 else mpf(alpha) * mp.expm1(x / mpf(alpha))


def _smoothrelu(x: mpf, alpha: float) -> mpf:
    return x - mp.log1p(mpf(alpha) * x) / mpf(alpha) if x >= 0 else mpf(0)


def _smelu(x: mpf, beta: float) -> mpf:
    if abs(x) >= beta:
        return max(x, mpf(0))
    return (x + beta) ** 2 / (4 * mpf(beta))


def _hermite(x: mpf, terms: float) -> mpf:
    """Coefficients by quadrature of ReLU against the basis, as float32 holds them."""
    total = mpf(0)
    for n, coefficient in enumerate(_relu_projections(int(terms))):
        total += mpf(float(np.float32(coefficient))) * _normalised_hermite(n, x)
    return total


def _normalised_hermite(n: int, x: mpf) -> mpf:
    return mp.hermite(n, x / mp.sqrt(2)) / (mp.sqrt(2) ** n * mp.sqrt(mp.factorial(n)))


@functools.cache
def _relu_projections(terms: int) -> tuple[float, ...]:
    def projection(n: int) -> float:
        return float(mp.quad(lambda x: x * _normalised_hermite(n, x) * mp.npdf(x), [0, 3, 8, 20]))

    return tuple(value if abs(value) > 1e-12 else 0.0 for value in map(projection, range(terms)))


REFERENCES: dict[str, Reference] = {
    "relu": lambda x: max(x, mpf(0)),
    "softplus": _softplus,
    "parametric_softplus": lambda x, alpha: _softplus(alpha * x) / alpha,
    "silu": lambda x: x * _sigmoid(x),
    "swish": lambda x, beta: x * _sigmoid(mpf(beta) * x),
    "gelu": lambda x: x * mp.ncdf(x),
    "gelu_tanh": lambda x: x * _sigmoid(2 * mp.sqrt(2 / mp.pi) * (x + mpf("0.044715") * x**3)),
    "quick_gelu": lambda x: x * _sigmoid(mpf("1.702") * x),
    "elu": _elu,
    "celu": _celu,
    "smoothrelu": _smoothrelu,
    "mish": lambda x: x * mp.tanh(_softplus(x)),
    "tanhexp": lambda x: x * mp.tanh(mp.exp(x)),
    "tanhsoft_1": lambda x, alpha: mp.tanh(mpf(str(alpha)) * x) * _softplus(x),
    "tanhsoft_2": lambda x, beta, gamma: x * mp.tanh(mpf(str(beta)) * mp.exp(mpf(str(gamma)) * x)),
    "tanhsoft_3": lambda x, alpha: mp.log1p(mp.exp(x) * mp.tanh(mpf(str(alpha)) * x)),
    "hermite": _hermite,
    "smelu": _smelu,
    "squareplus": lambda x, b: (x + mp.sqrt(x * x + b)) / 2,
    "serf": lambda x: x * mp.erf(_softplus(x)),
    "logish": lambda x: x * mp.log1p(_sigmoid(x)),
    "pssilu": lambda x, alpha, beta: x * (_sigmoid(mpf(alpha) * x) - beta) / (1 - mpf(beta)),
    "sigmoid": _sigmoid,
    "tanh": mp.tanh,
}


def grid() -> torch.Tensor:
    """x in ±[1e-8, 1e4] and 0, as float32: evenly in magnitude, and evenly where activations bend."""
    magnitudes = torch.logspace(-8, 4, 49, dtype=torch.float64)
    return torch.cat([-magnitudes.flip(0), torch.linspace(-12, 12, 97, dtype=torch.float64), magnitudes]).float()


@functools.cache
def exact(name: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Value, first and second derivative of an entry on the grid, rounded from 50 digits to float64.

    At a knot the second derivative is one-sided and is not used.
    """
    defaults = dict(activations.get(name).defaults)
    reference = REFERENCES[name]
    values, slopes, curvatures = [], [], []
    with mp.workdps(DIGITS):
        step = mpf(10) ** -15
        for x in map(mpf, grid().tolist()):
            below, here, above = (reference(x + k * step, **defaults) for k in (-1, 0, 1))
            values.append(float(here))
            slopes.append(float((above - below) / (2 * step)))
            curvatures.append(float((above - 2 * here + below) / step**2))
    return tuple(torch.tensor(each, dtype=torch.float64) for each in (values, slopes, curvatures))


def ulp(reference: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """The distance between neighbours of ``dtype`` at ``reference``, or at its least normal."""
    info = torch.finfo(dtype)
    _, exponent = torch.frexp(reference.abs().clamp(min=info.smallest_normal))
    return torch.ldexp(torch.full_like(reference, info.eps), exponent - 1)


def infinity_limits(name: str) -> tuple[float, float]:
    """The limits at -∞ and +∞ (NaN: there is none)."""
    rising = (0.0, math.inf)
    other = {"elu": (-1.0, math.inf), "celu": (-1.0, math.inf), "sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0)}
    return other.get(name, (math.nan, math.nan) if name == "hermite" else rising)
