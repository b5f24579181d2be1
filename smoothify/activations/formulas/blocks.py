"""The same formulas with in-place operations, for cache-sized blocks that nobody differentiates.

Eager code pays per operation and per fresh tensor; these write into the few temporaries they make. Only the
activations whose plain path is worth it are here.
"""

from __future__ import annotations

import torch
from torch import Tensor

from smoothify.activations.formulas import Number

_HUGE = 1e30


def squareplus_value(x: Tensor, b: float) -> tuple[Tensor]:
    """relu(x) + (b/2) / (√(x² + b) + |x|)."""
    total = (x * x).add_(b).sqrt_().add_(x.abs())
    return (total.reciprocal_().mul_(b / 2).add_(x.clamp(min=0)),)


def squareplus_backward(y: Tensor, grad: Tensor, b: float) -> tuple[Tensor]:
    """g y² / (y² + b/4)."""
    square = y.clamp(max=1e18).square_()
    return (square.div_(square + b / 4).mul_(grad),)


def smelu_value(x: Tensor, beta: float) -> tuple[Tensor]:
    """0, then (x + β)² / 4β over [-β, β], then x."""
    ramp = (x + beta).clamp_(0, 2 * beta)
    return (ramp.square_().mul_(1 / (4 * beta)).add_((x - beta).clamp_(min=0)),)


def smelu_backward(y: Tensor, grad: Tensor, beta: float) -> tuple[Tensor]:
    """g min(1, y / √(yβ))."""
    held = y.clamp(max=_HUGE)
    return (held.clamp(min=1e-30).mul_(beta).rsqrt_().mul_(held).clamp_(max=1).mul_(grad),)


def mish_value(x: Tensor) -> tuple[Tensor]:
    """x w / (w + 2) of w = n(n + 2), n = e^x."""
    n = x.clamp(max=40.0).exp_()
    w = (n + 2).mul_(n)
    return (w.div_(torch.add(w, 2, out=n)).mul_(x.clamp(min=-_HUGE)),)


def mish_backward(x: Tensor, grad: Tensor) -> tuple[Tensor]:
    """g (w / (w + 2) + 4x n(n + 1) / (w + 2)²)."""
    x = x.clamp(-_HUGE, 40.0)
    n = x.exp()
    w = (n + 2).mul_(n)
    inverse = (w + 2).reciprocal_()
    n.mul_(torch.add(n, 1)).mul_(inverse).mul_(x).mul_(4)
    return (w.add_(n).mul_(inverse).mul_(grad),)


def smoothrelu_value(x: Tensor, alpha: Number) -> tuple[Tensor]:
    """x - log(αx + 1) / α for x ≥ 0, else 0: the difference in float64, where it has precision to lose."""
    u = x.clamp(min=0).to(torch.float64).mul_(alpha)
    return (u.sub_(u.log1p().clamp_(max=1e3)).mul_(1 / alpha).to(x.dtype),)  # ∞ less a finite number is ∞


def smoothrelu_backward(x: Tensor, grad: Tensor, alpha: Number) -> tuple[Tensor]:
    """g αx / (1 + αx)."""
    u = (x * alpha).clamp_(0, _HUGE)
    return (u.div_(u + 1).mul_(grad),)


def smoothrelu_full_backward(x: Tensor, grad: Tensor, alpha: Number) -> tuple[Tensor, Tensor]:
    """g αx / (1 + αx) and g (log1p(u) - u/(1 + u)) / α² for u = αx."""
    u = (x * alpha).clamp_(0, _HUGE)
    slope = u / (u + 1)
    by_alpha = u.log1p_().sub_(slope).dot(grad)  # of a flat block; further results are summed anyway
    return slope.mul_(grad), by_alpha.mul_(1 / (alpha * alpha))
