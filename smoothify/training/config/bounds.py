"""The checks that every part of the config shares."""

from __future__ import annotations

import math

from smoothify.errors import ConfigError


def at_least(name: str, value: float, least: float) -> None:
    """Refuse a value below the least that makes sense, and no finite number at all, by the field's name."""
    if not least <= value < math.inf:
        finite = "" if value < least else ", and finite"
        raise ConfigError(f"{name}={value}: at least {least} is needed{finite}")
