"""Activations as functions: any shape, any floating dtype, the shape and dtype of the input comes back.

Where torch has the fastest exact kernel, use torch's (``torch.nn.functional.silu``, ``gelu``, ``elu``, …);
these are the ones it lacks. Each keeps one tensor for backward and is differentiable twice, by forward mode,
under vmap and autocast, and inside ``torch.compile``, ``torch.export`` and ``torch.fx``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function_unary

from smoothify.activations.formulas import Number, blocks, gated, rectifiers
from smoothify.activations.formulas import hermite as polynomials
from smoothify.activations.kernels import InPlace, Kernel

SQUAREPLUS = Kernel(
    "squareplus",
    rectifiers.squareplus_value,
    rectifiers.squareplus_slope,
    keeps="output",
    in_place=InPlace(blocks.squareplus_value, blocks.squareplus_backward),
)
SMELU = Kernel(
    "smelu",
    rectifiers.smelu_value,
    rectifiers.smelu_slope,
    keeps="output",
    in_place=InPlace(blocks.smelu_value, blocks.smelu_backward),
)
SMOOTHRELU = Kernel(
    "smoothrelu",
    rectifiers.smoothrelu_value,
    rectifiers.smoothrelu_slope,
    partials=rectifiers.smoothrelu_partials,
    in_place=InPlace(blocks.smoothrelu_value, blocks.smoothrelu_backward, blocks.smoothrelu_full_backward),
)
SWISH = Kernel("swish", gated.swish_value, gated.swish_slope)
QUICK_GELU = Kernel("quick_gelu", gated.swish_value, gated.swish_slope)
MISH = Kernel("mish", gated.mish_value, gated.mish_slope, in_place=InPlace(blocks.mish_value, blocks.mish_backward))
SERF = Kernel("serf", gated.serf_value, gated.serf_slope)
LOGISH = Kernel("logish", gated.logish_value, gated.logish_slope)
TANHEXP = Kernel("tanhexp", gated.tanhsoft_2_value, gated.tanhsoft_2_slope)
TANHSOFT_1 = Kernel("tanhsoft_1", gated.tanhsoft_1_value, gated.tanhsoft_1_slope)
TANHSOFT_2 = Kernel("tanhsoft_2", gated.tanhsoft_2_value, gated.tanhsoft_2_slope)
TANHSOFT_3 = Kernel("tanhsoft_3", gated.tanhsoft_3_value, gated.tanhsoft_3_slope)
HERMITE = Kernel("hermite", polynomials.hermite_value, polynomials.hermite_slope, partials=polynomials.hermite_partials)
PSSILU = Kernel("pssilu", gated.pssilu_value, gated.pssilu_slope, partials=gated.pssilu_partials)

_Function = Callable[..., Tensor]


def _overridable(function: _Function) -> _Function:
    """Let fx proxies, tensor subclasses and function modes see the call, as torch's own functions do."""

    @functools.wraps(function)
    def call(x: Tensor, *arguments: Any, **options: Any) -> Tensor:
        if has_torch_function_unary(x):
            output: Tensor = handle_torch_function(call, (x,), x, *arguments, **options)
            return output
        return function(x, *arguments, **options)

    return call


@_overridable
def parametric_softplus(x: Tensor, alpha: float = 10.0) -> Tensor:
    """log(1 + e^(αx)) / α, smooth of every order (paper eq. 2); tends to ReLU as α grows.

    >>> parametric_softplus(torch.tensor([-1.0, 0.0, 1.0]))
    tensor([4.5399e-06, 6.9315e-02, 1.0000e+00])
    """
    # torch's own kernel: as fast as ours compiled, twice as fast as ours plain. Its default threshold of 20 cuts
    # off 2e-9 / α, which float64 can see; above 40 nothing is left that any dtype could hold.
    return F.softplus(x, beta=alpha, threshold=40.0)


@_overridable
def squareplus(x: Tensor, b: float = 4.0) -> Tensor:
    """(x + √(x² + b)) / 2, smooth of every order for b > 0 (Barron 2021); tends to ReLU as b falls to 0.

    >>> squareplus(torch.tensor([-1.5, 0.0, 1.5]))
    tensor([0.5000, 1.0000, 2.0000])
    """
    return SQUAREPLUS(x, b)


@_overridable
def smelu(x: Tensor, beta: float = 1.0) -> Tensor:
    """0 for x ≤ -β, (x + β)² / 4β for |x| ≤ β, x for x ≥ β; C1 (the RSCU of ref. 57).

    >>> smelu(torch.tensor([-1.0, 0.0, 1.0, 3.0]))
    tensor([0.0000, 0.2500, 1.0000, 3.0000])
    """
    return SMELU(x, beta)


