"""The rules for what torch itself offers (the table of rules in the documentation, row by row)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smoothify import activations
from smoothify.surgery.composites import (
    FunctionalPReLU,
    Leaky,
    ParametricLeaky,
    RandomLeaky,
    Scaled,
    Shifted,
)
from smoothify.surgery.rules import Becomes, Rule, Target
from smoothify.surgery.sites import Found

GATES = frozenset({"sigmoid", "tanh", "softsign", "tanhshrink", "logsigmoid"})
SELU_ALPHA = 1.6732632423543772
SELU_SCALE = 1.0507009873554805


class Clamp(nn.Module):
    """min(max(x, low), high), as a module, with torch's own gradient at the bounds."""

    def __init__(self, minimum: float | None, maximum: float | None, inplace: bool = False) -> None:
        super().__init__()
        self.minimum, self.maximum, self.inplace = minimum, maximum, inplace

    def forward(self, x: Tensor) -> Tensor:
        """Map a tensor of any shape to one of the same shape."""
        clamp = x.clamp_ if self.inplace else x.clamp
        return clamp(self.minimum, self.maximum)


class Maximum(nn.Module):
    """max(x, τ), called with both tensors."""

    def forward(self, x: Tensor, threshold: Tensor) -> Tensor:
        """Map (…) and a threshold broadcastable against it to (…)."""
        return torch.maximum(x, threshold)


class Slope(nn.Module):
    """``F.prelu``, called with x and the slope."""

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        """Map (batch, channels, …) and a weight (1,) or (channels,) to the input's shape."""
        return F.prelu(x, weight)


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


def _threshold(found: Found, to: Target) -> nn.Module | None:
    at_zero = found.arguments["threshold"] == 0 and found.arguments["value"] == 0
    return rectified(found, to) if at_zero else None


def _clamp(found: Found, to: Target) -> nn.Module | None:
    return rectified(found, to) if is_rectifying_clamp(found) else None


def is_rectifying_clamp(found: Found) -> bool:
    """Whether a clamp is a ReLU (min=0) or a ReLU6 (min=0, max=6); any other one is no activation."""
    return found.arguments.get("min") == 0 and found.arguments.get("max") in (None, 6)


def _leaky(found: Found, to: Target) -> nn.Module | None:
    inner = to.make(found)
    return inner and Leaky(inner, float(found.arguments["negative_slope"]))


def _prelu(found: Found, to: Target) -> nn.Module | None:
    inner = to.make(found)
    if inner is None:
        return None
    weight = found.parameters.get("weight")
    return FunctionalPReLU(inner) if weight is None else ParametricLeaky(inner, weight)


def _rrelu(found: Found, to: Target) -> nn.Module | None:
    inner = to.make(found)
    return inner and RandomLeaky(inner, float(found.arguments["lower"]), float(found.arguments["upper"]))


def _elu(found: Found, to: Target) -> nn.Module | None:
    if to.is_celu("elu"):
        return nn.CELU(found.arguments["alpha"], inplace=found.inplace)
    return to.make(found, inplace=found.inplace)


def _selu(found: Found, to: Target) -> nn.Module | None:
    if to.is_celu("selu"):
        return Scaled(nn.CELU(SELU_ALPHA), SELU_SCALE)
    return to.make(found, inplace=found.inplace)


def _hardtanh(found: Found, to: Target) -> nn.Module | None:
    bounds = found.arguments["min_val"], found.arguments["max_val"]
    if bounds == (0, 6):
        return rectified(found, to)
    return counterpart("tanh")(found, to) if bounds == (-1, 1) else None


def _maximum(found: Found, to: Target) -> nn.Module | None:
    inner = to.make(found)
    return inner and Shifted(inner)


def _kept(found: Found, to: Target) -> nn.Module | None:
    """Only where the caller names the function: nothing that is as general as this has a counterpart."""
    return to.make(found, inplace=found.inplace) if to.names(found.function) else None


def _built(cls: type[nn.Module], *, with_inplace: bool = True) -> Any:
    def original(found: Found) -> nn.Module:
        extra = {"inplace": found.inplace} if with_inplace else {}
        return cls(**found.arguments, **extra)

    return original


def _smooth(function: str, cls: type[nn.Module], *functions: Any, order: Any = math.inf, arguments: Any = ()) -> Rule:
    """Return the rule of a function that is smooth: recognised, and changed only on request."""
    return Rule(function, rectified, order, (cls,), functions, arguments, gate=function in GATES)


