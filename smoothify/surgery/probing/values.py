"""Values that leave torch: an array or a list is made of a tensor's memory, past the dispatcher."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensor

from smoothify.surgery.probing.contents import has_memory

_LEAVING = ("numpy", "tolist")


@contextmanager
def leaving_seen() -> Iterator[None]:
    """Let it be seen, as it is of ``item()``, that a run on real tensors reads values; stop one on fake tensors."""
    before = {name: vars(Tensor).get(name) for name in _LEAVING}
    for name in _LEAVING:
        setattr(Tensor, name, _seen(name, getattr(Tensor, name), threading.get_ident()))
    try:
        yield
    finally:
        for name, held in before.items():
            if held is None:
                delattr(Tensor, name)  # torch has it in a base class
            else:
                setattr(Tensor, name, held)


def _seen(name: str, read: Callable[..., Any], thread: int) -> Callable[..., Any]:
    def seen(tensor: Tensor, *args: Any, **kwargs: Any) -> Any:
        fake = isinstance(tensor, FakeTensor)
        if fake and name == "numpy":  # which refuses with an error that says nothing of values
            raise DataDependentOutputException(torch.ops.aten._local_scalar_dense.default)
        values = read(tensor, *args, **kwargs)
        if threading.get_ident() == thread and not fake and tensor.numel() and has_memory(tensor):
            tensor.detach().flatten()[0].item()
        return values

    return seen
