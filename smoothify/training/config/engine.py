"""How a run is computed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from smoothify.training.config.bounds import at_least

MixedPrecision = Literal["no", "bf16", "fp16"]


@dataclass(frozen=True)
class EngineConfig:
    """How a run is computed: with the same recipe, other values here give the same result to rounding.

    Two are exceptions. Mixed precision rounds more coarsely. Batch norm takes its statistics, AWP its move and mixup
    its pairs from what is computed together, one piece of a batch on one process, and dropout draws for it.

    Args:
        mixed_precision: of the update: "no", "bf16" or "fp16"; what ``accelerate launch`` says if not given.
        compile: compile the model with ``torch.compile``; on a CPU it is slower than without.
        channels_last: keep images and weights with their channels last in memory.
        activation_checkpointing: compute activations again in the backward pass instead of keeping them; the
            architecture must offer it.
        fsdp: shard what training holds over the processes (FSDP2): parameters, gradients and optimizer state. The whole
            model, in float32, stays on every device besides, to be measured and saved.
        accumulation: pieces that every batch is computed in, one after the other, to fit in memory.
        checkpoint_every: steps between checkpoints, besides those after each epoch; 0 for none.
        log_with: an experiment tracker that Accelerate knows, such as "tensorboard"; none by default.

    >>> EngineConfig(mixed_precision="bf16", accumulation=4).compile
    False
    >>> EngineConfig(accumulation=0)
    Traceback (most recent call last):
    smoothify.errors.ConfigError: engine.accumulation=0: at least 1 is needed
    """

    mixed_precision: MixedPrecision | None = None
    compile: bool = False
    channels_last: bool = False
    activation_checkpointing: bool = False
    fsdp: bool = False
    accumulation: int = 1
    checkpoint_every: int = 0
    log_with: str | None = None

    def __post_init__(self) -> None:
        at_least("engine.accumulation", self.accumulation, 1)
        at_least("engine.checkpoint_every", self.checkpoint_every, 0)
