"""The checks that every part of the config shares."""

from __future__ import annotations

from smoothify.errors import ConfigError


def at_least(name: str, value: float, least: float) -> None:
    """Refuse a value below the least that makes sense, by the field's name."""
    if value < least:
        raise ConfigError(f"{name}={value}: at least {least} is needed")
