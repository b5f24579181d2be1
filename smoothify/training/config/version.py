"""Configs and checkpoints of a newer smoothify are refused, not misread."""

from __future__ import annotations

import re

from smoothify import __version__
from smoothify.errors import ConfigError


def refuse_newer(version: str, where: str) -> None:
    """Refuse what a newer smoothify wrote.

    >>> refuse_newer("99.0.0", "runs/train/config.yaml")
    Traceback (most recent call last):
    smoothify.errors.ConfigError: runs/train/config.yaml is of smoothify 99.0.0, newer than the installed ...
    """
    if _numbers(version) > _numbers(__version__):
        raise ConfigError(
            f"{where} is of smoothify {version}, newer than the installed {__version__}; upgrade smoothify"
        )


def _numbers(version: str) -> tuple[int, ...]:
    if re.fullmatch(r"\d+\.\d+\.\d+", version) is None:
        raise ConfigError(f"smoothify={version!r} is no version of smoothify; it is {__version__} now")
    return tuple(int(part) for part in version.split("."))
