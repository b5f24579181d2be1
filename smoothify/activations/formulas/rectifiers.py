"""Activations that are ReLU with its corner rounded: softplus, squareplus, SmeLU, SmoothReLU."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from smoothify.activations.formulas import Number
from smoothify.activations.formulas.primitives import (
    is_spelled_out,
    split_log1p,
)

_HUGE = 1e30  # stands in for infinity where infinity divided by infinity would be NaN
_TINY = 1e-37  # the root of anything less has a derivative that float32 cannot hold


def squareplus_value(x: Tensor, b: Number) -> Tensor:
    """(x + √(x² + b)) / 2, which cancels for x < 0; rationalised: relu(x) + (b/2) / (√(x² + b) + |x|)."""
    return x.clamp(min=0) + (b / 2) / ((x * x + b).sqrt() + x.abs())


def squareplus_slope(y: Tensor, b: Number) -> Tensor:
    """y² / (y² + b/4)."""
    square = y.clamp(max=1e18).square()
    return square / (square + b / 4)


def smelu_value(x: Tensor, beta: Number) -> Tensor:
    """0, then (x + β)² / 4β over [-β, β], then x."""
    ramp = (x + beta).clamp(min=0).clamp(max=2 * beta)
    return ramp * ramp / (4 * beta) + (x - beta).clamp(min=0)


def smelu_slope(y: Tensor, beta: Number) -> Tensor:
    """min(1, √(y/β)), with y held above 0, where the root has no derivative and this has 0."""
    return (y.clamp(min=_TINY).sqrt() * y.sign() * beta**-0.5).clamp(max=1)


# SmoothReLU is relu(x) · k(αx) with k(u) = 1 - log1p(u)/u, which cancels for small u. Below the join k comes
# from log1p(u) = 2 atanh(s), s = u/(2 + u). Each branch is one factor that is constant on the other's side of
# the join: no branch on data is needed, and neither branch's rounding reaches the other.
_JOIN = 1.0
_VALUE_AT_JOIN = 1 - math.log1p(_JOIN) / _JOIN
_PARTIAL_AT_JOIN = (math.log1p(_JOIN) - _JOIN / (1 + _JOIN)) / _JOIN**2
_SERIES_TERMS = {torch.float32: 7, torch.float64: 17}


def _series(t: Tensor) -> Tensor:
    """1/3 + t/5 + t²/7 + …: what is left of atanh(s) = s + s³(1/3 + s²/5 + …) for t = s²."""
    terms = _SERIES_TERMS[t.dtype]
    total = t * (1 / (2 * terms + 1)) + 1 / (2 * terms - 1)
    for k in range(terms - 2, 0, -1):
        total = total * t + 1 / (2 * k + 1)
    return total


def smoothrelu_value(x: Tensor, alpha: Number) -> Tensor:
    """x - log(αx + 1) / α for x ≥ 0, else 0 (paper eq. 5)."""
    if is_spelled_out(x):
        u = (alpha * x).clamp(min=0)
        multiple, f, rest = split_log1p(u)
        return ((u - f) - multiple + rest) * (1 / alpha)
    u = (alpha * x).clamp(0, _HUGE)
    low, high = u.clamp(max=_JOIN), u.clamp(min=_JOIN)
    half = 1 / (2 + low)
    s = low * half
    small = (low - 2 * (s * s) * _series(s * s)) * half
    large = (1 - high.log1p() / high) * (1 / _VALUE_AT_JOIN)
    return small * large * x.clamp(min=0)


def smoothrelu_slope(x: Tensor, alpha: Number) -> Tensor:
    """αx / (1 + αx) for x ≥ 0, else 0 (paper eq. 6)."""
    u = (alpha * x).clamp(0, _HUGE)
    return u * (1 / (1 + u))


def smoothrelu_partials(x: Tensor, alpha: Number) -> tuple[Tensor]:
    """∂/∂α = (log1p(u) - u/(1 + u)) / α² for u = α relu(x), which tends to relu(x)²/2 for small u."""
    u = (alpha * x).clamp(0, _HUGE)
    if is_spelled_out(x):
        multiple, f, rest = split_log1p(u)
        return (((f * u + (f - u)) * (1 / (1 + u)) - rest + multiple) * (1 / (alpha * alpha)),)
    low, high = u.clamp(max=_JOIN), u.clamp(min=_JOIN)
    half = 1 / (2 + low)
    s = low * half
    small = 1 / (1 + low) - half * (1 - 2 * (s * half) * _series(s * s))
    inverse = 1 / high
    large = (high.log1p() * inverse - 1 / (1 + high)) * inverse * (1 / _PARTIAL_AT_JOIN)
    p = x.clamp(min=0)
    return (small * large * p * p,)
