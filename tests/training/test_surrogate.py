"""The four rows of the paper's Table 1 are four configs of one ReLU model, and the derivative is in the right pass."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

import smoothify
from smoothify.activations import SurrogateGradients
from smoothify.errors import ConfigError
from smoothify.objectives import AdversarialTraining
from smoothify.train import read
from smoothify.training import Config, train

SOFTPLUS = "parametric_softplus"
ROWS = {
    "neither": SurrogateGradients(),
    "attacker": SurrogateGradients(attacker=SOFTPLUS),
    "optimizer": SurrogateGradients(optimizer=SOFTPLUS),
    "both": SurrogateGradients(attacker=SOFTPLUS, optimizer=SOFTPLUS),
}


def first_step(config: Config, monkeypatch: pytest.MonkeyPatch) -> tuple[Tensor, dict[str, Tensor]]:
    """Train; return the first batch as it was attacked, and the weights at the end."""
    seen: list[Tensor] = []
    original = AdversarialTraining.adversary

    def noted(*arguments: Any) -> Tensor:
        seen.append(original(*arguments))
        return seen[-1]

    monkeypatch.setattr(AdversarialTraining, "adversary", noted)
    train(config)
    monkeypatch.undo()
    return seen[0], smoothify.from_pretrained(f"{config.output}/last").state_dict()


def test_each_row_of_table_1_changes_its_own_pass(
    tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = {}
    for name, surrogate in ROWS.items():
        config = dataclasses.replace(
            tiny,
            output=str(tmp_path / name),
            epochs=1,
            surrogate=surrogate,
            model=dataclasses.replace(tiny.model, activation="keep"),
        )
        rows[name] = first_step(config, monkeypatch)
    attacked = {name: images for name, (images, _) in rows.items()}
    assert torch.equal(attacked["neither"], attacked["optimizer"])
    assert torch.equal(attacked["attacker"], attacked["both"])
    assert not torch.equal(attacked["neither"], attacked["attacker"])
    weights = {name: state["conv1.0.weight"] for name, (_, state) in rows.items()}
    for one, other in [("neither", "attacker"), ("neither", "optimizer"), ("attacker", "both"), ("optimizer", "both")]:
        assert not torch.equal(weights[one], weights[other])


def test_what_is_exported_is_plain_relu_and_needs_nothing_of_ours(tiny: Config) -> None:
    keep = dataclasses.replace(tiny.model, activation="keep")
    train(dataclasses.replace(tiny, epochs=1, surrogate=ROWS["both"], model=keep))
    native = timm.create_model(f"local-dir:{tiny.output}/best", pretrained=True)
    assert any(isinstance(module, nn.ReLU) for module in native.modules())
    assert not any(type(module).__module__.startswith("smoothify") for module in native.modules())


def test_standard_training_takes_a_surrogate_too(tiny: Config, tmp_path: Path) -> None:
    states = []
    for name in ("neither", "optimizer"):
        config = read(
            ["--output", str(tmp_path / name), "--objective", "standard", "--epochs", "1", "--model.activation", "keep"]
            + [f"--surrogate.optimizer={SOFTPLUS}"] * (name == "optimizer")
        ).config
        assert (config.surrogate.optimizer == SOFTPLUS) == (name == "optimizer")
        small = dataclasses.replace(tiny, output=config.output, epochs=1, objective=config.objective,
                                    model=config.model, surrogate=config.surrogate)  # fmt: skip
        train(small)
        states.append(smoothify.from_pretrained(f"{config.output}/last").state_dict()["conv1.0.weight"])
    assert not torch.equal(*states)


def test_a_surrogate_without_a_relu_is_refused(tiny: Config) -> None:
    with pytest.raises(ConfigError, match="leaves no ReLU"):
        dataclasses.replace(tiny, surrogate=ROWS["attacker"])
