"""Between smooth and ReLU: activations that tend to ReLU as one parameter, their sharpness, grows."""

from __future__ import annotations

import math

from torch import nn

from smoothify.activations.catalogue import describe, parse
from smoothify.activations.modules import Pointwise
from smoothify.activations.nested import with_slots
from smoothify.errors import UnsupportedModelError

NEARLY_RELU = 1000.0  # the sharpness that annealing starts from: within 0.0007 of ReLU for softplus, 0.0003 for swish


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

    The greatest difference to ReLU is 0.2785 / β for swish and log(2) / α for parametric_softplus, so that a schedule
    is best geometric. ``describe`` and a saved spec follow.

    Args:
        module: an activation.
        value: β or α.

    Raises:
        ValueError: a value that is not positive and finite.

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


def anneal_(model: nn.Module, sharpness: float) -> int:
    """Set the sharpness of every site of a model that has one, converted function calls included.

    A pretrained ReLU network is converted to ``"parametric_softplus(alpha=1000)"`` or ``"swish(beta=1000)"``, where it
    still computes nearly what it did, and moved to the smoothness that is wanted while it trains on, step by step
    (`geometric`).

    Args:
        model: changed in place.
        sharpness: β of swish, α of parametric_softplus; > 0.

    Returns:
        How many sites were set.

    Raises:
        UnsupportedModelError: no site of the model has a sharpness.
        ValueError: a ``sharpness`` that is not positive and finite.

    >>> from smoothify.activations import create
    >>> model = nn.Sequential(nn.Linear(2, 2), create("swish(beta=1000)"))
    >>> anneal_(model, 1.0), model[1]
    (1, Swish(beta=1))
    """
    count = sum([set_sharpness_(module, sharpness) for module in with_slots(model)])
    if not count:
        raise UnsupportedModelError(
            f"no activation of {type(model).__name__} has a sharpness; convert it to "
            "'parametric_softplus(alpha=1000)' or 'swish(beta=1000)' first"
        )
    return count


def geometric(progress: float, *, start: float = 1000.0, end: float = 10.0) -> float:
    """Return the sharpness after a share of a schedule: equal factors in equal times.

    Args:
        progress: the share, in [0, 1].
        start: the sharpness at 0.
        end: the sharpness at 1.

    >>> [round(geometric(share), 6) for share in (0, 0.5, 1)]
    [1000.0, 100.0, 10.0]
    """
    return float(start * (end / start) ** min(max(progress, 0.0), 1.0))


def _parameter(module: nn.Module) -> str | None:
    spec = describe(module) if isinstance(module, Pointwise) else None
    return parse(spec)[0].sharpness if spec is not None else None
