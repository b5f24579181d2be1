"""How the parameters are updated."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from smoothify.errors import ConfigError
from smoothify.training.config.bounds import at_least, refuse_unread


@dataclass(frozen=True)
class OptimizerConfig:
    """The optimizer, its learning rate schedule, and what bounds its steps.

    Args:
        name: "sgd" with momentum, or "adamw".
        momentum: of SGD, in [0, 1).
        nesterov: Nesterov's form of momentum.
        betas: of AdamW, each in [0, 1).
        weight_decay: of weights; norms, biases, learned activation parameters and what the architecture itself spares
            (position embeddings) are not decayed.
        layer_decay: each layer's learning rate is this times that of the layer after it, in (0, 1]; needs one of
            timm's architectures.
        clip_norm: the gradient's largest Euclidean length, over all parameters; unbounded if not given.
        schedule: "one_cycle" rises linearly to lr, then falls along a cosine; "cosine" only falls; "step" divides
            by ten at each milestone; "constant".
        warmup: share of all steps in which "one_cycle" rises, in (0, 1).
        warmup_epochs: epochs in which the other schedules rise linearly from zero first; the paper has none.
        milestones: epochs at which "step" divides by ten; the paper's 30, 60, 90 of 100.

    >>> OptimizerConfig("adamw", weight_decay=0.05).betas
    (0.9, 0.999)
    >>> OptimizerConfig(momentum=0)
    Traceback (most recent call last):
    smoothify.errors.ConfigError: optimizer.nesterov needs a positive momentum; set nesterov to false
    """

    name: Literal["sgd", "adamw"] = "sgd"
    momentum: float = 0.9
    nesterov: bool = True
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 5e-4
    layer_decay: float | None = None
    clip_norm: float | None = None
    schedule: Literal["one_cycle", "cosine", "step", "constant"] = "one_cycle"
    warmup: float = 0.3
    warmup_epochs: float = 0.0
    milestones: tuple[int, ...] = (30, 60, 90)

    def __post_init__(self) -> None:
        if not 0 <= self.momentum < 1:
            raise ConfigError(f"optimizer.momentum={self.momentum}: it must be in [0, 1)")
        if self.nesterov and self.momentum == 0:
            raise ConfigError("optimizer.nesterov needs a positive momentum; set nesterov to false")
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise ConfigError(f"optimizer.betas={self.betas}: two numbers, each in [0, 1), are needed")
        at_least("optimizer.weight_decay", self.weight_decay, 0)
        if self.layer_decay is not None and not 0 < self.layer_decay <= 1:
            raise ConfigError(f"optimizer.layer_decay={self.layer_decay}: it must be in (0, 1]")
        if self.clip_norm is not None and not 0 < self.clip_norm < math.inf:
            raise ConfigError(
                f"optimizer.clip_norm={self.clip_norm}: it must be a positive number; leave it out for none"
            )
        if not 0 < self.warmup < 1:
            raise ConfigError(f"optimizer.warmup={self.warmup}: it must be in (0, 1)")
        at_least("optimizer.warmup_epochs", self.warmup_epochs, 0)
        if min(self.milestones, default=0) < 1 or list(self.milestones) != sorted({*self.milestones}):
            raise ConfigError(f"optimizer.milestones={list(self.milestones)}: epochs from 1 on, in order, are needed")
        refuse_unread(self, "optimizer", "schedule", "step", ["milestones"])
        refuse_unread(self, "optimizer", "schedule", "one_cycle", ["warmup"])
        if self.warmup_epochs and self.schedule == "one_cycle":
            raise ConfigError('optimizer.warmup_epochs: "one_cycle" rises by itself, for the share optimizer.warmup')
