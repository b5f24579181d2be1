"""Objectives by name: the registry, and the value and gradient of each."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from smoothify import objectives
from smoothify.attacks import PGD, ThreatModel
from smoothify.errors import UnknownNameError


def setting() -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 3)), torch.rand(5, 1, 4, 4), torch.tensor([0, 2, 1, 1, 0])


def test_registry_holds_every_objective_and_suggests() -> None:
    kinds = [value for value in vars(objectives).values() if isinstance(value, type)]
    defined = {kind for kind in kinds if issubclass(kind, objectives.Objective) and kind is not objectives.Objective}
    assert set(objectives.OBJECTIVES.values()) == defined
    with pytest.raises(UnknownNameError, match="did you mean 'standard'"):
        objectives.objective("standart")


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_adversarial_training_is_cross_entropy_on_attacked_images(label_smoothing: float) -> None:
    model, images, labels = setting()
    attack = PGD(ThreatModel("linf", 0.1), random_start=False)
    loss = objectives.objective("pgd_at", label_smoothing=label_smoothing).loss(model, model, attack, images, labels)
    logits = model(attack(model, images, labels))
    assert torch.equal(loss.value, F.cross_entropy(logits, labels, label_smoothing=label_smoothing))
    assert torch.equal(loss.logits, logits)
    assert not loss.logits.requires_grad
    loss.value.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_attack_sees_the_unwrapped_model_only() -> None:
    """What a wrapper does in forward (synchronise, reduce) must happen once a step: in the update."""
    calls = []

    class Wrapper(nn.Module):
        def __init__(self, module: nn.Module) -> None:
            super().__init__()
            self.module = module

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            calls.append(len(images))
            return self.module(images)

    model, images, labels = setting()
    objectives.objective("pgd_at").loss(Wrapper(model), model, PGD(steps=3), images, labels)
    assert calls == [5]


def test_standard_training_uses_no_attack() -> None:
    model, images, labels = setting()
    loss = objectives.objective("standard").loss(model, model, None, images, labels)
    assert torch.equal(loss.value, F.cross_entropy(model(images), labels))
