"""What a forward draws at random: the same in every probe, and nobody else's next draw is another for it."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def undrawn(devices: list[int]) -> Iterator[None]:
    """Put the generators of Python, numpy and torch, on the processor and these GPUs, back at the end."""
    python, numpy = random.getstate(), sys.modules.get("numpy")
    state = numpy.random.get_state() if numpy else None
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        random.setstate(python)
        if numpy:
            numpy.random.set_state(state)


def seed() -> None:
    """Let the next draws be the same every time."""
    torch.default_generator.manual_seed(0)
    random.seed(0)
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed(0)
