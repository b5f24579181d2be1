"""How a measurement is named: its attack, and whatever of its settings makes the number another one."""

from __future__ import annotations

import math
import re

_PGD = re.compile(r"pgd-([1-9][0-9]*)(?:x[1-9][0-9]*)?", re.IGNORECASE)


def show(value: float, norm: str = "linf") -> str:
    """Write a pixel distance as people do: under Linf in 255ths, where it is a whole number of them; else a decimal.

    >>> show(8 / 255), show(0.1), show(1.0, "l2")
    ('8/255', '0.1', '1')
    """
    in_255ths = value * 255
    if value and norm == "linf" and abs(in_255ths - round(in_255ths)) < 1e-6:
        return f"{round(in_255ths)}/255"
    return f"{value:g}"


def longest_step(norm: str) -> float:
    """Return the longest step that can make sense: a pixel's whole range under Linf, beyond any diagonal under L2."""
    return 1.0 if norm == "linf" else 1e6


def usual_step(norm: str, epsilon: float, steps: int) -> float:
    """Return the step of PGD where none is given: epsilon for one step, else 2.5 · epsilon / steps.

    >>> usual_step("linf", 0.1, 50)
    0.005
    """
    return min(epsilon if steps == 1 else 2.5 * epsilon / steps, longest_step(norm))


def unusual_step(attack: str, norm: str, epsilon: float, step_size: float | None) -> float | None:
    """Return a step size that the attack's name does not imply; only that of PGD-k implies one.

    An attack of one's own is not looked up: who reads a number need not have the module that registers its attack.

    >>> unusual_step("PGD-50x5", "linf", 0.1, 0.005), unusual_step("PGD-50", "linf", 0.1, 0.01)
    (None, 0.01)
    """
    named = _PGD.fullmatch(attack)
    # a step that was typed as 2/255 is the usual one, though it is computed from epsilon in another order
    if step_size is None or named is None:
        return step_size
    usual = math.isclose(step_size, usual_step(norm, epsilon, int(named[1])), rel_tol=1e-6)
    return None if usual else step_size


def settings(
    *,
    step_size: float | None = None,
    surrogate: str | None = None,
    through: str | None = None,
    full_protocol: bool = False,
    norm: str = "linf",
) -> str:
    """Return what stands behind an attack's name, a comma before each.

    Args:
        step_size: in [0, 1] pixel units.
        surrogate: the activation whose derivative the attack saw in ReLU's place.
        through: the other model that the images were found on.
        full_protocol: only where the last step led counts.
        norm: that the step is taken in.

    >>> settings(step_size=1 / 255, surrogate="silu")
    ', step 1/255, gradients of silu'
    """
    said = (
        None if step_size is None else f"step {show(step_size, norm)}",
        None if surrogate is None else f"gradients of {surrogate}",
        None if through is None else f"transferred from {through or 'another model'}",
        "last step only" if full_protocol else None,
    )
    return "".join(f", {one}" for one in said if one)


def published_name(
    attack: str,
    norm: str,
    epsilon: float,
    *,
    step_size: float | None = None,
    surrogate: str | None = None,
    through: str | None = None,
    full_protocol: bool = False,
) -> str:
    """Return what a card calls an attack: its name, and what is unusual about it.

    Args:
        attack: its name, ``"PGD-50"``.
        norm: of the threat model.
        epsilon: likewise, in [0, 1] pixel units.
        step_size: as in `settings`; it is left out where the name implies it.
        surrogate: as in `settings`.
        through: as in `settings`.
        full_protocol: as in `settings`.

    >>> published_name("PGD-50", "linf", 0.1, step_size=0.005)
    'pgd-50'
    >>> published_name("PGD-50", "linf", 0.1, step_size=1 / 255, full_protocol=True)
    'pgd-50, step 1/255, last step only'
    """
    unusual = unusual_step(attack, norm, epsilon, step_size)
    return attack.lower() + settings(
        step_size=unusual, surrogate=surrogate, through=through, full_protocol=full_protocol, norm=norm
    )
