"""Copies of what a model keeps in its attributes, part by part: a probe may write into them."""

from __future__ import annotations

import copy
import functools
import random
import sys
import types
from collections import deque
from collections.abc import Callable
from operator import is_
from typing import Any

import torch
from torch import Tensor, fx, nn

from smoothify.surgery.rules.base import qualified_name

_FIXED = (str, bytes, int, float, complex, bool, type(None), type, torch.Size, torch.dtype, torch.device)
_WHOLE = (fx.Graph, random.Random)
_NUMPY = frozenset({"numpy.ndarray", "numpy.random._generator.Generator", "numpy.random.mtrand.RandomState"})
_SYNCHRONISED = frozenset({"_thread", "threading", "queue", "multiprocessing"})
_PYTHON_CLASS = 1 << 9  # Py_TPFLAGS_HEAPTYPE


class Copies:
    """Copies values: each tensor is what ``tensor`` makes of it, each module what ``module`` does; once each.

    Shared, as they are, stay functions, classes, and objects of which nobody can tell what a copy would do.
    """

    def __init__(
        self, tensor: Callable[[Tensor], Tensor], module: Callable[[nn.Module], nn.Module] = lambda module: module
    ) -> None:
        self._tensor, self._module = tensor, module
        self.memo: dict[int, Any] = {}
        """Each copy by the id of its original."""

    def of(self, value: Any) -> Any:
        """Return the copy of a value."""
        if type(value) in _FIXED:
            return value
        if id(value) not in self.memo:
            made = self._made(value)
            self.memo[id(value)] = made
        return self.memo[id(value)]

    def _made(self, value: Any) -> Any:
        kind: Any = type(value)
        if isinstance(value, Tensor):
            return self._tensor(value)
        if isinstance(value, nn.Module):
            return self._module(value)
        if isinstance(value, torch.Generator):
            return value.clone_state()
        if kind in _WHOLE or qualified_name(kind) in _NUMPY:
            return copy.deepcopy(value)
        if isinstance(value, tuple):
            items = [self.of(item) for item in value]
            if all(map(is_, items, value)):
                return value
            return kind._make(items) if hasattr(kind, "_make") else tuple(items)
        if kind in (list, set, deque) or (isinstance(value, dict) and kind.__module__ in ("builtins", "collections")):
            return self._container(value)
        return self._callable(value) if callable(value) and not _is_plain(value) else self._object(value)

    def _container(self, value: Any) -> Any:
        copied = value.copy()
        self.memo[id(value)] = copied  # before what is inside, which may hold it
        if isinstance(value, dict):
            for key, item in value.items():
                copied[key] = self.of(item)
        else:
            items = [self.of(item) for item in value]
            copied.clear()
            (copied.update if isinstance(value, set) else copied.extend)(items)
        return copied

    def _callable(self, value: Any) -> Any:
        kind = type(value)
        if kind is types.MethodType:
            return types.MethodType(value.__func__, self.of(value.__self__))
        if isinstance(value, functools._lru_cache_wrapper):  # shared, it would keep fake tensors for later
            return functools.lru_cache(**value.cache_parameters())(self.of(value.__wrapped__))
        if kind is functools.partial:
            return functools.partial(self.of(value.func), *self.of(value.args), **self.of(value.keywords))
        return value

    def _object(self, value: Any) -> Any:
        if not _is_plain(value):
            return value
        kind = type(value)
        copied = types.SimpleNamespace() if kind is types.SimpleNamespace else object.__new__(kind)
        self.memo[id(value)] = copied
        for name, item in getattr(value, "__dict__", {}).items():
            copied.__dict__[name] = self.of(item)
        for name in slots_of(kind):
            if hasattr(value, name):
                object.__setattr__(copied, name, self.of(getattr(value, name)))
        return copied


def slots_of(cls: type) -> list[str]:
    """Return the names that a class and its bases keep outside ``__dict__``."""
    names = (
        name
        for base in cls.__mro__
        for name, value in vars(base).items()
        if isinstance(value, types.MemberDescriptorType) and not name.startswith("__")
    )
    return list(dict.fromkeys(names))


def _is_plain(value: Any) -> bool:
    """Whether an object is nothing but its attributes, so that they make a second one that disturbs nobody.

    Not so where its class says how it is made, copied or ended, where torch or Python's own library needs it to be
    the very one, and where other threads wait for it.
    """
    kind = type(value)
    if kind is types.SimpleNamespace:
        return True
    home = kind.__module__.partition(".")[0]
    if not kind.__flags__ & _PYTHON_CLASS or home == "torch" or home in sys.stdlib_module_names:
        return False
    usual = all(getattr(kind, name) is getattr(object, name) for name in ("__new__", "__reduce__", "__reduce_ex__"))
    if not usual or hasattr(kind, "__deepcopy__") or hasattr(kind, "__del__"):
        return False
    held = getattr(value, "__dict__", None)
    if held is None:
        return any("__slots__" in vars(base) for base in kind.__mro__)
    return not any(type(item).__module__.partition(".")[0] in _SYNCHRONISED for item in held.values())