TORCH: tuple[Rule, ...] = (
    Rule(
        "relu",
        rectified,
        modules=(nn.ReLU,),
        functions=(F.relu, F.relu_, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_),
        rectifier=True,
        original=_built(nn.ReLU),
    ),
    Rule(
        "relu6",
        rectified,
        modules=(nn.ReLU6,),
        functions=(F.relu6,),
        rectifier=True,
        original=_built(nn.ReLU6),
    ),
    Rule(
        "threshold",
        _threshold,
        modules=(nn.Threshold,),
        functions=(F.threshold, torch.threshold, torch.threshold_),
        arguments=(("threshold", None), ("value", None)),
        rectifier=True,
        original=_built(nn.Threshold),
    ),
    Rule(
        "clamp",
        _clamp,
        functions=(
            torch.clamp,
            torch.clamp_,
            torch.clip,
            torch.clip_,
            Tensor.clamp,
            Tensor.clamp_,
            Tensor.clip,
            Tensor.clip_,
            torch.clamp_min,
            torch.clamp_min_,
            Tensor.clamp_min,
            Tensor.clamp_min_,
        ),
        arguments=(("min", None), ("max", None)),
        rectifier=True,
        original=lambda found: Clamp(found.arguments["min"], found.arguments["max"], found.inplace),
    ),
    Rule(
        "leaky_relu",
        _leaky,
        modules=(nn.LeakyReLU,),
        functions=(F.leaky_relu, F.leaky_relu_),
        arguments=(("negative_slope", 0.01),),
        rectifier=True,
        original=_built(nn.LeakyReLU),
    ),
    Rule(
        "prelu",
        _prelu,
        modules=(nn.PReLU,),
        functions=(F.prelu, torch.prelu, Tensor.prelu),
        rectifier=True,
        original=lambda found: Slope(),
    ),
    Rule(
        "rrelu",
        _rrelu,
        modules=(nn.RReLU,),
        functions=(F.rrelu, F.rrelu_, torch.rrelu, torch.rrelu_),
        arguments=(("lower", 1 / 8), ("upper", 1 / 3)),
        rectifier=True,
        original=_built(nn.RReLU),
    ),
    Rule(
        "elu",
        _elu,
        order=lambda found: 1 if found.arguments["alpha"] == 1 else 0,
        modules=(nn.ELU,),
        functions=(F.elu, F.elu_),
        arguments=(("alpha", 1.0),),
        rectifier=True,
        original=_built(nn.ELU),
    ),
    Rule(
        "selu",
        _selu,
        modules=(nn.SELU,),
        functions=(F.selu, F.selu_, torch.selu, torch.selu_),
        rectifier=True,
        original=_built(nn.SELU),
    ),
    Rule(
        "hardswish",
        counterpart("silu"),
        modules=(nn.Hardswish,),
        functions=(F.hardswish,),
        original=_built(nn.Hardswish),
    ),
    Rule(
        "hardsigmoid",
        counterpart("sigmoid"),
        modules=(nn.Hardsigmoid,),
        functions=(F.hardsigmoid,),
        original=_built(nn.Hardsigmoid),
    ),
    Rule(
        "hardtanh",
        _hardtanh,
        modules=(nn.Hardtanh,),
        functions=(F.hardtanh, F.hardtanh_),
        arguments=(("min_val", -1.0), ("max_val", 1.0)),
        original=_built(nn.Hardtanh),
    ),
    Rule("hard_mish", counterpart("mish")),
    Rule(
        "maximum",
        _maximum,
        functions=(torch.maximum, Tensor.maximum, torch.max, Tensor.max),
        rectifier=True,
        original=lambda found: Maximum(),
    ),
    Rule("hardshrink", _kept, modules=(nn.Hardshrink,), functions=(F.hardshrink,), arguments=(("lambd", 0.5),)),
    Rule("softshrink", _kept, modules=(nn.Softshrink,), functions=(F.softshrink,), arguments=(("lambd", 0.5),)),
    _smooth("silu", nn.SiLU, F.silu),
    _smooth("mish", nn.Mish, F.mish),
    _smooth("sigmoid", nn.Sigmoid, F.sigmoid, torch.sigmoid, Tensor.sigmoid, torch.sigmoid_, Tensor.sigmoid_),
    _smooth("tanh", nn.Tanh, F.tanh, torch.tanh, Tensor.tanh, torch.tanh_, Tensor.tanh_),
    _smooth("gelu", nn.GELU, F.gelu, arguments=(("approximate", "none"),)),
    _smooth("celu", nn.CELU, F.celu, F.celu_, order=1, arguments=(("alpha", 1.0),)),
    _smooth("softplus", nn.Softplus, F.softplus, arguments=(("beta", 1.0), ("threshold", 20.0))),
    _smooth("softsign", nn.Softsign, F.softsign, order=1),
    _smooth("tanhshrink", nn.Tanhshrink, F.tanhshrink),
    _smooth("logsigmoid", nn.LogSigmoid, F.logsigmoid),
)
