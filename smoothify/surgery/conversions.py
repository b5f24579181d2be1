"""The record of what was converted, which the hub stores and re-applies."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from smoothify.activations import describe, get, names, parse, sharpness
from smoothify.activations.nested import with_slots
from smoothify.surgery.rules.base import Target, rules
from smoothify.surgery.scope import Scope
from smoothify.surgery.sites import Site

ATTRIBUTE = "_smoothify_conversions"
_NOBODYS_OWN = (
    "smoothify",
    "torch",
    "torchvision",
    "timm",
    "transformers",
    "functools",
)  # whose classes others register


@dataclass(frozen=True, slots=True)
class Conversion:
    """One call of ``convert_``: what was asked, and which sites became what."""

    to: str | dict[str, str] | None
    replace: str | list[str]
    only: list[str] | None
    exclude: list[str] | None
    strict: bool
    sites: dict[str, str]
    imports: list[str]
    """Modules, beside this package's, whose activations and rules it took: where they are imported it can be redone."""

    @classmethod
    def of(cls, target: Target, scope: Scope, strict: bool, sites: Iterable[Site]) -> Conversion:
        """Describe a conversion that is being applied."""
        changed = [site for site in sites if site.becomes is not None]
        return cls(
            to=target.recorded(),
            replace=scope.replace if isinstance(scope.replace, str) else sorted(scope.replace),
            only=list(scope.only) or None,
            exclude=list(scope.exclude) or None,
            strict=strict,
            sites=_keyed(changed),
            imports=_own_modules(target, changed),
        )


def _keyed(sites: Iterable[Site]) -> dict[str, str]:
    """Name every changed site without line numbers, which differ between versions of a host."""
    keyed: dict[str, str] = {}
    times: Counter[str] = Counter()
    for site in sites:
        key = site.path if site.kind == "module" else f"{site.path}:{site.function}"
        times[key] += 1
        keyed[key if times[key] == 1 else f"{key}#{times[key]}"] = str(site.becomes)
    return keyed


def _own_modules(target: Target, sites: Iterable[Site]) -> list[str]:
    """Name the modules of the user's own. A script cannot be imported, and is left out."""
    to = target.recorded() or {}
    specs = [*([to] if isinstance(to, str) else to.values()), *(site.function for site in sites)]
    used = {spec.partition("(")[0].strip() for spec in specs}
    modules = {_home(rule.becomes) for rule in rules() if rule.function in used}
    modules |= {_home(get(name).module) or _home(get(name).functional) for name in used.intersection(names())}
    return sorted(modules - {"", "__main__"})


def _home(maker: Any) -> str:
    module = str(getattr(maker, "__module__", None) or "")
    return "" if module.partition(".")[0] in _NOBODYS_OWN else module


def remember(root: nn.Module, conversion: Conversion) -> None:
    """Append a conversion to the model's record."""
    setattr(root, ATTRIBUTE, (*conversions(root), asdict(conversion)))


def conversions(model: nn.Module) -> tuple[dict[str, Any], ...]:
    """Return one JSON-able dict per ``convert_`` that changed the model, oldest first.

    What `smoothify.anneal_` has made of an activation since stands in place of what it was converted to.

    >>> import smoothify
    >>> model = smoothify.convert(nn.Sequential(nn.ReLU()), to="swish(beta=1000)")
    >>> _ = smoothify.anneal_(model, 2)
    >>> [(entry["to"], entry["sites"]) for entry in conversions(model)]
    [('swish(beta=2)', {'0': 'swish(beta=2)'})]
    """
    recorded: tuple[dict[str, Any], ...] = getattr(model, ATTRIBUTE, ())
    annealed = re.compile(rf"\b({'|'.join(name for name in names() if get(name).sharpness)})(\([^)]*\))?(?!\w)")
    if not any(annealed.search(text) for entry in recorded for text in entry["sites"].values()):
        return recorded
    found: dict[str, set[str]] = {}
    for module in with_slots(model):
        if sharpness(module) is not None and (spec := describe(module)) is not None:
            found.setdefault(parse(spec)[0].name, set()).add(spec)

    def now(match: re.Match[str]) -> str:
        current = found.get(match[1], set())
        return next(iter(current)) if len(current) == 1 else match[0]  # of several it is not known which is which

    def each(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: each(text) for key, text in value.items()}
        return annealed.sub(now, value) if isinstance(value, str) else value  # also within "0.01·x + 0.99·swish"

    return tuple({**entry, "to": each(entry["to"]), "sites": each(entry["sites"])} for entry in recorded)
