"""Ways to look robust without being it: models and attacks that a reviewer has met, planted on an honest model."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from smoothify.attacks import PGD, Attack
from smoothify.models import PixelClassifier


class Planted(nn.Module):
    """Stands before an honest model."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model


class Quantised(Planted):
    """Rounds its input: no gradient gets through."""

    def forward(self, images: Tensor) -> Tensor:
        return self.model((images * 16).round() / 16)


class Saturated(Planted):
    """Multiplies the logits until softmax is 0 or 1 and its gradient vanishes."""

    def forward(self, images: Tensor) -> Tensor:
        return self.model(images) * 1e6


class Noisy(Planted):
    """Adds noise to its input."""

    def forward(self, images: Tensor) -> Tensor:
        return self.model(images + 0.05 * torch.randn_like(images))


def normalises_twice(model: PixelClassifier) -> nn.Module:
    return PixelClassifier(model, mean=model.mean.flatten().tolist(), std=model.std.flatten().tolist())


class ShatteredActivation(nn.Module):
    """An activation that goes up in steps: its slope is zero, or that of the smooth one beneath with ripples on it."""

    def __init__(self, smooth: nn.Module, ripple: float) -> None:
        super().__init__()
        self.smooth, self.ripple = smooth, ripple

    def forward(self, x: Tensor) -> Tensor:
        x = self.smooth(x)
        return x + self.ripple * torch.sin(x / self.ripple * 20) if self.ripple else (x * 8).round() / 8


def shattered(ripple: float) -> Callable[[PixelClassifier], nn.Module]:
    def plant(model: PixelClassifier) -> nn.Module:
        model.model[3] = ShatteredActivation(model.model[3], ripple)
        return model

    return plant


class Detector(Planted):
    """Knows that camera images have 256 levels; whatever has not is answered without a gradient."""

    def forward(self, images: Tensor) -> Tensor:
        levels = images.detach() * 255
        perturbed = ((levels - levels.round()).abs() > 1e-3).flatten(1).any(1)
        logits = self.model(images)
        return torch.where(perturbed[:, None], logits.detach(), logits)


class Dropping(Planted):
    """Leaves dropout on when it is measured."""

    def forward(self, images: Tensor) -> Tensor:
        return self.model(F.dropout(images, 0.2, training=True))


class Augmenting(Planted):
    """Averages over shifted copies, shifted at random each time."""

    def forward(self, images: Tensor) -> Tensor:
        shifts = torch.randint(-2, 3, (4, 2)).tolist()
        return torch.stack([self.model(images.roll((down, right), (2, 3))) for down, right in shifts]).mean(0)


class BatchStatistics(Planted):
    """Normalises by the batch's own statistics, whatever mode it is put in."""

    def forward(self, images: Tensor) -> Tensor:
        return self.model(F.batch_norm(images, None, None, training=True).sigmoid())


class Ordered(Planted):
    """Has learnt in which order the labels come."""

    def __init__(self, model: nn.Module, labels: Tensor) -> None:
        super().__init__(model)
        self.register_buffer("labels", labels)

    def forward(self, images: Tensor) -> Tensor:
        known = torch.arange(len(images)) % len(self.labels)
        return self.model(images) + 2 * F.one_hot(self.labels[known], 10)


class Watchful(Planted):
    """Answers an attacker, who records gradients, as another model would."""

    def forward(self, images: Tensor) -> Tensor:
        logits = self.model(images)
        return logits.roll(1, dims=1) if images.requires_grad else logits


class _Backwards(torch.autograd.Function):
    @staticmethod
    def forward(context, images):
        return images.clone()

    @staticmethod
    def backward(context, gradient):
        return gradient.flip(-1)


class Misleading(Planted):
    """Has a backward pass of its own that points elsewhere."""

    def forward(self, images: Tensor) -> Tensor:
        return self.model(_Backwards.apply(images))


class Remembering(Planted):
    """Knows the test images, and answers for the nearest; the gradient is an honest model's."""

    def __init__(self, model: nn.Module, images: Tensor, labels: Tensor) -> None:
        super().__init__(model)
        self.register_buffer("images", images)
        self.register_buffer("labels", labels)

    def forward(self, images: Tensor) -> Tensor:
        nearest = torch.cdist(images.detach().flatten(1), self.images.flatten(1)).argmin(1)
        logits = self.model(images)
        return logits - logits.detach() + 20 * F.one_hot(self.labels[nearest], 10)


class CutOff(Planted):
    """Computes where autograd does not see it."""

    def forward(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            return self.model(images)


class Broken(Planted):
    """Divides by zero on dark images."""

    def forward(self, images: Tensor) -> Tensor:
        return self.model(images) / (images.flatten(1).mean(1) > 0.2)[:, None]


class Nothing(Attack):
    """Returns its input."""

    def run(self, model, images, labels, generator):
        return images


class Elsewhere(PGD):
    """Attacks another model than the one that is measured."""

    def find(self, model, images, labels, *, generator=None, full=False):
        torch.manual_seed(1)
        other = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
        found = super().find(other, images, labels, generator=generator, full=True)
        with torch.no_grad():
            fell = model(found.images).argmax(1) != labels
        return type(found)(found.images, fell, found.step, found.attack)


class Boastful(PGD):
    """Says that every image fell."""

    def find(self, model, images, labels, *, generator=None, full=False):
        found = super().find(model, images, labels, generator=generator)
        return type(found)(found.images, torch.ones_like(found.fell), found.step, found.attack)


class Overreaching(PGD):
    """Goes twice as far as its threat model lets it."""

    def find(self, model, images, labels, *, generator=None, full=False):
        found = super().find(model, images, labels, generator=generator)
        return type(found)(2 * found.images - images, found.fell, found.step, found.attack)
