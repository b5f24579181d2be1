"""``y += x`` and its like as functions that a graph can hold.

``torch.fx`` records ``y + x`` instead, and what else holds ``y`` would keep its old value. Its own ``operator.iadd``
is written ``y += x`` in generated code, which gives a number, too, its new value under its old name.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any


def _recorded(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def update(target: Any, other: Any) -> Any:
        return function(target, other)

    update.__name__ = update.__qualname__ = function.__name__  # by which a pickle finds it
    return update


_NAMES = (
    *("iadd", "iand", "ifloordiv", "ilshift", "imatmul", "imod", "imul"),
    *("ior", "ipow", "irshift", "isub", "itruediv", "ixor"),
)
ALL = tuple(_recorded(getattr(operator, name)) for name in _NAMES)
globals().update(zip(_NAMES, ALL, strict=True))
