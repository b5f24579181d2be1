"""A config as the flat and plain values that files hold, and that two runs are compared by."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from smoothify.training.config import Config

# where a run is kept and sent says nothing about the run, and may name a person or a machine
NOT_PART_OF_THE_RUN = ("output", "push")


def recipe(config: Config) -> dict[str, Any]:
    """Return the config without what only its own machine is concerned with."""
    settings: dict[str, Any] = plain(dataclasses.asdict(config))
    return {name: value for name, value in settings.items() if name not in NOT_PART_OF_THE_RUN}


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings under dotted names.

    >>> flat({"lr": 0.1, "data": {"workers": 2}})
    {'lr': 0.1, 'data.workers': 2}
    """
    found: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = value
    return found


def plain(value: Any) -> Any:
    """Return a config value as what YAML and JSON hold: tuples as lists."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value
