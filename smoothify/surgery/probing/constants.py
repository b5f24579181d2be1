"""Rectifiers that an operation is only on some tensors: max(x, 0) is a ReLU, max(x, τ) of another constant is none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, unset_fake_temporarily

from smoothify.surgery.probing.contents import has_memory, home
from smoothify.surgery.rules.operations import is_smooth_operation

_ZEROS = frozenset({"zeros", "zeros_like", "new_zeros", "zero"})
_FULL = frozenset({"full", "full_like", "new_full", "fill"})

_TINY = 1e-4


class Constants:
    """Follows the tensors that are filled with one number, those that are |x| of another, and lengths."""

    def __init__(self) -> None:
        self._values: dict[int, float] = {}
        self._absolute: dict[int, int] = {}
        self._lengths: set[int] = set()
        self._alive: list[Any] = []

    def ran(self, name: str, func: Any, args: tuple[Any, ...], given: dict[str, Any], result: Any) -> None:
        """Note what an operation made."""
        if not isinstance(result, Tensor) or not has_memory(result):
            return
        key = self._key(result)
        value = 0 if name in _ZEROS else given.get("fill_value", given.get("value")) if name in _FULL else None
        whole = result.numel() * result.element_size() == result.untyped_storage().nbytes()
        if isinstance(value, (int, float)) and whole:
            self._values[key] = float(value)
            self._alive.append(result.untyped_storage())
        elif func._schema.is_mutable:
            self._values.pop(key, None)
            self._absolute.pop(key, None)
            self._lengths.discard(key)
        if name == "abs" and result is not args[0]:
            self._absolute[key] = self._key(args[0])
            self._alive.append(result.untyped_storage())
        if name == "linalg_vector_norm" and is_smooth_operation(name, given):
            self._lengths.add(key)
            self._alive.append(result.untyped_storage())

    def value(self, tensor: Tensor) -> float | None:
        """Return the number that fills a tensor; None where that is not known."""
        known = self._values.get(self._key(tensor))
        held = getattr(tensor, "constant", None) if isinstance(tensor, FakeTensor) else tensor
        if known is not None or held is None or held.is_meta or not has_memory(held) or not held.numel():
            return known
        with unset_fake_temporarily(), torch.no_grad():
            first = held.flatten()[0]
            return float(first) if bool((held == first).all()) else None

    def hides_a_rectifier(self, name: str, given: Mapping[str, Any], other: Tensor | None) -> bool:
        """Whether an operation is half of one: x ± |x|, or min(x, 0); ``other`` does not depend on the input."""
        if name in ("add", "sub", "rsub"):
            keys = [self._key(tensor) for tensor in list(given.values())[:2] if isinstance(tensor, Tensor)]
            return len(keys) == 2 and (self._absolute.get(keys[0]) == keys[1] or self._absolute.get(keys[1]) == keys[0])
        if name in ("minimum", "fmin"):
            return other is not None and self.value(other) == 0
        return name in ("clamp", "clamp_max") and given.get("min") is None and given.get("max") == 0

    def is_absolute(self, tensor: Any) -> bool:
        """Whether a tensor is some |x|, of which a ReLU changes nothing (torch's LPPool2d takes one)."""
        return isinstance(tensor, Tensor) and self._key(tensor) in self._absolute

    def is_kept_from_zero(self, given: Mapping[str, Any]) -> bool:
        """Whether a clamp keeps a length, which has a kink at 0 anyway, from being 0, as for a division by it."""
        low, length = given.get("min"), isinstance(given["self"], Tensor) and self._key(given["self"]) in self._lengths
        return length and given.get("max") is None and isinstance(low, (int, float)) and 0 < low <= _TINY

    @staticmethod
    def _key(tensor: Tensor) -> int:
        return home(tensor)[0]
