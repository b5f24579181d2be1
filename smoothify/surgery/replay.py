"""Converting a freshly built model as another copy of it was converted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn

from smoothify.errors import UnconvertedError
from smoothify.surgery.conversions import conversions
from smoothify.surgery.convert import convert_


def replay_(model: nn.Module, recorded: Iterable[Mapping[str, Any]]) -> None:
    """Convert a freshly built original as another copy of it was converted.

    Args:
        model: changed in place.
        recorded: what `conversions` returned for the other copy.

    Raises:
        UnconvertedError: the resulting sites differ from the recorded ones (another version of the host library,
            another configuration); or a factory, which no record can hold.

    >>> import smoothify
    >>> record = conversions(smoothify.convert(nn.Sequential(nn.ReLU()), to="silu"))
    >>> model = nn.Sequential(nn.ReLU())
    >>> replay_(model, record)
    >>> model[0]
    SiLU()
    """
    for entry in recorded:
        if entry["to"] is None:
            raise UnconvertedError(
                "this model was converted with a factory, which cannot be stored; convert it yourself with "
                "the same factory before loading its weights"
            )
        convert_(
            model,
            entry["to"],
            only=entry["only"],
            exclude=entry["exclude"],
            replace=entry["replace"],
            strict=entry["strict"],
        )
        got, wanted = conversions(model)[-1:], dict(entry["sites"])
        sites = got[0]["sites"] if got else {}
        if sites != wanted:
            differing = sorted(key for key in {*sites, *wanted} if sites.get(key) != wanted.get(key))
            lines = [
                f"  {key or '(the model itself)'}: recorded {wanted.get(key)}, now {sites.get(key)}"
                for key in differing
            ]
            raise UnconvertedError(
                f"this {type(model).__name__} does not convert as recorded; build the same architecture with "
                "the library version that it was published with:\n" + "\n".join(lines)
            )
