"""Attacks by the names that papers use: ``"pgd-50"``, ``"autoattack"``."""

from __future__ import annotations

import re
from typing import cast, get_args

from smoothify.attacks.autoattack import AutoAttack, AutoAttackPart, Part
from smoothify.attacks.base import Attack
from smoothify.attacks.ensemble import restarts
from smoothify.attacks.pgd import PGD
from smoothify.attacks.threat import ThreatModel
from smoothify.errors import ConfigError, UnknownNameError

_PGD = re.compile(r"pgd-([1-9][0-9]*)(?:x([1-9][0-9]*))?")
_PART = re.compile(rf"({'|'.join(get_args(Part))})(?:-([1-9][0-9]*))?")


def attack(name: str, threat: ThreatModel, *, step_size: float | str | None = None) -> Attack:
    """Return the attack that goes by a name.

    Args:
        name: ``"pgd-K"`` with K steps, ``"pgd-KxR"`` with R random restarts; ``"autoattack"``, or one of its parts:
            ``"apgd-ce"``, ``"apgd-dlr"``, ``"apgd-t"`` (targeted DLR), ``"fab-t"``, ``"square"``, each with ``"-K"``
            for another number of steps or queries than AutoAttack's.
        threat: norm and epsilon.
        step_size: of PGD, in [0, 1] pixel units; its own default if not given.

    Raises:
        UnknownNameError: no attack goes by that name.
        ConfigError: a step size for an attack that chooses its own.

    >>> [str(attack(name, ThreatModel("linf", "8/255"))) for name in ("pgd-50", "pgd-50x5", "apgd-t", "square-1000")]
    ['PGD-50', 'PGD-50x5', 'APGD-T', 'Square-1000']
    """
    named = name.lower()
    if match := _PGD.fullmatch(named):
        return restarts(PGD(threat, steps=int(match[1]), step_size=step_size), int(match[2] or 1))
    found: Attack
    if named == "autoattack":
        found = AutoAttack(threat)
    elif match := _PART.fullmatch(named):
        found = AutoAttackPart(threat, cast(Part, match[1]), int(match[2]) if match[2] else None)
    else:
        raise UnknownNameError("attack", name, ["pgd-1", "pgd-10", "pgd-50", "pgd-200", "autoattack", *get_args(Part)])
    if step_size is not None:
        raise ConfigError(f"step_size={step_size} with {found}, which chooses its own; leave it out")
    return found
