"""The threat model: how far an adversary may move an image."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from smoothify.attacks.norms import NORMS, Norm
from smoothify.errors import ConfigError, UnknownNameError
from smoothify.protocol import longest_step, show

_FRACTION = re.compile(r"\s*([0-9.]+)\s*/\s*255\s*")


def parse_epsilon(value: float | str, name: str = "epsilon", *, largest: float = 1.0) -> float:
    """Return an epsilon or a step size in [0, 1] pixel units.

    Args:
        value: a number in [0, 1] units, or text: ``"0.1"`` or ``"8/255"``.
        name: what it is called in an error.
        largest: the largest that makes sense; an L2 distance may exceed 1.

    Raises:
        ConfigError: not a number, negative, or above the largest (as 8 is, meant as "8/255").

    >>> parse_epsilon("8/255") == 8 / 255, parse_epsilon(0.1)
    (True, 0.1)
    >>> parse_epsilon(8)
    Traceback (most recent call last):
    smoothify.errors.ConfigError: epsilon=8 is not in [0, 1] pixel units; did you mean '8/255'?
    """
    try:
        fraction = _FRACTION.fullmatch(value) if isinstance(value, str) else None
        number = float(fraction[1]) / 255 if fraction else float(value)
    except (TypeError, ValueError):
        raise ConfigError(f"{name}={value!r} is not a number in [0, 1] pixel units; write 0.1 or '8/255'") from None
    if not math.isfinite(number) or number < 0:
        raise ConfigError(f"{name}={value} is not in [0, 1] pixel units; write 0.1 or '8/255'")
    if number > largest:
        hint = f"; did you mean '{number:g}/255'?" if not fraction and number <= 255 else "; write 0.1 or '8/255'"
        raise ConfigError(f"{name}={number:g} is not in [0, 1] pixel units{hint}")
    return number


@dataclass(frozen=True)
class ThreatModel:
    """A norm and an epsilon: the set of images that an adversary may replace an image by.

    Args:
        norm: ``"linf"`` or ``"l2"``.
        epsilon: the radius, in [0, 1] pixel units; ``"8/255"`` is understood. An L2 radius may exceed 1.

    Raises:
        UnknownNameError: an unknown norm.
        ConfigError: an epsilon outside its range.

    >>> print(ThreatModel("linf", "4/255"))
    Linf, epsilon 4/255
    """

    norm: str = "linf"
    epsilon: float | str = 0.1

    def __post_init__(self) -> None:
        if self.norm not in NORMS:
            raise UnknownNameError("norm", self.norm, NORMS)
        object.__setattr__(self, "epsilon", parse_epsilon(self.epsilon, largest=self.longest))

    @property
    def longest(self) -> float:
        """The longest step that can make sense, and so the largest epsilon: `smoothify.protocol.longest_step`."""
        return longest_step(self.norm)

    @property
    def radius(self) -> float:
        """The epsilon as a number, in [0, 1] pixel units."""
        return float(self.epsilon)

    @property
    def ball(self) -> Norm:
        """The norm's own start, direction and projection."""
        return NORMS[self.norm]

    def __str__(self) -> str:
        return f"{self.norm.capitalize()}, epsilon {show(self.radius, self.norm)}"
