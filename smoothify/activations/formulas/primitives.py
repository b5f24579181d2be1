"""Logarithms and exponentials that a fused CPU loop can afford.

Inside a compiled loop a polynomial costs little, while a library call for log1p costs more than all the rest, and
a division as much as ten multiplications. Outside of one it is the other way round. So: torch's functions, except
for float32 on a CPU under ``torch.compile``, where the same functions are spelled out, to the same accuracy. The
polynomials interpolate at Chebyshev nodes; they were computed in 40 digits.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

# log1p(e) / e on [0, 1], to 5e-9.
_LOG1P = (
    0.999999994656292, -0.49999892648063277, 0.3332971049891775, -0.24951616262872076, 0.19663274257204805,
    -0.15269667074363288, 0.10543623795419527, -0.05637361283010733, 0.019542527261014103,
    -0.00317605701843196,
)  # fmt: skip

# (f - log1p(f)) / f² on [0, 1], to 1e-8.
_LOG1P_REST = (
    0.4999999952222377, -0.3333323734621399, 0.24996759908263924, -0.19956707952251837, 0.16365152869205535,
    -0.13033364238242814, 0.0913941377401492, -0.049309973434549695, 0.01718426698244871,
    -0.00280164199280335,
)  # fmt: skip

# erf(s) / s as a polynomial in s² on [0, 1/4], to 2e-9.
_ERF = (
    1.1283791656017914, -0.37612609007469805, 0.11282831428465862, -0.026757732735015517,
    0.004719082567218814,
)  # fmt: skip

_EXPONENT_BITS = 0x7F800000


def is_spelled_out(x: Tensor) -> bool:
    """Whether ``x`` is inside a loop where library calls are what costs."""
    return torch.compiler.is_dynamo_compiling() and x.dtype == torch.float32 and x.device.type == "cpu"


def log1p_of_unit(e: Tensor) -> Tensor:
    """log(1 + e) for e in [0, 1]."""
    return e * _horner(e, _LOG1P) if is_spelled_out(e) else e.log1p()


def erf_of_positive(s: Tensor) -> Tensor:
    """erf(s) for s ≥ 0, relatively accurate down to 0, which the fused loops' own erf is not."""
    if not is_spelled_out(s):
        return s.erf()
    low = s.clamp(max=0.5)
    return low * _horner(low * low, _ERF) * (s.clamp(min=0.5).erf() * (1 / math.erf(0.5)))


def split_log1p(u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """log(1 + u) for float32 u ≥ 0 as ``multiple + f - rest``; f is in [0, 1), ``rest`` is f - log1p(f).

    With 1 + u = 2ᵉ(1 + f), ``multiple`` is e log 2. For u < 1, f is u itself and ``rest`` is u - log1p(u) to
    full relative accuracy, which is what an expression needs in which u cancels.
    """
    held = u.clamp(max=1e30)
    bits = (1 + held).view(torch.int32)
    exponent = bits & _EXPONENT_BITS
    power = exponent.view(torch.float32)
    inverse_power = (0x7F000000 - exponent).view(torch.float32)
    f = (held - (power - 1)) * inverse_power
    multiple = ((bits >> 23) - 127).to(torch.float32) * math.log(2)
    return multiple, f, f * f * _horner(f, _LOG1P_REST)


def _horner(x: Tensor, coefficients: tuple[float, ...]) -> Tensor:
    total = x * coefficients[-1] + coefficients[-2]
    for coefficient in coefficients[-3::-1]:
        total = total * x + coefficient
    return total
