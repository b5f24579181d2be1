"""Function caches in the modules that a model's code lives in: a probe must leave no fake tensor in them."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import CellType, FunctionType
from typing import Any

from torch import nn


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Empty, at the end, every cache around a model that was filled meanwhile."""
    caches = {id(cache): cache for cache in _caches(model)}
    before = {key: cache.cache_info().misses for key, cache in caches.items()}
    try:
        yield
    finally:
        for key, cache in caches.items():
            if cache.cache_info().misses != before[key]:
                cache.cache_clear()


def _caches(model: nn.Module) -> Iterator[Any]:
    classes = {base for module in model.modules() for base in type(module).__mro__}
    own = [base for base in classes if not base.__module__.startswith(("torch.", "builtins"))]
    homes = [sys.modules[name] for name in {base.__module__ for base in own} if name in sys.modules]
    for holder in (*own, *homes):
        yield from _inside(tuple(vars(holder).values()))


def _inside(values: Iterable[Any]) -> Iterator[Any]:
    for value in values:
        if isinstance(value, functools._lru_cache_wrapper):
            yield value
        elif isinstance(value, FunctionType) and value.__closure__:
            filled = (cell.cell_contents for cell in value.__closure__ if cell != CellType())
            yield from (held for held in filled if isinstance(held, functools._lru_cache_wrapper))
