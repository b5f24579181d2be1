"""The optimizer and its learning rate over a run."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from smoothify.errors import ConfigError
from smoothify.models import PixelClassifier
from smoothify.training.config import OptimizerConfig


def optimizer(model: nn.Module, lr: float, config: OptimizerConfig) -> torch.optim.Optimizer:
    """Build an optimizer that decays weights only: norms, biases and learned activation parameters are spared.

    Each of its groups may have an ``lr_scale``, by which the learning rate of every step is multiplied for it.

    Raises:
        ConfigError: layers are to learn at different rates, and the model does not say which its layers are.

    >>> model = nn.Sequential(nn.Linear(2, 3), nn.PReLU())
    >>> [group["weight_decay"] for group in optimizer(model, 0.1, OptimizerConfig()).param_groups]
    [0.0, 0.0005]
    """
    groups = _groups(model.model if isinstance(model, PixelClassifier) else model, config)
    if config.name == "adamw":
        return torch.optim.AdamW(groups, lr=lr, betas=config.betas)
    return torch.optim.SGD(groups, lr=lr, momentum=config.momentum, nesterov=config.nesterov)


def _groups(host: nn.Module, config: OptimizerConfig) -> list[dict[str, Any]]:
    from timm.optim import param_groups_layer_decay, param_groups_weight_decay

    spared = host.no_weight_decay() if hasattr(host, "no_weight_decay") else ()  # type: ignore[operator]  # timm's
    if config.layer_decay is None:
        plain: list[dict[str, Any]] = param_groups_weight_decay(host, config.weight_decay, no_weight_decay_list=spared)
        return plain
    if not hasattr(host, "group_matcher"):
        raise ConfigError(
            f"optimizer.layer_decay: {type(host).__name__} does not say which its layers are; timm's models do"
        )
    layers: list[dict[str, Any]] = param_groups_layer_decay(
        host, config.weight_decay, no_weight_decay_list=spared, layer_decay=config.layer_decay
    )
    return layers


def factor(config: OptimizerConfig, *, epochs: int, steps_per_epoch: int) -> Callable[[int], float]:
    """Return the share of the peak learning rate that is used at each step, counted from 0.

    >>> one_cycle = factor(OptimizerConfig(warmup=0.5), epochs=2, steps_per_epoch=10)
    >>> [round(one_cycle(step), 3) for step in (0, 5, 10, 15, 20)]
    [0.05, 0.525, 1.0, 0.5, 0.0]
    """
    total = epochs * steps_per_epoch
    warm = config.warmup_epochs * steps_per_epoch

    def one_cycle(step: int) -> float:
        rise = config.warmup * total
        if step < rise:
            return 0.05 + 0.95 * step / rise  # from a twentieth of the peak
        return _cosine((step - rise) / (total - rise))

    def cosine(step: int) -> float:
        return _cosine((step - warm) / (total - warm))

    def step_decay(step: int) -> float:
        return 0.1 ** sum(step >= milestone * steps_per_epoch for milestone in config.milestones)

    def constant(step: int) -> float:
        return 1.0

    after = {"one_cycle": one_cycle, "cosine": cosine, "step": step_decay, "constant": constant}[config.schedule]
    return lambda step: (step + 1) / (warm + 1) if step < warm else after(step)


def _cosine(progress: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
