"""What a model's code keeps outside the model: a probe must leave no fake tensor in it."""

from __future__ import annotations

import gc
import weakref
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor

from smoothify.surgery.probing.contents import contents
from smoothify.surgery.probing.reach import Reach
from smoothify.surgery.recognition.attributes import everything


@contextmanager
def undisturbed(reach: Reach) -> Iterator[None]:
    """Take out, at the end, what holds a fake tensor and was put meanwhile where code reaches; empty filled caches."""
    misses = [cache.cache_info().misses for cache in reach.caches]
    before = [_contents(holder) for holder in reach.holders]
    try:
        yield
    finally:
        for cache, count in zip(reach.caches, misses, strict=True):
            if cache.cache_info().misses != count:
                cache.cache_clear()
        for holder, held in zip(reach.holders, before, strict=True):
            _restore(holder, held)


def reach_of(model: nn.Module) -> Reach:
    """Return what the code of a model reaches."""
    return Reach(node.module for node in everything(model))


def kept(tensors: Iterable[weakref.ref[Tensor]]) -> str:
    """Say where one of these tensors still is, which should all be gone; '' where they are."""
    if not any(ref() is not None for ref in tensors):
        return ""
    gc.collect()  # in a cycle they live on until it runs
    for ref in tensors:
        tensor = ref()
        if tensor is not None:
            holders = [type(holder).__name__ for holder in gc.get_referrers(tensor) if type(holder).__name__ != "frame"]
            return f"in a {holders[0]}" if holders else "in torch"
    return ""


def _contents(holder: Any) -> Any:
    if isinstance(holder, (list, set, deque)):
        return list(holder)
    return dict(vars(holder) if isinstance(holder, type) else dict.items(holder))


def _restore(holder: Any, before: Any) -> None:
    if isinstance(holder, (list, set, deque)):
        known = set(map(id, before))
        if _has_fake([item for item in holder if id(item) not in known]):
            holder.clear()
            (holder.update if isinstance(holder, set) else holder.extend)(before)
        return
    now = _contents(holder)
    changed = [name for name, value in now.items() if before.get(name, holder) is not value]
    for name in (name for name in changed if _has_fake(now[name])):
        if isinstance(holder, type):
            setattr(holder, name, before[name]) if name in before else delattr(holder, name)
        elif name in before:
            holder[name] = before[name]
        else:
            del holder[name]


def _has_fake(value: Any) -> bool:
    return any(isinstance(item, FakeTensor) for item in contents(value))
