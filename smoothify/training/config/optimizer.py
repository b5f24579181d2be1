"""How the parameters are updated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from smoothify.errors import ConfigError


@dataclass(frozen=True)
class OptimizerConfig:
    """Momentum SGD and its learning rate schedule.

    Args:
        momentum: of SGD, in [0, 1).
        nesterov: Nesterov's form of momentum.
        weight_decay: of weights; norms, biases and learned activation parameters are not decayed.
        schedule: "one_cycle" rises linearly to lr, then falls along a cosine; "cosine" only falls; "step" divides
            by ten at each milestone; "constant".
        warmup: share of all steps in which "one_cycle" rises, in (0, 1).
        milestones: epochs at which "step" divides by ten; the paper's 30, 60, 90 of 100.
    """

    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 5e-4
    schedule: Literal["one_cycle", "cosine", "step", "constant"] = "one_cycle"
    warmup: float = 0.3
    milestones: tuple[int, ...] = (30, 60, 90)

    def __post_init__(self) -> None:
        if not 0 <= self.momentum < 1:
            raise ConfigError(f"optimizer.momentum={self.momentum}: it must be in [0, 1)")
        if self.nesterov and self.momentum == 0:
            raise ConfigError("optimizer.nesterov needs a positive momentum; set nesterov to false")
        if self.weight_decay < 0:
            raise ConfigError(f"optimizer.weight_decay={self.weight_decay}: it cannot be negative")
        if not 0 < self.warmup < 1:
            raise ConfigError(f"optimizer.warmup={self.warmup}: it must be in (0, 1)")
