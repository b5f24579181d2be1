"""Activations of the form x · g(x) for a gate g that rises from 0 to 1: swish, mish, the tanh-soft family."""

from __future__ import annotations

import math

from torch import Tensor

from smoothify.activations.formulas import Number
from smoothify.activations.formulas.primitives import erf_of_positive, log1p_of_unit

_HUGE = 1e30  # stands in for infinity where infinity times an underflowed zero would be NaN
_SATURATED = 40.0  # exp(-40) is below float64's resolution of 1: beyond it a sigmoid is 1


def _minus_abs(x: Tensor) -> Tensor:
    """-|x| by one clamp, so that at 0 a formula that is right for both signs is differentiated as for one of them."""
    x = x.clamp(max=_HUGE)
    return x - 2 * x.clamp(min=0)


def _softplus(x: Tensor) -> Tensor:
    return x.clamp(min=0) + log1p_of_unit(_minus_abs(x).exp())


def _sech_squared(v: Tensor) -> Tensor:
    e = (2 * _minus_abs(v)).exp()
    return 4 * e / (1 + e).square()


def swish_value(x: Tensor, beta: Number) -> Tensor:
    """x σ(βx)."""
    return (beta * x).sigmoid() * x.clamp(min=-_HUGE)


def swish_slope(x: Tensor, beta: Number) -> Tensor:
    """σ + βx σ(1 - σ), with σ = n / (1 + n) for n = e^(βx), so that 1 - σ = 1 / (1 + n) does not cancel."""
    z = (beta * x).clamp(-_HUGE, _SATURATED)
    n = z.exp()
    complement = 1 / (1 + n)
    sigmoid = n * complement
    return sigmoid + z * (sigmoid * complement)


def pssilu_value(x: Tensor, alpha: Number, beta: Number) -> Tensor:
    """x (σ(αx) - β) / (1 - β)."""
    return x.clamp(min=-_HUGE) * (((alpha * x).sigmoid() - beta) / (1 - beta))


def pssilu_slope(x: Tensor, alpha: Number, beta: Number) -> Tensor:
    """(σ + αx σ(1 - σ) - β) / (1 - β) at αx."""
    return (swish_slope(x, alpha) - beta) / (1 - beta)


def pssilu_partials(x: Tensor, alpha: Number, beta: Number) -> tuple[Tensor, Tensor]:
    """∂/∂α = x² σ(1 - σ) / (1 - β) and ∂/∂β = -x (1 - σ) / (1 - β)²."""
    x = x.clamp(-_HUGE, _HUGE)
    n = (alpha * x).clamp(max=_SATURATED).exp()
    complement = 1 / (1 + n)
    by_alpha = x * (x * (n * complement * complement)) / (1 - beta)
    return by_alpha, -x * complement / ((1 - beta) * (1 - beta))


def mish_value(x: Tensor) -> Tensor:
    """x tanh(log1p(n)) for n = e^x, where the tanh is the rational w / (w + 2) of w = n(n + 2)."""
    n = x.clamp(max=_SATURATED).exp()
    w = n * (n + 2)
    return w / (w + 2) * x.clamp(min=-_HUGE)


def mish_slope(x: Tensor) -> Tensor:
    """w / (w + 2) + 4x n(n + 1) / (w + 2)²."""
    x = x.clamp(-_HUGE, _SATURATED)
    n = x.exp()
    w = n * (n + 2)
    inverse = 1 / (w + 2)
    return inverse * (w + x * (n * inverse) * (4 * n + 4))


def logish_value(x: Tensor) -> Tensor:
    """x log1p(σ(x))."""
    return log1p_of_unit(x.sigmoid()) * x.clamp(min=-_HUGE)


def logish_slope(x: Tensor) -> Tensor:
    """log1p(σ) + x σ(1 - σ) / (1 + σ), where (1 - σ) / (1 + σ) = 1 / (1 + 2n) for n = e^x."""
    x = x.clamp(-_HUGE, _SATURATED)
    n = x.exp()
    sigmoid = n / (1 + n)
    return log1p_of_unit(sigmoid) + x * (sigmoid / (1 + 2 * n))


def serf_value(x: Tensor) -> Tensor:
    """x erf(softplus(x))."""
    return erf_of_positive(_softplus(x)) * x.clamp(min=-_HUGE)


def serf_slope(x: Tensor) -> Tensor:
    """erf(s) + x (2/√π) e^(-s²) σ(x) for s = softplus(x)."""
    x = x.clamp(-_HUGE, _HUGE)
    s = _softplus(x)
    return erf_of_positive(s) + x * (2 / math.sqrt(math.pi)) * (s.square().neg().exp() * x.sigmoid())


def tanhsoft_1_value(x: Tensor, alpha: Number) -> Tensor:
    """tanh(αx) softplus(x)."""
    return (alpha * x).tanh() * _softplus(x)


def tanhsoft_1_slope(x: Tensor, alpha: Number) -> Tensor:
    """α sech²(αx) softplus(x) + tanh(αx) σ(x)."""
    x = x.clamp(-_HUGE, _HUGE)
    v = alpha * x
    return alpha * _sech_squared(v) * _softplus(x) + v.tanh() * x.sigmoid()


def _tanh_argument(x: Tensor, beta: Number, gamma: Number) -> Tensor:
    return (beta * (gamma * x).clamp(max=80).exp()).clamp(-30, 30)


def tanhsoft_2_value(x: Tensor, beta: Number, gamma: Number) -> Tensor:
    """x tanh(βe^(γx))."""
    return _tanh_argument(x, beta, gamma).tanh() * x.clamp(min=-_HUGE)


def tanhsoft_2_slope(x: Tensor, beta: Number, gamma: Number) -> Tensor:
    """tanh(q) + γx q sech²(q) for q = βe^(γx)."""
    q = _tanh_argument(x, beta, gamma)
    return q.tanh() + gamma * x.clamp(-_HUGE, 1e6) * (q * _sech_squared(q))


def tanhsoft_3_value(x: Tensor, alpha: Number) -> Tensor:
    """log(1 + e^x tanh(αx)), as p + log(e^(-p) + e^(x - p) tanh(αx)) for p = relu(x - 10), which is 0 where 1 matters.

    The fused loops of torch 2.8 have an expm1 that is inaccurate near 0; so none is needed.
    """
    p = (x - 10).clamp(min=0)
    return p + ((-p).exp() - 1 + x.clamp(max=10).exp() * (alpha * x).tanh()).log1p()


def tanhsoft_3_slope(x: Tensor, alpha: Number) -> Tensor:
    """e^x (tanh(αx) + α sech²(αx)) / (1 + e^x tanh(αx)), divided through by e^p for p = relu(x)."""
    x = x.clamp(-_HUGE, _HUGE)
    p = x.clamp(min=0)
    decay = (x - p).exp()
    v = alpha * x
    t = v.tanh()
    return decay * (t + alpha * _sech_squared(v)) / (p.neg().exp() + decay * t)
