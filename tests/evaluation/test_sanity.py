"""An honest measurement passes; each planted fraud is caught by a check that names it."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from smoothify.attacks import PGD, Attack, ThreatModel
from smoothify.data import Images
from smoothify.evaluation import CHECKS, Check, sanity
from smoothify.models import PixelClassifier
from tests.evaluation.conftest import EPSILON

LINF = ThreatModel("linf", EPSILON)
HONEST = PGD(LINF, steps=20, step_size=EPSILON / 4)


class Quantised(nn.Module):
    """Rounds its input: no gradient gets through."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.model((images * 16).round() / 16)


class Saturated(Quantised):
    """Multiplies the logits until softmax is 0 or 1 and its gradient vanishes."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.model(images) * 1e6


class Noisy(Quantised):
    """Adds noise to its input."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.model(images + 0.05 * torch.randn_like(images))


class Nothing(Attack):
    """Returns its input."""

    def run(self, model, images, labels, generator):
        return images


def twice(model: PixelClassifier) -> nn.Module:
    return PixelClassifier(model, mean=model.mean.flatten().tolist(), std=model.std.flatten().tolist())


FRAUDS: dict[str, tuple[Callable[[PixelClassifier], nn.Module], Attack, set[str]]] = {
    "quantised input": (Quantised, HONEST, {"gradients of zero", "white box, black box"}),
    "saturated softmax": (Saturated, HONEST, {"gradients of zero", "logits rescaled"}),
    "random noise": (Noisy, HONEST, {"deterministic"}),
    "normalises twice": (twice, HONEST, {"normalised once"}),
    "attack returns its input": (
        lambda model: model, Nothing(LINF), {"attack moves images", "multi-step, one step, noise"},
    ),
}  # fmt: skip


def test_an_honest_measurement_fails_nothing(trained: PixelClassifier, test_images: Images) -> None:
    outcomes = sanity(trained, test_images, HONEST)
    print(*outcomes, sep="\n")
    assert [outcome.check for outcome in outcomes] == [check.name for check in CHECKS]
    assert [str(outcome) for outcome in outcomes if outcome.verdict == "fail"] == []


@pytest.mark.parametrize("fraud", FRAUDS)
def test_frauds_are_caught(fraud: str, trained: PixelClassifier, test_images: Images) -> None:
    plant, attack, caught_by = FRAUDS[fraud]
    outcomes = sanity(plant(trained), test_images, attack)
    print(*outcomes, sep="\n")
    assert caught_by <= {outcome.check for outcome in outcomes if outcome.verdict == "fail"}


def test_a_check_of_ones_own(trained: PixelClassifier, test_images: Images) -> None:
    grey = Check("grey", lambda subject: ("pass", f"{subject.images.shape[1]} channel"))
    (outcome,) = sanity(trained, test_images, HONEST, checks=[grey])
    assert str(outcome) == "pass            grey: 1 channel"
