"""Attacks by the names that papers use: ``"pgd-50"``."""

from __future__ import annotations

import re

from smoothify.attacks.base import Attack
from smoothify.attacks.pgd import PGD
from smoothify.attacks.threat import ThreatModel
from smoothify.errors import UnknownNameError

_PGD = re.compile(r"pgd-([1-9][0-9]*)")


def attack(name: str, threat: ThreatModel, *, step_size: float | str | None = None) -> Attack:
    """Return the attack that goes by a name.

    Args:
        name: ``"pgd-K"`` with K steps.
        threat: norm and epsilon.
        step_size: in [0, 1] pixel units; the attack's own default if not given.

    Raises:
        UnknownNameError: no attack goes by that name.

    >>> str(attack("pgd-50", ThreatModel("linf", "8/255")))
    'PGD-50'
    """
    match = _PGD.fullmatch(name.lower())
    if match is None:
        raise UnknownNameError("attack", name, ["pgd-1", "pgd-10", "pgd-50", "pgd-200"])
    return PGD(threat, steps=int(match[1]), step_size=step_size)
