"""Activations computed again in the backward pass are what they were; what cannot be computed again is refused."""

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from smoothify.activations import SurrogateGradients
from smoothify.errors import ConfigError
from smoothify.models import build
from smoothify.training import Config, EngineConfig, ModelConfig, RunFolder, train
from smoothify.training.refusals import checkpoint_activations
from smoothify.training.saving import state


def count_what_a_backward_pass_computes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Return where convolutions that run while an update's backward pass does are noted, by their weights' shape."""
    again: list[tuple[int, ...]] = []
    running: list[bool] = []
    backward, forward = Accelerator.backward, nn.Conv2d.forward

    def watched_backward(self: Accelerator, loss: torch.Tensor) -> None:
        running.append(True)
        backward(self, loss)
        running.clear()

    def watched_forward(self: nn.Conv2d, images: torch.Tensor) -> torch.Tensor:
        again.extend([tuple(self.weight.shape)] * len(running))
        return forward(self, images)

    monkeypatch.setattr(Accelerator, "backward", watched_backward)
    monkeypatch.setattr(nn.Conv2d, "forward", watched_forward)
    return again


def test_it_changes_nothing_that_is_trained(tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights, batch statistics and their counts: the second computation must not count them a second time."""
    states, again = [], count_what_a_backward_pass_computes(monkeypatch)
    blocks = [layer for name, layer in build(tiny.model.name, num_classes=2).named_modules() if "layer" in name]
    convolutions = [tuple(layer.weight.shape) for layer in blocks if isinstance(layer, nn.Conv2d)]
    steps = (96 - tiny.data.held_out) // tiny.batch_size
    for checkpointing in (False, True):
        engine = EngineConfig(activation_checkpointing=checkpointing)
        config = dataclasses.replace(tiny, epochs=1, engine=engine, output=str(tmp_path / str(checkpointing)))
        train(config)
        assert Counter(again) == Counter(convolutions * steps * checkpointing), "each of a block's runs once more"
        states.append(state.load(RunFolder(Path(config.output)).checkpoints, print).states["model"])
    assert any("running_mean" in name for name in states[0])
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"objective": "pgd_at + awp"}, "awp has moved its weights back when engine.activation_checkpointing"),
        (
            {"surrogate": SurrogateGradients(optimizer="silu"), "model": ModelConfig(activation="keep")},
            "surrogate: engine.activation_checkpointing computes ReLUs again",
        ),
    ],
    ids=["awp", "surrogate"],
)
def test_what_would_give_another_gradient_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Config(engine=EngineConfig(activation_checkpointing=True), **changes)


def test_transformers_offers_it_too() -> None:
    small = {"hidden_size": 8, "num_attention_heads": 1, "intermediate_size": 8, "num_hidden_layers": 1}
    host = build("transformers/vit", num_classes=2, arguments=small)
    checkpoint_activations(host)
    assert any(getattr(module, "gradient_checkpointing", False) for module in host.modules())
