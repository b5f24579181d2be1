"""The mathematics: each activation as its value and its derivative, written so that nothing cancels.

Every function takes float32 or float64 tensors and is made of plain differentiable operations, none of
which divides by zero, overflows into ``inf - inf`` or branches on data (``torch.where`` is the slow part on
a CPU; clamps are not). The same text runs eagerly, in blocks, compiled, traced and differentiated again.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

Number = Tensor | float

_HUGE = 1e30  # stands in for infinity where infinity times an underflowed zero would be NaN
_SATURATED = 40.0  # exp(-40) is below float64's resolution of 1: beyond it a sigmoid is 1


def _scaled_exp(z: Tensor) -> Tensor:
    """e^z, held where a sigmoid has long been 1, so that its square still fits float32."""
    return z.clamp(max=_SATURATED).exp()


def _softplus(x: Tensor) -> Tensor:
    return x.clamp(min=0) + x.abs().neg().exp().log1p()


# --- the sigmoid family -------------------------------------------------------------------------------


def swish_value(x: Tensor, beta: Number) -> Tensor:
    return x.clamp(min=-_HUGE) * torch.sigmoid(beta * x)


def swish_slope(x: Tensor, beta: Number) -> Tensor:
    z = (beta * x).clamp(-_HUGE, _SATURATED)
    n = z.exp()
    sigmoid = n / (1 + n)
    return sigmoid + z * (sigmoid / (1 + n))


def pssilu_value(x: Tensor, alpha: Number, beta: Number) -> Tensor:
    return x.clamp(min=-_HUGE) * ((torch.sigmoid(alpha * x) - beta) / (1 - beta))


def pssilu_slope(x: Tensor, alpha: Number, beta: Number) -> Tensor:
    return (swish_slope(x, alpha) - beta) / (1 - beta)


def pssilu_partials(x: Tensor, alpha: Number, beta: Number) -> tuple[Tensor, Tensor]:
    x = x.clamp(-_HUGE, _HUGE)
    n = _scaled_exp(alpha * x)
    complement = 1 / (1 + n)
    by_alpha = x * (x * (n * complement * complement)) / (1 - beta)
    return by_alpha, -x * complement / ((1 - beta) * (1 - beta))


def mish_value(x: Tensor) -> Tensor:
    # tanh(log1p(n)) is the rational n(n + 2) / (n(n + 2) + 2) of n = e^x.
    n = _scaled_exp(x)
    w = n * (n + 2)
    return x.clamp(min=-_HUGE) * (w / (w + 2))


def mish_slope(x: Tensor) -> Tensor:
    x = x.clamp(-_HUGE, _SATURATED)
    n = x.exp()
    w = n * (n + 2)
    inverse = 1 / (w + 2)
    return w * inverse + 4 * x * ((n * inverse) * ((n + 1) * inverse))


def logish_value(x: Tensor) -> Tensor:
    return x.clamp(min=-_HUGE) * torch.sigmoid(x).log1p()


def logish_slope(x: Tensor) -> Tensor:
    x = x.clamp(-_HUGE, _SATURATED)
    n = x.exp()
    sigmoid = n / (1 + n)
    return sigmoid.log1p() + x * (sigmoid / (1 + 2 * n))


def serf_value(x: Tensor) -> Tensor:
    return x.clamp(min=-_HUGE) * _softplus(x).erf()


def serf_slope(x: Tensor) -> Tensor:
    x = x.clamp(-_HUGE, _HUGE)
    n = _scaled_exp(x)
    s = _softplus(x)
    return s.erf() + x * (2 / math.sqrt(math.pi)) * (s.square().neg().exp() * (n / (1 + n)))


# --- the tanh family ----------------------------------------------------------------------------------


def _sech_squared(v: Tensor) -> Tensor:
    e = (-2 * v.abs()).exp()
    return 4 * e / (1 + e).square()


def tanhsoft_1_value(x: Tensor, alpha: Number) -> Tensor:
    return (alpha * x).tanh() * _softplus(x)


def tanhsoft_1_slope(x: Tensor, alpha: Number) -> Tensor:
    x = x.clamp(-_HUGE, _HUGE)
    v = alpha * x
    return alpha * _sech_squared(v) * _softplus(x) + v.tanh() * torch.sigmoid(x)


def _tanh_argument(x: Tensor, beta: Number, gamma: Number) -> Tensor:
    return (beta * (gamma * x).clamp(max=80).exp()).clamp(-30, 30)


def tanhsoft_2_value(x: Tensor, beta: Number, gamma: Number) -> Tensor:
    return x.clamp(min=-_HUGE) * _tanh_argument(x, beta, gamma).tanh()


def tanhsoft_2_slope(x: Tensor, beta: Number, gamma: Number) -> Tensor:
    q = _tanh_argument(x, beta, gamma)
    return q.tanh() + gamma * x.clamp(-_HUGE, 1e6) * (q * _sech_squared(q))


def tanhsoft_3_value(x: Tensor, alpha: Number) -> Tensor:
    p = x.clamp(min=0)
    return p + ((-p).expm1() + x.clamp(max=0).exp() * (alpha * x).tanh()).log1p()


def tanhsoft_3_slope(x: Tensor, alpha: Number) -> Tensor:
    decay = x.clamp(max=0).exp()
    v = alpha * x
    t = v.tanh()
    return decay * (t + alpha * _sech_squared(v)) / (x.clamp(min=0).neg().exp() + decay * t)


# --- the rectifiers -----------------------------------------------------------------------------------


def parametric_softplus_value(x: Tensor, alpha: Number) -> Tensor:
    # Paper eq. 2.
    return x.clamp(min=0) + (alpha * x).abs().neg().exp().log1p() / alpha


def parametric_softplus_slope(y: Tensor, alpha: Number) -> Tensor:
    # Paper eq. 3, in terms of the output: 1 / (1 + e^(-αx)) = 1 - e^(-αy).
    return -(-alpha * y).expm1()


def squareplus_value(x: Tensor, b: Number) -> Tensor:
    # (x + √(x² + b)) / 2 cancels for x < 0; this is the same number, rationalised.
    return x.clamp(min=0) + (b / 2) / ((x * x + b).sqrt() + x.abs())


def squareplus_slope(y: Tensor, b: Number) -> Tensor:
    # y² / (y² + b/4), divided through by y² so that neither end overflows.
    ratio = (y.clamp(max=1e18) * y.clamp(max=1e18)) / (b / 4)
    return ratio / (1 + ratio)


def smelu_value(x: Tensor, beta: Number) -> Tensor:
    ramp = (x + beta).clamp(min=0).clamp(max=2 * beta)
    return ramp * ramp / (4 * beta) + (x - beta).clamp(min=0)


def smelu_slope(y: Tensor, beta: Number) -> Tensor:
    # √(y/β) has no derivative at 0: held a hair above it, where its derivative is the zero that is right.
    return (y.clamp(min=1e-30) / beta).sqrt().clamp(max=1)


_JOIN = 1.0  # where SmoothReLU's series hands over to its logarithm
_SERIES_TERMS = {torch.float32: 7, torch.float64: 17}


def _series(square: Tensor) -> Tensor:
    """1/3 + t/5 + t²/7 + …: what is left of atanh(s) = s + s³(1/3 + s²/5 + …) for t = s²."""
    terms = _SERIES_TERMS.get(square.dtype, 17)
    total = torch.full_like(square, 1 / (2 * terms + 1))
    for k in range(terms - 1, 0, -1):
        total = total * square + 1 / (2 * k + 1)
    return total


def _smoothrelu_scaled(x: Tensor, alpha: Number) -> tuple[Tensor, Tensor, Tensor]:
    u = (alpha * x).clamp(0, _HUGE)
    return u, u.clamp(max=_JOIN), u.clamp(min=_JOIN)


def smoothrelu_value(x: Tensor, alpha: Number) -> Tensor:
    # Paper eq. 5 as relu(x) · k(αx) with k(u) = 1 - log1p(u)/u; below the join by log1p(u) = 2 atanh(u/(2+u)).
    # One factor is constant on either side of the join, so that no branch on data is needed.
    _, low, high = _smoothrelu_scaled(x, alpha)
    half = 1 / (2 + low)
    s = low * half
    small = (low - 2 * (s * s) * _series(s * s)) * half
    large = (1 - high.log1p() / high) * (1 / (1 - math.log1p(_JOIN) / _JOIN))
    return x.clamp(min=0) * (small * large)


def smoothrelu_slope(x: Tensor, alpha: Number) -> Tensor:
    # Paper eq. 6.
    u = (alpha * x).clamp(0, _HUGE)
    return u / (1 + u)


def smoothrelu_partials(x: Tensor, alpha: Number) -> tuple[Tensor]:
    # ∂y/∂α = relu(x)² · m(αx) with m(u) = (log1p(u) - u/(1+u)) / u², which tends to 1/2 at 0.
    _, low, high = _smoothrelu_scaled(x, alpha)
    half = 1 / (2 + low)
    s = low * half
    small = 1 / (1 + low) - half * (1 - 2 * (s * half) * _series(s * s))
    inverse = 1 / high
    at_join = (math.log1p(_JOIN) - _JOIN / (1 + _JOIN)) / _JOIN**2
    large = (high.log1p() * inverse - 1 / (1 + high)) * inverse * (1 / at_join)
    p = x.clamp(min=0)
    return (p * (p * (small * large)),)


# --- polynomials --------------------------------------------------------------------------------------


def hermite_basis(x: Tensor, count: int) -> list[Tensor]:
    """The first ``count`` normalised Hermite polynomials (probabilists') at ``x``."""
    basis = [torch.ones_like(x), x]
    for n in range(1, count - 1):
        basis.append((x * basis[n] - math.sqrt(n) * basis[n - 1]) / math.sqrt(n + 1))
    return basis[:count]


def hermite_value(x: Tensor, *coefficients: Number) -> Tensor:
    total = torch.zeros_like(x)
    for coefficient, polynomial in zip(coefficients, hermite_basis(x, len(coefficients)), strict=True):
        total = total + coefficient * polynomial
    return total


def hermite_slope(x: Tensor, *coefficients: Number) -> Tensor:
    total = torch.zeros_like(x)
    basis = hermite_basis(x, len(coefficients))
    for n in range(1, len(coefficients)):
        total = total + (coefficients[n] * math.sqrt(n)) * basis[n - 1]
    return total


def hermite_partials(x: Tensor, *coefficients: Number) -> tuple[Tensor, ...]:
    return tuple(hermite_basis(x, len(coefficients)))


def hermite_relu_coefficients(count: int) -> list[float]:
    """The first ``count`` coefficients of ReLU in the normalised Hermite basis (ref. 35, §3)."""
    coefficients = [1 / math.sqrt(2 * math.pi), 0.5]
    for n in range(2, count):
        if n % 2:
            coefficients.append(0.0)
        else:
            double_factorial = math.prod(range(n - 3, 0, -2))
            sign = -1 if (n // 2) % 2 == 0 else 1
            coefficients.append(sign * double_factorial / math.sqrt(2 * math.pi * math.factorial(n)))
    return coefficients[:count]
