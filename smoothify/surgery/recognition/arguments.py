"""A call of a function with other arguments than those that its activation was built for."""

from __future__ import annotations

from typing import Any

from torch import nn

from smoothify.surgery.recognition.calls import Call
from smoothify.surgery.recognition.modules import is_smooth
from smoothify.surgery.rules.base import spelled
from smoothify.surgery.rules.composites import InPlace, Leaky, RandomLeaky
from smoothify.surgery.sites import Found


def operands_for(activation: nn.Module, word: str, call: Call) -> tuple[Any, ...] | None:
    """Return what an activation is called with in the place of a call; None where it does not stand for that.

    ``word`` spells what the activation was built for. A slope may be drawn, learned as a number, or set anew: what
    smooths one slope smooths any.

    >>> call = Call(Found("leaky_relu", {"negative_slope": 0.3}), ("x",))
    >>> operands_for(Leaky(nn.SiLU(), 0.2), "leaky_relu(negative_slope=0.2)", call)
    ('x', 0.3)
    """
    if spelled(call.found) == word:
        return call.operands
    if call.found.function != word.partition("(")[0] or is_smooth(call.found):
        return None
    others = _others(activation, call.found)
    return None if others is None else (*call.operands, *others)


def _others(activation: nn.Module, found: Found) -> tuple[float, ...] | None:
    inner = activation.activation if isinstance(activation, InPlace) else activation
    if isinstance(inner, Leaky):
        return (float(found.arguments["negative_slope"]),)
    if isinstance(inner, RandomLeaky):
        return float(found.arguments["lower"]), float(found.arguments["upper"])
    # Of ELUs of any α the counterpart is one, but where it is an ELU itself and has an α of its own.
    return () if found.function == "elu" and not isinstance(inner, (nn.ELU, nn.CELU)) else None