@_overridable
def smoothrelu(x: Tensor, alpha: Number = 400.0) -> Tensor:
    """x - log(αx + 1) / α for x ≥ 0, else 0; C1 (paper eq. 5). ``alpha`` > 0 may be a tensor and learned.

    >>> smoothrelu(torch.tensor([-1.0, 0.0, 1.0]))
    tensor([0.0000, 0.0000, 0.9850])
    """
    return SMOOTHRELU(x, alpha)


@_overridable
def swish(x: Tensor, beta: float = 1.0) -> Tensor:
    """x σ(βx), smooth of every order (ref. 51); tends to ReLU as β grows.

    >>> swish(torch.tensor([-1.0, 0.0, 1.0]), beta=2.0)
    tensor([-0.1192,  0.0000,  0.8808])
    """
    return torch.nn.functional.silu(x) if beta == 1 else SWISH(x, beta)


@_overridable
def quick_gelu(x: Tensor) -> Tensor:
    """x σ(1.702x), smooth of every order: the quick approximation of GELU (ref. 24, §2).

    >>> quick_gelu(torch.tensor([-1.0, 0.0, 1.0]))
    tensor([-0.1542,  0.0000,  0.8458])
    """
    return QUICK_GELU(x, 1.702)


@_overridable
def mish(x: Tensor) -> Tensor:
    """x tanh(log(1 + e^x)), smooth of every order (ref. 40), as a rational function of e^x.

    >>> mish(torch.tensor([-1.0, 0.0, 1.0]))
    tensor([-0.3034,  0.0000,  0.8651])
    """
    return MISH(x)


@_overridable
def tanhexp(x: Tensor) -> Tensor:
    """x tanh(e^x), smooth of every order (Liu and Di 2020).

    >>> tanhexp(torch.tensor([-1.0, 0.0, 1.0]))
    tensor([-0.3521,  0.0000,  0.9913])
    """
    return TANHEXP(x, 1.0, 1.0)


@_overridable
def tanhsoft_1(x: Tensor, alpha: float = 0.87) -> Tensor:
    """tanh(αx) log(1 + e^x), smooth of every order (ref. 5).

    >>> tanhsoft_1(torch.tensor([-1.0, 0.0, 1.0]))
    tensor([-0.2197,  0.0000,  0.9211])
    """
    return TANHSOFT_1(x, alpha)


@_overridable
def tanhsoft_2(x: Tensor, beta: float = 0.6, gamma: float = 1.0) -> Tensor:
    """x tanh(βe^(γx)), smooth of every order (ref. 5).

    >>> tanhsoft_2(torch.tensor([-1.0, 0.0, 1.0]))
    tensor([-0.2172,  0.0000,  0.9262])
    """
    return TANHSOFT_2(x, beta, gamma)


@_overridable
def tanhsoft_3(x: Tensor, alpha: float = 0.85) -> Tensor:
    """log(1 + e^x tanh(αx)), smooth of every order (ref. 5).

    >>> tanhsoft_3(torch.tensor([-1.0, 0.0, 1.0]))
    tensor([-0.2933,  0.0000,  1.0573])
    """
    return TANHSOFT_3(x, alpha)


@_overridable
def serf(x: Tensor) -> Tensor:
    """x erf(log(1 + e^x)), smooth of every order (Nag and Bhattacharyya 2021).

    >>> serf(torch.tensor([-1.0, 0.0, 1.0]))
    tensor([-0.3422,  0.0000,  0.9367])
    """
    return SERF(x)


@_overridable
def logish(x: Tensor) -> Tensor:
    """x log(1 + σ(x)), smooth of every order (Zhu et al. 2021).

    >>> logish(torch.tensor([-1.0, 0.0, 1.0]))
    tensor([-0.2382,  0.0000,  0.5487])
    """
    return LOGISH(x)


@_overridable
def pssilu(x: Tensor, alpha: Number = 1.0, beta: Number = 0.0) -> Tensor:
    """x (σ(αx) - β) / (1 - β), smooth of every order (Dai, Mahloujifar and Mittal 2021); both may be learned.

    >>> pssilu(torch.tensor([-1.0, 0.0, 1.0]), beta=0.1)
    tensor([-0.1877,  0.0000,  0.7012])
    """
    return PSSILU(x, alpha, beta)


@_overridable
def hermite(x: Tensor, coefficients: Tensor | None = None, *, terms: float = 4) -> Tensor:
    """Σ aₙ hₙ(x) over normalised Hermite polynomials, smooth of every order (ref. 35); aₙ may be learned.

    Without ``coefficients``, a tensor whose last dimension counts n, the first ``terms`` of ReLU's are used.

    >>> hermite(torch.tensor([-1.0, 0.0, 1.0]))
    tensor([-0.1011,  0.1995,  0.8989])
    """
    if coefficients is None:
        return HERMITE(x, *polynomials.relu_coefficients(int(terms)))
    return HERMITE(x, *coefficients.unbind(-1))
