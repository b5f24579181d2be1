"""The optimizer and its learning rate over a run."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn

from smoothify.training.config import OptimizerConfig


def optimizer(model: nn.Module, lr: float, config: OptimizerConfig) -> torch.optim.SGD:
    """Build SGD that decays weights only: norms, biases and learned activation parameters (≤ 1 axis) are spared.

    >>> model = nn.Sequential(nn.Linear(2, 3), nn.PReLU())
    >>> [group["weight_decay"] for group in optimizer(model, 0.1, OptimizerConfig()).param_groups]
    [0.0005, 0.0]
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    decayed = [parameter for parameter in trained if parameter.ndim > 1]
    spared = [parameter for parameter in trained if parameter.ndim <= 1]
    groups = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": spared, "weight_decay": 0.0},
    ]
    return torch.optim.SGD(
        [group for group in groups if group["params"]], lr=lr, momentum=config.momentum, nesterov=config.nesterov
    )


def factor(config: OptimizerConfig, *, epochs: int, steps_per_epoch: int) -> Callable[[int], float]:
    """Return the share of the peak learning rate that is used at each step, counted from 0.

    >>> one_cycle = factor(OptimizerConfig(warmup=0.5), epochs=2, steps_per_epoch=10)
    >>> [round(one_cycle(step), 3) for step in (0, 5, 10, 15, 20)]
    [0.05, 0.525, 1.0, 0.5, 0.0]
    """
    total = epochs * steps_per_epoch

    def one_cycle(step: int) -> float:
        rise = config.warmup * total
        if step < rise:
            return 0.05 + 0.95 * step / rise  # from a twentieth of the peak
        return _cosine((step - rise) / (total - rise))

    def cosine(step: int) -> float:
        return _cosine(step / total)

    def step_decay(step: int) -> float:
        return 0.1 ** sum(step >= milestone * steps_per_epoch for milestone in config.milestones)

    def constant(step: int) -> float:
        return 1.0

    return {"one_cycle": one_cycle, "cosine": cosine, "step": step_decay, "constant": constant}[config.schedule]


def _cosine(progress: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
