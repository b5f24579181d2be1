"""Attacks by the names that papers use: ``"pgd-50"``, ``"autoattack"``."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import cast, get_args

from smoothify.attacks.autoattack import AutoAttack, AutoAttackPart, Part
from smoothify.attacks.base import Attack
from smoothify.attacks.ensemble import restarts
from smoothify.attacks.pgd import PGD
from smoothify.attacks.threat import ThreatModel
from smoothify.errors import ConfigError, SmoothifyError, UnknownNameError

_PGD = re.compile(r"pgd-([1-9][0-9]*)(?:x([1-9][0-9]*))?")
_PART = re.compile(rf"({'|'.join(get_args(Part))})(?:-([1-9][0-9]*))?")

_BUILT_IN = ("pgd-1", "pgd-10", "pgd-50", "pgd-200", "autoattack", *get_args(Part))
Factory = Callable[[ThreatModel], Attack]
_OWN: dict[str, Factory] = {}


def register_attack(name: str, factory: Factory) -> Factory:
    """Add an attack of your own, which `attack`, ``smoothify.evaluate`` and training configs then know by its name.

    Args:
        name: small and capital letters are the same.
        factory: returns the attack within a threat model; a subclass of `Attack` is one.

    Raises:
        SmoothifyError: the name is taken; names are never overwritten.

    >>> register_attack("PGD-7", PGD)
    Traceback (most recent call last):
    smoothify.errors.SmoothifyError: attack 'pgd-7' is registered already; choose another name
    """
    named = name.lower()
    if named in _OWN or named == "autoattack" or _PGD.fullmatch(named) or _PART.fullmatch(named):
        raise SmoothifyError(f"attack {named!r} is registered already; choose another name")
    _OWN[named] = factory
    return factory


def attack(name: str, threat: ThreatModel, *, step_size: float | str | None = None) -> Attack:
    """Return the attack that goes by a name.

    Args:
        name: ``"pgd-K"`` with K steps, ``"pgd-KxR"`` with R random restarts; ``"autoattack"``, or one of its parts:
            ``"apgd-ce"``, ``"apgd-dlr"``, ``"apgd-t"`` (targeted DLR), ``"fab-t"``, ``"square"``, each with ``"-K"``
            for another number of steps or queries than AutoAttack's; or what `register_attack` named.
        threat: norm and epsilon.
        step_size: of PGD, in [0, 1] pixel units; its own default if not given.

    Raises:
        UnknownNameError: no attack goes by that name.
        ConfigError: a step size for an attack that chooses its own; or a factory of yours that returns something else
            than an attack within this threat model.

    >>> [str(attack(name, ThreatModel("linf", "8/255"))) for name in ("pgd-50", "pgd-50x5", "apgd-t", "square-1000")]
    ['PGD-50', 'PGD-50x5', 'APGD-T', 'Square-1000']
    """
    named = name.lower()
    if match := _PGD.fullmatch(named):
        built = PGD(threat, steps=int(match[1]), step_size=step_size)
        if step_size is not None and built.step == 0:
            raise ConfigError(f"step_size={step_size} would leave every image as {name} starts it; give a positive one")
        return restarts(built, int(match[2] or 1))
    found: Attack
    if named == "autoattack":
        found = AutoAttack(threat)
    elif match := _PART.fullmatch(named):
        found = AutoAttackPart(threat, cast(Part, match[1]), int(match[2]) if match[2] else None)
    elif named in _OWN:
        found = _OWN[named](threat)
        if not isinstance(found, Attack) or found.threat != threat:
            raise ConfigError(
                f"attack {name!r}: its factory returned {found!r}, no attack within {threat}; pass that on"
            )
    else:
        raise UnknownNameError("attack", name, [*_BUILT_IN, *_OWN], listing="smoothify.evaluate --help")
    if step_size is not None:
        raise ConfigError(f"step_size={step_size} with {found}, which chooses its own; leave it out")
    return found


def attacks_by(names: Sequence[str], threat: ThreatModel, step_size: float | str | None) -> list[Attack]:
    """Return several attacks; a step size is for those that take one, and refused if none does.

    >>> [one.step for one in attacks_by(["pgd-5", "square"], ThreatModel(), 0.01) if isinstance(one, PGD)]
    [0.01]
    """
    takes = [_PGD.fullmatch(name.lower()) is not None for name in names]
    return [
        attack(name, threat, step_size=step_size if own or not any(takes) else None)
        for name, own in zip(names, takes, strict=True)
    ]
