"""The record of what was converted, which the hub stores and re-applies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from smoothify.surgery.rules import Target
from smoothify.surgery.scope import Scope
from smoothify.surgery.sites import Site

ATTRIBUTE = "_smoothify_conversions"


@dataclass(frozen=True, slots=True)
class Conversion:
    """One call of ``convert_``: what was asked, and which sites became what."""

    to: str | dict[str, str] | None
    replace: str | list[str]
    only: list[str] | None
    exclude: list[str] | None
    strict: bool
    sites: dict[str, str]

    @classmethod
    def of(cls, target: Target, scope: Scope, strict: bool, sites: Iterable[Site]) -> Conversion:
        """Describe a conversion that is being applied."""
        return cls(
            to=target.recorded(),
            replace=scope.replace if isinstance(scope.replace, str) else sorted(scope.replace),
            only=list(scope.only) or None,
            exclude=list(scope.exclude) or None,
            strict=strict,
            sites=_keyed(sites),
        )


def _keyed(sites: Iterable[Site]) -> dict[str, str]:
    """Name every changed site without line numbers, which differ between versions of a host."""
    keyed: dict[str, str] = {}
    times: Counter[str] = Counter()
    for site in sites:
        if site.becomes is not None:
            key = site.path if site.kind == "module" else f"{site.path}:{site.function}"
            times[key] += 1
            keyed[key if times[key] == 1 else f"{key}#{times[key]}"] = site.becomes
    return keyed


def remember(root: nn.Module, conversion: Conversion) -> None:
    """Append a conversion to the model's record."""
    setattr(root, ATTRIBUTE, (*conversions(root), asdict(conversion)))


def conversions(model: nn.Module) -> tuple[dict[str, Any], ...]:
    """Return one JSON-able dict per ``convert_`` that changed the model, oldest first.

    >>> import smoothify
    >>> model = smoothify.convert(nn.Sequential(nn.ReLU()), to="silu")
    >>> [(entry["to"], entry["sites"]) for entry in conversions(model)]
    [('silu', {'0': 'silu'})]
    """
    recorded: tuple[dict[str, Any], ...] = getattr(model, ATTRIBUTE, ())
    return recorded
