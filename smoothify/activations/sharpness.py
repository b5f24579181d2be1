"""Between smooth and ReLU: activations that tend to ReLU as one parameter, their sharpness, grows."""

from __future__ import annotations

import math

from torch import nn

from smoothify.activations.catalogue import describe, parse
from smoothify.activations.modules import Pointwise


def sharpness(module: nn.Module) -> float | None:
    """How near to ReLU a module is: β of swish, α of parametric_softplus; None for any other.

    >>> from smoothify.activations import create
    >>> sharpness(create("swish(beta=3)")), sharpness(nn.GELU())
    (3.0, None)
    """
    name = _parameter(module)
    return None if name is None else float(getattr(module, name))


def set_sharpness_(module: nn.Module, value: float) -> bool:
    """Set the sharpness of one module in place; returns False, and does nothing, where it has none.

    The greatest difference to ReLU is 0.2785 / β for swish and log(2) / α for parametric_softplus, so that a
    schedule is best geometric. ``describe`` and a saved spec follow. Raises ValueError for a ``value`` that
    is not positive and finite.

    >>> from smoothify.activations import create, describe
    >>> module = create("parametric_softplus(alpha=1000)")
    >>> set_sharpness_(module, 10), describe(module)
    (True, 'parametric_softplus')
    """
    if not value > 0 or not math.isfinite(value):
        raise ValueError(f"sharpness {value!r} is not positive and finite; give a number above 0")
    name = _parameter(module)
    if name is None:
        return False
    setattr(module, name, float(value))
    return True


def _parameter(module: nn.Module) -> str | None:
    spec = describe(module) if isinstance(module, Pointwise) else None
    return parse(spec)[0].sharpness if spec is not None else None
