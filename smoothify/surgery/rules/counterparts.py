"""What becomes of each of torch's activations (the table of rules in the documentation, row by row)."""

from __future__ import annotations

import math

from torch import Tensor, nn

from smoothify import activations
from smoothify.surgery.rules.base import Becomes, Target
from smoothify.surgery.rules.composites import (
    FunctionalPReLU,
    Leaky,
    ParametricLeaky,
    RandomLeaky,
    Scaled,
    Shifted,
)
from smoothify.surgery.sites import Found

_SELU_ALPHA = 1.6732632423543772
_SELU_SCALE = 1.0507009873554805


def rectified(found: Found, to: Target) -> nn.Module | None:
    """T in the place of a rectifier."""
    return to.make(found, inplace=found.inplace)


def counterpart(spec: str) -> Becomes:
    """Return the rule of a hard function: what it approximates, unless the caller names another."""

    def becomes(found: Found, to: Target) -> nn.Module | None:
        if to.names(found.function):
            return to.make(found, inplace=found.inplace)
        return activations.create(spec, inplace=found.inplace)

    return becomes


def threshold(found: Found, to: Target) -> nn.Module | None:
    """A threshold at zero is a ReLU."""
    at_zero = found.arguments["threshold"] == 0 and found.arguments["value"] == 0
    return rectified(found, to) if at_zero else None


def clamp(found: Found, to: Target) -> nn.Module | None:
    """T in the place of a clamp that is a rectifier."""
    return rectified(found, to) if is_rectifying_clamp(found) else None


def is_rectifying_clamp(found: Found) -> bool:
    """Whether a clamp is a ReLU (min=0) or a ReLU6 (min=0, max=6); any other one is no activation.

    Bounds that are tensors have no value on a fake one: such a clamp is listed among the other operations.
    """
    bounds = found.arguments.get("min"), found.arguments.get("max")
    return not any(isinstance(bound, Tensor) for bound in bounds) and bounds in ((0, None), (0, math.inf), (0, 6))


def leaky(found: Found, to: Target) -> nn.Module | None:
    """a·x + (1 − a)·T(x)."""
    inner = to.make(found)
    return inner and Leaky(inner, float(found.arguments["negative_slope"]))


def prelu(found: Found, to: Target) -> nn.Module | None:
    """a·x + (1 − a)·T(x) with the learned a, under its own key."""
    inner = to.make(found)
    if inner is None:
        return None
    weight = found.parameters.get("weight")
    return FunctionalPReLU(inner) if weight is None else ParametricLeaky(inner, weight)


def rrelu(found: Found, to: Target) -> nn.Module | None:
    """a·x + (1 − a)·T(x) with a drawn as before."""
    inner = to.make(found)
    return inner and RandomLeaky(inner, float(found.arguments["lower"]), float(found.arguments["upper"]))


def elu(found: Found, to: Target) -> nn.Module | None:
    """T; CELU of the same α where that is what the caller names (the paper's §4.3)."""
    if to.is_celu("elu"):
        return nn.CELU(found.arguments["alpha"], inplace=found.inplace)
    return to.make(found, inplace=found.inplace)


def selu(found: Found, to: Target) -> nn.Module | None:
    """T; a scaled CELU where that is what the caller names."""
    if to.is_celu("selu"):
        return Scaled(nn.CELU(_SELU_ALPHA), _SELU_SCALE)
    return to.make(found, inplace=found.inplace)


def hardtanh(found: Found, to: Target) -> nn.Module | None:
    """T between 0 and 6, tanh between −1 and 1; other bounds are a constraint, not an activation."""
    bounds = found.arguments["min_val"], found.arguments["max_val"]
    if bounds == (0, 6):
        return rectified(found, to)
    return counterpart("tanh")(found, to) if bounds == (-1, 1) else None


def maximum(found: Found, to: Target) -> nn.Module | None:
    """τ + T(x − τ), which is what max(x, τ) approximates."""
    inner = to.make(found)
    return inner and Shifted(inner)


def kept(found: Found, to: Target) -> nn.Module | None:
    """T only where the caller names the function: nothing that is as general as this has a counterpart."""
    return to.make(found, inplace=found.inplace) if to.names(found.function) else None
