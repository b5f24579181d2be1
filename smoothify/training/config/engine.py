"""How a run is computed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from smoothify.training.config.bounds import at_least


@dataclass(frozen=True)
class EngineConfig:
    """How a run is computed: with the same recipe, other values here give the same result to rounding.

    Args:
        mixed_precision: of the update: "no", "bf16" or "fp16"; what ``accelerate launch`` says if not given.
        accumulation: pieces that every batch is computed in, one after the other, to fit in memory.
        checkpoint_every: steps between checkpoints, besides those after each epoch; 0 for none.
    """

    mixed_precision: Literal["no", "bf16", "fp16"] | None = None
    accumulation: int = 1
    checkpoint_every: int = 0

    def __post_init__(self) -> None:
        at_least("engine.accumulation", self.accumulation, 1)
        at_least("engine.checkpoint_every", self.checkpoint_every, 0)
