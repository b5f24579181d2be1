"""Objectives by spec: ``"trades(beta=6)"``, or ``"trades(beta=6) + awp(gamma=0.005)"``."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from types import MappingProxyType

from smoothify.errors import ConfigError, SmoothifyError, UnknownNameError
from smoothify.objectives.awp import WeightPerturbation
from smoothify.objectives.base import Objective
from smoothify.objectives.mart import Mart
from smoothify.objectives.pgd_at import AdversarialTraining, Mixture
from smoothify.objectives.standard import StandardTraining
from smoothify.objectives.trades import Trades

_KINDS: dict[str, type[Objective]] = {
    kind.name: kind for kind in (AdversarialTraining, Mixture, Trades, Mart, StandardTraining)
}
OBJECTIVES: Mapping[str, type[Objective]] = MappingProxyType(_KINDS)
"""Every objective by name; `register_objective` adds one."""
_NAME = r"[A-Za-z_]\w*"
_SPEC = re.compile(rf"\s*({_NAME})\s*(?:\(([^()]*)\))?\s*")
_SETTING = re.compile(r"\s*(\w+)\s*=\s*([-+.\w]+)\s*")


def register_objective(kind: type[Objective]) -> type[Objective]:
    """Add an objective of your own, which a spec then names; it may stand above the class as a decorator.

    Args:
        kind: its ``name`` is what specs call it, and its dataclass fields are what they may set.

    Raises:
        SmoothifyError: the name is taken; names are never overwritten. Or it is no name that a spec could hold.

    >>> register_objective(Trades)
    Traceback (most recent call last):
    smoothify.errors.SmoothifyError: objective 'trades' is registered already; choose another name
    """
    name = getattr(kind, "name", None)
    if not isinstance(name, str) or re.fullmatch(_NAME, name) is None:
        raise SmoothifyError(f'{kind.__qualname__}.name is {name!r}; give the class a name such as "half_clean"')
    if name in (*_KINDS, WeightPerturbation.name):
        raise SmoothifyError(f"objective {name!r} is registered already; choose another name")
    _KINDS[name] = kind
    return kind


def objective(spec: str, *, label_smoothing: float = 0.0) -> Objective:
    """Return the objective that a spec names.

    Args:
        spec: ``"name"`` or ``"name(key=number)"``; ``" + awp(gamma=number)"`` perturbs the weights, too.
        label_smoothing: in [0, 1).

    Raises:
        UnknownNameError: no objective goes by that name, or none of its settings does.
        ConfigError: it cannot be read, or a number is out of range.

    >>> objective("trades(beta=3)").beta
    3.0
    >>> objective("pgd_at + awp(gamma=0.01)").inner.name
    'pgd_at'
    """
    first, plus, second = spec.partition("+")
    name, settings = _read(first, spec)
    if name not in OBJECTIVES:
        raise UnknownNameError("objective", name, OBJECTIVES, listing="smoothify.objectives.OBJECTIVES")
    chosen = _make(OBJECTIVES[name], settings, label_smoothing=label_smoothing)
    if not plus:
        return chosen
    wrapper, settings = _read(second, spec)
    if wrapper != WeightPerturbation.name:
        raise UnknownNameError("addition to an objective", wrapper, [WeightPerturbation.name])
    return _make(WeightPerturbation, settings, inner=chosen)


def _read(text: str, spec: str) -> tuple[str, dict[str, float]]:
    found = _SPEC.fullmatch(text)
    parts = [part for part in (found[2] or "").split(",") if part.strip()] if found else []
    settings = [_SETTING.fullmatch(part) for part in parts]
    if found is None or not all(settings):
        raise ConfigError(f"objective {spec!r} cannot be read; write for example 'pgd_at' or 'trades(beta=6)'")
    values = {}
    for setting in settings:
        assert setting is not None
        if setting[1] in values:
            raise ConfigError(f"objective {spec!r}: {setting[1]} is given twice; give it once")
        try:
            values[setting[1]] = float(setting[2])
        except ValueError:
            raise ConfigError(f"objective {spec!r}: {setting[1]}={setting[2]} is not a number; give one") from None
    return found[1], values


def _make(kind: type[Objective], settings: Mapping[str, float], **fixed: object) -> Objective:
    known = [field.name for field in dataclasses.fields(kind) if field.name not in ("inner", "label_smoothing")]
    for name in settings:
        if name not in known:
            raise UnknownNameError("setting", name, known, of=f"objective {kind.name!r}")
    return kind(**settings, **fixed)  # type: ignore[arg-type]  # only the fields named above
