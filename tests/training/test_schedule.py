"""Learning rates over a run, and which parameters decay."""

import pytest
import torch
from torch import nn

from smoothify.activations import create
from smoothify.errors import ConfigError
from smoothify.training import OptimizerConfig
from smoothify.training.schedule import factor, optimizer


@pytest.mark.parametrize("schedule", ["one_cycle", "cosine", "step", "constant"])
def test_shares_stay_in_range(schedule: str) -> None:
    share = factor(OptimizerConfig(schedule=schedule), epochs=100, steps_per_epoch=7)
    shares = [share(step) for step in range(700)]
    assert all(0 < value <= 1 for value in shares)
    assert max(shares) == pytest.approx(1, abs=1e-3)


def test_step_decay_is_the_papers() -> None:
    """÷10 at the 30th, 60th and 90th epoch (§3.1)."""
    share = factor(OptimizerConfig(schedule="step"), epochs=100, steps_per_epoch=10)
    at = {epoch: share(10 * epoch) for epoch in (0, 29, 30, 59, 60, 89, 90, 99)}
    assert at == pytest.approx({0: 1, 29: 1, 30: 0.1, 59: 0.1, 60: 0.01, 89: 0.01, 90: 0.001, 99: 0.001})


def test_one_cycle_rises_then_falls() -> None:
    share = factor(OptimizerConfig(warmup=0.25), epochs=4, steps_per_epoch=25)
    shares = [share(step) for step in range(101)]
    assert shares[:26] == sorted(shares[:26])
    assert shares[25:] == sorted(shares[25:], reverse=True)
    assert shares[25] == 1
    assert shares[100] == 0


def test_norms_biases_and_learned_activations_are_not_decayed() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), create("smoothrelu"), nn.Flatten(), nn.Linear(2, 2))
    decayed, spared = optimizer(model, 0.1, OptimizerConfig(weight_decay=0.5)).param_groups
    assert [parameter.shape for parameter in decayed["params"]] == [(2, 1, 3, 3), (2, 2)]
    assert len(spared["params"]) == 5
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.5, 0.0)


def test_frozen_parameters_are_left_alone() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[0].requires_grad_(False)
    groups = optimizer(model, 0.1, OptimizerConfig()).param_groups
    assert sum(len(group["params"]) for group in groups) == 2
    assert all(isinstance(parameter, torch.Tensor) for group in groups for parameter in group["params"])


@pytest.mark.parametrize(
    "values", [{"momentum": 1.0}, {"momentum": 0.0}, {"weight_decay": -1.0}, {"warmup": 0.0}, {"warmup": 1.0}]
)
def test_impossible_settings_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=r"optimizer\."):
        OptimizerConfig(**values)
