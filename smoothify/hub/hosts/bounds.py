"""A limit on what a description may build, enforced while it is being built."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.modules import module as torch_module

from smoothify.errors import HubError

MAX_PARAMETERS = 10_000_000_000
MAX_BUFFERS = 200_000_000
MAX_MODULES = 20_000


@contextmanager
def bounded_construction(source: str) -> Iterator[None]:
    """Raise ``HubError`` in a constructor that registers more than any published model has.

    Counts elements of parameters and buffers, and modules, of this thread only. The caller's random state is
    kept.

    >>> with bounded_construction("config.json"), torch.device("meta"):
    ...     _ = nn.Linear(1_000_000, 1_000_000)
    Traceback (most recent call last):
    ...
    smoothify.errors.HubError: config.json: describes a model of more than 10,000,000,000 parameters; that is
    refused
    """
    thread = threading.get_ident()

    def counter(kind: str, limit: int, measure: Callable[[Any], int]) -> Callable[..., None]:
        counted = 0

        def count(_: nn.Module, __: str, value: Any) -> None:
            nonlocal counted
            if value is None or threading.get_ident() != thread:
                return
            counted += measure(value)
            if counted > limit:
                raise HubError(f"{source}: describes a model of more than {limit:,} {kind}; that is refused")

        return count

    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices=[]))
        for register, count in (
            (
                torch_module.register_module_module_registration_hook,
                counter("modules", MAX_MODULES, lambda _: 1),
            ),
            (
                torch_module.register_module_parameter_registration_hook,
                counter("parameters", MAX_PARAMETERS, _numel),
            ),
            (
                torch_module.register_module_buffer_registration_hook,
                counter("buffer elements", MAX_BUFFERS, _numel),
            ),
        ):
            stack.callback(register(count).remove)
        yield


def _numel(tensor: torch.Tensor) -> int:
    return tensor.numel()
