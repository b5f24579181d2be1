"""Learning rates over a run, and which parameters decay."""

import pytest
import torch
from torch import nn

from smoothify.activations import create
from smoothify.errors import ConfigError
from smoothify.training import Config, OptimizerConfig
from smoothify.training.steps.schedule import factor, optimizer


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
    spared, decayed = optimizer(model, 0.1, OptimizerConfig(weight_decay=0.5)).param_groups
    assert [parameter.shape for parameter in decayed["params"]] == [(2, 1, 3, 3), (2, 2)]
    assert len(spared["params"]) == 5
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.5, 0.0)


def test_frozen_parameters_are_left_alone() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[0].requires_grad_(False)
    groups = optimizer(model, 0.1, OptimizerConfig()).param_groups
    assert sum(len(group["params"]) for group in groups) == 2
    assert all(isinstance(parameter, torch.Tensor) for group in groups for parameter in group["params"])


@pytest.mark.parametrize("schedule", ["cosine", "step", "constant"])
def test_warm_up_rises_linearly_then_the_schedule_goes_on(schedule: str) -> None:
    milestones = {"milestones": (3,)} if schedule == "step" else {}
    config = OptimizerConfig(schedule=schedule, warmup_epochs=2, **milestones)
    share = factor(config, epochs=5, steps_per_epoch=10)
    rises = [share(step + 1) - share(step) for step in range(20)]
    assert rises == pytest.approx([1 / 21] * 20)
    assert share(20) == 1
    assert share(30) == pytest.approx({"cosine": 0.75, "step": 0.1, "constant": 1}[schedule])


def test_each_layer_learns_slower_than_the_one_after_it() -> None:
    import timm

    model = timm.create_model("vit_tiny_patch16_224", depth=2, embed_dim=8, num_heads=1, img_size=32)
    groups = optimizer(model, 0.1, OptimizerConfig(name="adamw", layer_decay=0.5)).param_groups
    scale = {id(parameter): group["lr_scale"] for group in groups for parameter in group["params"]}
    stages = [model.patch_embed.proj, model.blocks[0].mlp.fc1, model.blocks[1].mlp.fc1, model.head]
    assert [scale[id(stage.weight)] for stage in stages] == [0.125, 0.25, 0.5, 1.0]
    decay = {id(parameter): group["weight_decay"] for group in groups for parameter in group["params"]}
    assert decay[id(model.pos_embed)] == decay[id(model.head.bias)] == 0 < decay[id(model.head.weight)]
    with pytest.raises(ConfigError, match="layer_decay: Sequential does not say"):
        optimizer(nn.Sequential(nn.Linear(2, 2)), 0.1, OptimizerConfig(layer_decay=0.5))


def test_settings_reach_the_optimizer() -> None:
    model = nn.Linear(2, 2)
    adamw = optimizer(model, 0.1, OptimizerConfig(name="adamw", betas=(0.8, 0.9)))
    assert isinstance(adamw, torch.optim.AdamW)
    assert adamw.param_groups[0]["betas"] == (0.8, 0.9)
    sgd = optimizer(model, 0.1, OptimizerConfig(momentum=0.7, nesterov=False))
    assert (sgd.param_groups[0]["momentum"], sgd.param_groups[0]["nesterov"]) == (0.7, False)


def test_a_warm_up_as_long_as_the_run_is_refused() -> None:
    with pytest.raises(ConfigError, match="leaves nothing of 2 epochs"):
        Config(epochs=2, optimizer=OptimizerConfig(schedule="step", warmup_epochs=2))


@pytest.mark.parametrize(
    "values",
    [
        *({"momentum": 1.0}, {"momentum": 0.0}, {"weight_decay": -1.0}, {"warmup": 0.0}, {"warmup": 1.0}),
        *({"betas": (0.9, 1.0)}, {"layer_decay": 0.0}, {"clip_norm": 0.0}, {"warmup_epochs": 1.0}),
        *({"betas": (0.9,)}, {"weight_decay": float("nan")}, {"clip_norm": float("inf")}),
    ],
)
def test_impossible_settings_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=r"optimizer\."):
        OptimizerConfig(**values)
