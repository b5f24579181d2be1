"""The loss around an image, as in the paper's Figure 5: over a plane that adversarial perturbations span."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from smoothify.attacks import Attack, inference_mode_of
from smoothify.errors import ConfigError, UnknownNameError
from smoothify.evaluation.logits import logits_of, predict, refuse_labels
from smoothify.evaluation.precision import full_precision

_SECONDS = ("adversarial", "random")
_BATCH = 256  # points of the plane that go through the model at a time


@dataclass(frozen=True)
class Landscape:
    """The cross-entropy on a square grid around an image.

    Args:
        loss: (points, points); ``loss[i, j]`` is the loss ``offsets[i]`` along the first direction and ``offsets[j]``
            along the second.
        wrong: (points, points), where the image is no longer classified as its label.
        offsets: (points,), in epsilons.
        second: what the second direction is.
        attack: what found the first direction, and within which threat model.

    >>> loss = torch.tensor([[0.1, 0.2, 0.4], [0.1, 0.2, 0.4], [0.1, 0.2, 0.4]])
    >>> around = Landscape(loss, loss > 0.3, torch.tensor([-1.0, 0.0, 1.0]), "random", "PGD-5, Linf, epsilon 0.1")
    >>> around.wrong[1].tolist()
    [False, False, True]
    """

    loss: Tensor
    wrong: Tensor
    offsets: Tensor
    second: str
    attack: str


def landscape(
    model: nn.Module,
    image: Tensor,
    label: int,
    attack: Attack,
    *,
    second: Literal["adversarial", "random"] = "random",
    points: int = 41,
    extent: float = 1.0,
    seed: int = 0,
) -> Landscape:
    """Measure the loss around one image (paper §6, Figure 5).

    Both directions have the threat model's size: one epsilon. The first is what the attack does to the image. The
    second is what it does from another random start, less the part that points where the first does; or random: signs
    under Linf, a Gaussian under L2. Where the plane leaves [0, 1] the image is clipped.

    Args:
        model: maps images in [0, 1] to logits (batch, classes).
        image: (channels, height, width), in [0, 1].
        label: its class.
        attack: finds the adversarial directions; one with a random start if ``second`` is ``"adversarial"``.
        second: the second direction.
        points: along each direction; odd, so that the image itself is one.
        extent: how far to go each way, in epsilons.
        seed: of the attack's random start and of the random direction.

    Raises:
        ConfigError: fewer than 3 points or an even number; an epsilon of 0; an attack that does not move the image, or
            that finds the same direction twice.
        DataError: a label that the model has no class for.
        UnknownNameError: another second direction.

    >>> from smoothify.attacks import PGD, ThreatModel
    >>> linear = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    >>> around = landscape(linear, torch.rand(1, 4, 4), 0, PGD(ThreatModel("linf", 0.1), steps=5), points=5)
    >>> tuple(around.loss.shape), around.offsets.tolist()
    ((5, 5), [-1.0, -0.5, 0.0, 0.5, 1.0])
    """
    if points < 3 or points % 2 == 0:
        raise ConfigError(f"points={points}: an odd number from 3 on is needed, so that the image itself is one")
    if second not in _SECONDS:
        raise UnknownNameError("second", second, _SECONDS)
    if attack.threat.radius == 0:
        raise ConfigError(
            f"{attack} finds no direction around this image: within {attack.threat} it cannot move: give an epsilon "
            "above 0"
        )
    labels = torch.tensor([label], device=image.device)
    offsets = torch.linspace(-extent, extent, points, device=image.device)
    with full_precision(image.device), inference_mode_of(model):
        refuse_labels(labels, logits_of(model, image[None]).shape[1])
        first = _found(model, image, labels, attack, seed)
        if second == "random":
            other = _noise(image, seed) if attack.threat.norm == "l2" else _noise(image, seed).sign()
        else:
            other = _found(model, image, labels, attack, seed + 1)
        second_direction = _across(other, first, attack)
        across, along = torch.meshgrid(offsets, offsets, indexing="ij")
        plane = torch.stack([across.flatten(), along.flatten()], dim=1)
        losses, wrong = [], []
        for part in torch.split(plane, _BATCH):
            moved = image + (part @ torch.stack([first.flatten(), second_direction.flatten()])).view(-1, *image.shape)
            moved = moved.clamp(0, 1)
            expected = labels.expand(len(moved))
            wrong.append(predict(model, moved, expected) != expected)
            with torch.no_grad():
                losses.append(F.cross_entropy(model(moved), expected, reduction="none"))
    square = (points, points)
    return Landscape(
        torch.cat(losses).view(square).cpu(),
        torch.cat(wrong).view(square).cpu(),
        offsets.cpu(),
        second,
        f"{attack}, {attack.threat}",
    )


def _found(model: nn.Module, image: Tensor, labels: Tensor, attack: Attack, seed: int) -> Tensor:
    generator = torch.Generator(image.device).manual_seed(seed)
    perturbation = (attack(model, image[None], labels, generator=generator) - image)[0]
    return _sized(perturbation, attack)


def _noise(image: Tensor, seed: int) -> Tensor:
    return torch.randn(image.shape, generator=torch.Generator().manual_seed(seed)).to(image)


def _across(direction: Tensor, first: Tensor, attack: Attack) -> Tensor:
    """Return the part of a direction that is at right angles to the first, at one epsilon."""
    return _sized(direction - first * (direction * first).sum() / first.square().sum(), attack)


def _sized(perturbation: Tensor, attack: Attack) -> Tensor:
    """Scale a perturbation to one epsilon."""
    size = attack.threat.ball.size(perturbation[None])
    if size < 1e-3 * attack.threat.radius:
        raise ConfigError(f"{attack} found no direction of its own around this image; use another attack or image")
    return perturbation * attack.threat.radius / size
