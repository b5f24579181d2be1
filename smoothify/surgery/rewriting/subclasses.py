"""Subclasses that stand in for their base, and that nobody is told of."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from torch import nn


def subclass(base: type[nn.Module], namespace: dict[str, Any]) -> type[nn.Module]:
    """Return a subclass of the same name.

    Its base may keep a register of its subclasses, or ask them for arguments: its ``__init_subclass__`` is not called.
    """
    if any("__init_subclass__" in vars(above) for above in base.__mro__[:-1]):
        cls: Any = type.__new__(type(base), base.__name__, (nn.Module,), dict(namespace))
        with suppress(TypeError):  # of a base with ``__slots__``
            cls.__bases__ = (base,)
            made: type[nn.Module] = cls
            return made
    return type(base.__name__, (base,), namespace)
