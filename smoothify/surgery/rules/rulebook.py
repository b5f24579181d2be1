"""The rules for what torch itself offers."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smoothify.surgery.rules import counterparts
from smoothify.surgery.rules.base import Rule
from smoothify.surgery.sites import Found

GATES = frozenset({"sigmoid", "tanh", "softsign", "tanhshrink", "logsigmoid"})


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


def _built(cls: type[nn.Module], *, with_inplace: bool = True) -> Any:
    def original(found: Found) -> nn.Module:
        extra = {"inplace": found.inplace} if with_inplace else {}
        return cls(**found.arguments, **extra)

    return original


def _prelu(found: Found) -> nn.Module:
    weight = found.parameters.get("weight")
    if weight is None:
        return Slope()
    itself = nn.PReLU(weight.numel())
    del itself.weight
    if isinstance(weight, nn.Parameter):  # else it is parametrized, and stays what it is
        itself.weight = weight
    return itself


def _softplus(found: Found) -> float:
    # Above the threshold torch returns x, log(1 + e^(-threshold)) / β less: a jump, within rounding from 20 on.
    return math.inf if found.arguments["threshold"] >= 20 else 0


def _smooth(function: str, cls: type[nn.Module], *functions: Any, order: Any = math.inf, arguments: Any = ()) -> Rule:
    """Return the rule of a function that is smooth: recognised, and changed only on request."""
    return Rule(function, counterparts.rectified, order, (cls,), functions, arguments, gate=function in GATES)


TORCH: tuple[Rule, ...] = (
    Rule(
        "relu",
        counterparts.rectified,
        modules=(nn.ReLU,),
        functions=(F.relu, F.relu_, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_),
        rectifier=True,
        original=_built(nn.ReLU),
    ),
    Rule(
        "relu6",
        counterparts.rectified,
        modules=(nn.ReLU6,),
        functions=(F.relu6,),
        rectifier=True,
        original=_built(nn.ReLU6),
    ),
    Rule(
        "threshold",
        counterparts.threshold,
        modules=(nn.Threshold,),
        functions=(F.threshold, torch.threshold, torch.threshold_),
        arguments=(("threshold", None), ("value", None)),
        rectifier=True,
        original=_built(nn.Threshold),
    ),
    Rule(
        "clamp",
        counterparts.clamp,
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
        counterparts.leaky,
        modules=(nn.LeakyReLU,),
        functions=(F.leaky_relu, F.leaky_relu_),
        arguments=(("negative_slope", 0.01),),
        rectifier=True,
        original=_built(nn.LeakyReLU),
    ),
    Rule(
        "prelu",
        counterparts.prelu,
        modules=(nn.PReLU,),
        functions=(F.prelu, torch.prelu, Tensor.prelu),
        rectifier=True,
        original=_prelu,
    ),
    Rule(
        "rrelu",
        counterparts.rrelu,
        modules=(nn.RReLU,),
        functions=(F.rrelu, F.rrelu_, torch.rrelu, torch.rrelu_),
        arguments=(("lower", 1 / 8), ("upper", 1 / 3)),
        rectifier=True,
        original=_built(nn.RReLU),
    ),
    Rule(
        "elu",
        counterparts.elu,
        order=lambda found: 1 if found.arguments["alpha"] == 1 else 0,
        modules=(nn.ELU,),
        functions=(F.elu, F.elu_),
        arguments=(("alpha", 1.0),),
        rectifier=True,
        original=_built(nn.ELU),
    ),
    Rule(
        "selu",
        counterparts.selu,
        modules=(nn.SELU,),
        functions=(F.selu, F.selu_, torch.selu, torch.selu_),
        rectifier=True,
        original=_built(nn.SELU),
    ),
    Rule(
        "hardswish",
        counterparts.counterpart("silu"),
        modules=(nn.Hardswish,),
        functions=(F.hardswish,),
        original=_built(nn.Hardswish),
    ),
    Rule(
        "hardsigmoid",
        counterparts.counterpart("sigmoid"),
        modules=(nn.Hardsigmoid,),
        functions=(F.hardsigmoid,),
        original=_built(nn.Hardsigmoid),
    ),
    Rule(
        "hardtanh",
        counterparts.hardtanh,
        modules=(nn.Hardtanh,),
        functions=(F.hardtanh, F.hardtanh_),
        arguments=(("min_val", -1.0), ("max_val", 1.0)),
        original=_built(nn.Hardtanh),
    ),
    Rule("hard_mish", counterparts.counterpart("mish")),
    Rule(
        "maximum",
        counterparts.maximum,
        functions=(torch.maximum, Tensor.maximum, torch.max, Tensor.max, torch.fmax, Tensor.fmax),
        rectifier=True,
        original=lambda found: Maximum(),
    ),
    Rule(
        "hardshrink",
        counterparts.kept,
        modules=(nn.Hardshrink,),
        functions=(F.hardshrink,),
        arguments=(("lambd", 0.5),),
    ),
    Rule(
        "softshrink",
        counterparts.kept,
        modules=(nn.Softshrink,),
        functions=(F.softshrink,),
        arguments=(("lambd", 0.5),),
    ),
    _smooth("silu", nn.SiLU, F.silu),
    _smooth("mish", nn.Mish, F.mish),
    _smooth("sigmoid", nn.Sigmoid, F.sigmoid, torch.sigmoid, Tensor.sigmoid, torch.sigmoid_, Tensor.sigmoid_),
    _smooth("tanh", nn.Tanh, F.tanh, torch.tanh, Tensor.tanh, torch.tanh_, Tensor.tanh_),
    _smooth("gelu", nn.GELU, F.gelu, arguments=(("approximate", "none"),)),
    _smooth("celu", nn.CELU, F.celu, F.celu_, order=1, arguments=(("alpha", 1.0),)),
    _smooth("softplus", nn.Softplus, F.softplus, order=_softplus, arguments=(("beta", 1.0), ("threshold", 20.0))),
    _smooth("softsign", nn.Softsign, F.softsign, order=1),
    _smooth("tanhshrink", nn.Tanhshrink, F.tanhshrink),
    _smooth("logsigmoid", nn.LogSigmoid, F.logsigmoid),
)
