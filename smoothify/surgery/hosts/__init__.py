"""Tables about the host libraries, as names: nothing here imports timm, transformers or torchvision."""

from __future__ import annotations

from smoothify.surgery.hosts import timm, torchvision, transformers
from smoothify.surgery.rules.base import Rule, recognise, register_rule
from smoothify.surgery.rules.counterparts import rectified

OUTPUT_CONSTRAINTS = torchvision.OUTPUT_CONSTRAINTS


def register() -> None:
    """Register the rules and names of every host."""
    for function, order in timm.EXTRA_SMOOTH.items():
        register_rule(Rule(function, rectified, order))
    for host in (timm, transformers):
        for function, names in host.MODULES.items():
            recognise(function, modules=names)
        for name, (order, function) in host.SMOOTH.items():
            register_or_recognise(function, order, name)
    for function, names in timm.FUNCTIONS.items():
        recognise(function, functions=names)


def register_or_recognise(function: str, order: float, name: str) -> None:
    """Register a smooth function under its first class, and its further classes as the same function."""
    try:
        register_rule(Rule(function, rectified, order, modules=(name,)))
    except ValueError:
        recognise(function, modules=(name,))
