"""Activation specs: ``"silu"`` or ``"celu(alpha=1.4)"``, read by a grammar and never evaluated."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from smoothify.errors import SpecError

_NAME = r"[A-Za-z_]\w*"
_SPEC = re.compile(rf"\s*(?P<name>{_NAME})\s*(?:\((?P<arguments>[^()]*)\))?\s*")
_ARGUMENT = re.compile(r"\s*(?P<key>[A-Za-z_]\w*)\s*=\s*(?P<value>[^=\s]+)\s*")


def split_spec(spec: str) -> tuple[str, dict[str, float]]:
    """Split a spec into its name and its parameters, without asking whether the name exists.

    Raises:
        SpecError: where the text is not ``name`` or ``name(key=number, ...)``.

    >>> split_spec("celu(alpha=1.4)")
    ('celu', {'alpha': 1.4})
    """
    found = _SPEC.fullmatch(spec)
    if found is None:
        raise SpecError(
            f"activation spec {spec!r}: not of the form 'name' or 'name(key=number)'; "
            f"write for example 'silu' or 'celu(alpha=1.4)'"
        )
    parameters: dict[str, float] = {}
    for part in _arguments(found["arguments"]):
        argument = _ARGUMENT.fullmatch(part)
        if argument is None:
            raise SpecError(
                f"activation spec {spec!r}: {part.strip()!r} is not 'key=number'; write for example 'celu(alpha=1.4)'"
            )
        key = argument["key"]
        if key in parameters:
            raise SpecError(f"activation spec {spec!r}: {key!r} is given twice; give it once")
        parameters[key] = _number(spec, key, argument["value"])
    return found["name"], parameters


def is_name(text: str) -> bool:
    """Whether a spec can name an activation so.

    >>> is_name("tanhsoft_1"), is_name("my act!")
    (True, False)
    """
    return re.fullmatch(_NAME, text) is not None


def join_spec(name: str, parameters: Mapping[str, float], defaults: Mapping[str, float]) -> str:
    """Write a spec, leaving out the parameters that equal their default.

    >>> join_spec("celu", {"alpha": 1.4}, {"alpha": 1.0})
    'celu(alpha=1.4)'
    >>> join_spec("celu", {"alpha": 1.0}, {"alpha": 1.0})
    'celu'
    """
    said = [f"{key}={_digits(value)}" for key, value in parameters.items() if value != defaults.get(key)]
    return f"{name}({', '.join(said)})" if said else name


def _arguments(text: str | None) -> list[str]:
    return text.split(",") if text and text.strip() else []


def _number(spec: str, key: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise SpecError(f"activation spec {spec!r}: {key}={text!r} is not a number; give one") from None
    if not math.isfinite(value):
        raise SpecError(f"activation spec {spec!r}: {key}={text} is not finite; give a finite number")
    return value


def _digits(value: float) -> str:
    return str(int(value)) if float(value).is_integer() and abs(value) < 1e15 else repr(float(value))
