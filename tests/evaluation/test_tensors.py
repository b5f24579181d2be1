"""Images that are given as tensors."""

from pathlib import Path

import pytest
import torch
from torch import nn

from smoothify.attacks import PGD
from smoothify.data import Images, load
from smoothify.errors import ConfigError, DataError
from smoothify.evaluation import CHECKS, robust_accuracy, sanity


def sample(count: int) -> Images:
    return Images(load(split="test"), input_size=(1, 28, 28), indices=range(count))


def nearest_mean() -> nn.Module:
    """A classifier that takes an image for the class whose mean image is nearest."""
    pixels, labels = sample(200).batch(range(200))
    means = torch.stack([pixels[labels == label].flatten(1).mean(0) for label in range(10)])
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    model[1].weight.data, model[1].bias.data = means, -means.square().sum(1) / 2
    return model


def test_tensors_are_measured_like_the_images_that_they_are_of() -> None:
    images, attack = sample(30), PGD(steps=2)
    pixels, labels = images.batch(range(30))
    measured = robust_accuracy(nearest_mean(), (pixels, labels), attack, batch_size=7)
    assert measured.robust_correct == robust_accuracy(nearest_mean(), images, attack).robust_correct
    assert sum(measured.clean_correct) > 0
    found = sanity(nearest_mean(), (pixels, labels), attack, checks=CHECKS[:1])
    assert found.verdict == "1 of 1 checks passed"


def test_an_evaluation_of_tensors_goes_on_with_the_same_pixels_only(tmp_path: Path) -> None:
    pixels, labels = sample(10).batch(range(10))
    stored = robust_accuracy(nearest_mean(), (pixels, labels), PGD(), state=tmp_path)
    other = robust_accuracy(nearest_mean(), (pixels.flip(0), labels), PGD(), state=tmp_path)
    assert other.clean_correct != stored.clean_correct


@pytest.mark.parametrize(
    ("pixels", "labels", "words"),
    [
        (torch.rand(2, 1, 4, 4) * 255, torch.tensor([0, 1]), "not normalised"),
        (torch.full((2, 1, 4, 4), float("nan")), torch.tensor([0, 1]), r"pixels in \[nan, nan\]"),
        (torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.tensor([0, 1]), r"uint8; give .* floating, in \[0, 1\]"),
        (torch.rand(2, 16), torch.tensor([0, 1]), r"pixels of shape \(2, 16\)"),
        (torch.rand(2, 1, 4, 4), torch.tensor([0.0, 1.0]), "give each a whole number"),
        (torch.rand(2, 1, 4, 4), torch.tensor([0]), r"labels of shape \(1,\), torch.int64 for 2 images"),
        (torch.rand(2, 1, 4, 4), torch.tensor([0, -1]), "label -1 is negative"),
    ],
)
def test_tensors_that_are_no_images_are_refused(pixels: torch.Tensor, labels: torch.Tensor, words: str) -> None:
    with pytest.raises(DataError, match=words):
        robust_accuracy(nearest_mean(), (pixels, labels), PGD())


def test_what_is_neither_images_nor_an_attack_is_refused() -> None:
    with pytest.raises(DataError, match="not as list; of a DataLoader, concatenate"):
        robust_accuracy(nearest_mean(), [sample(5).batch(range(5))], PGD())
    with pytest.raises(
        ConfigError, match=r"attack='pgd-10' is no attack; build it with smoothify.attacks.attack\('pgd"
    ):
        robust_accuracy(nearest_mean(), sample(5), "pgd-10")
