"""The checks that every part of the config shares."""

from __future__ import annotations

import math
from collections.abc import Iterable

from smoothify.errors import ConfigError


def at_least(name: str, value: float, least: float) -> None:
    """Refuse a value below the least that makes sense, and no finite number at all, by the field's name."""
    if not least <= value < math.inf:
        finite = "" if value < least else ", and finite"
        raise ConfigError(f"{name}={value}: at least {least} is needed{finite}")


def refuse_unread(config: object, group: str, choice: str, read_by: str, names: Iterable[str]) -> None:
    """Refuse settings that only one choice reads, where another one was made and they are not as they come.

    Args:
        config: a part of the config, a dataclass.
        group: what it is called.
        choice: the field that says which of its other fields are read.
        read_by: the value of that field with which these are.
        names: of the fields.
    """
    made = getattr(config, choice)
    for name in names if made != read_by else ():
        if getattr(config, name) != getattr(type(config), name):
            raise ConfigError(f"{group}.{name} is of {group}.{choice} {read_by}, not of {made}; leave it out")
