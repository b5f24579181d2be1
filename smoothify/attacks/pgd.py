"""Projected gradient descent (Madry et al., arXiv:1706.06083): the attack of adversarial training."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from smoothify.attacks.base import Attack, Found, refuse_outside_pixels
from smoothify.attacks.gradients import gradient_of
from smoothify.attacks.noise import Randomness, uniform
from smoothify.attacks.threat import parse_epsilon
from smoothify.errors import ConfigError
from smoothify.protocol import usual_step

# The attack needs the direction of the gradient only. Summing the loss over the batch instead of averaging it, and
# scaling it up, keeps small entries from flushing to zero in half precision.
LOSS_SCALE = 1024.0


@dataclass(frozen=True)
class PGD(Attack):
    """PGD on the cross-entropy loss. One step with a random start is the paper's PGD-1 (§3.1).

    Args:
        threat: norm and epsilon.
        steps: how many gradients are taken, at least 1.
        step_size: in [0, 1] pixel units, ``"1/255"`` understood; not given: epsilon for one step,
            else 2.5 · epsilon / steps, which can reach the ball's edge from anywhere in it; at most a pixel's range.
        random_start: start from a uniform draw in the ball instead of the image itself.
        clean_start: share of images, in [0, 1], that start from themselves all the same.
        targeted: go towards a class drawn at random among the wrong ones, instead of away from the right one.

    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    >>> images, labels = torch.rand(2, 1, 4, 4), torch.tensor([0, 2])
    >>> attacked = PGD(steps=10)(model, images, labels)
    >>> bool((attacked - images).abs().max() <= 0.1 + 1e-6)
    True
    >>> bool(F.cross_entropy(model(attacked), labels) > F.cross_entropy(model(images), labels))
    True
    """

    steps: int = 1
    step_size: float | str | None = None
    random_start: bool = True
    clean_start: float = 0.0
    targeted: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.clean_start <= 1:
            raise ConfigError(f"attack clean_start={self.clean_start}: it must be in [0, 1]")
        if self.steps < 1:
            raise ConfigError(f"attack steps={self.steps}: at least 1 is needed")
        if self.step_size is not None:
            object.__setattr__(
                self, "step_size", parse_epsilon(self.step_size, "step_size", largest=self.threat.longest)
            )

    def __str__(self) -> str:
        return f"{'targeted ' if self.targeted else ''}PGD-{self.steps}"

    @property
    def step(self) -> float:
        """The step size in use, in [0, 1] pixel units."""
        if self.step_size is not None:
            return float(self.step_size)
        return usual_step(self.threat.norm, self.threat.radius, self.steps)

    @property
    def image_by_image(self) -> bool:
        """Whether batch norms use no statistics of the batch."""
        return self.batch_norm == "eval"

    def run(self, model: nn.Module, images: Tensor, labels: Tensor, generator: Randomness) -> Tensor:
        """Ascend the loss, or descend that of the target; the gradient is taken with respect to the input alone."""
        attacked = self._start(images, generator)
        aims = self._wrong_classes(model, images, labels, generator) if self.targeted else labels
        for step in range(self.steps):
            attacked, _ = self._ascend(model, attacked, aims)
            if step + 1 < self.steps:
                attacked = self.constrain(attacked, images)
        return attacked

    def find(
        self, model: nn.Module, images: Tensor, labels: Tensor, *, generator: Randomness = None, full: bool = False
    ) -> Found:
        """Take the same steps as a call, look at the image after each, and go on with those that still stand.

        An image is also left alone once its iterates repeat: from there on PGD would only try again what it has
        tried. The model must be deterministic for that.
        """
        if full or self.targeted or self.batch_norm == "train":
            return super().find(model, images, labels, generator=generator)
        refuse_outside_pixels(images)
        tried = self._start(images.detach(), generator)
        result, fell = tried.clone(), torch.zeros_like(labels, dtype=torch.bool)
        step_of = torch.full_like(labels, -1)
        standing = torch.arange(len(labels), device=labels.device)
        repetition = _Repetition(tried)
        for step in range(self.steps + 1):
            if step < self.steps:
                following, logits = self._ascend(model, tried, labels[standing])
                following = self.constrain(following, images[standing])
            else:
                with torch.no_grad():
                    following, logits = tried, model(tried)
            result[standing] = tried
            falls = logits.argmax(1) != labels[standing]
            fell[standing[falls]] = True
            step_of[standing[falls]] = step
            going_on = (~falls & ~repetition.meets(following, step)).nonzero().flatten()
            if len(going_on) == 0:
                break
            if len(going_on) < len(standing):
                standing, following = standing[going_on], following[going_on]
                repetition.keep(going_on)
            tried = following
        return Found(result, fell, step_of, (str(self),) * len(labels))

    def _start(self, images: Tensor, generator: Randomness) -> Tensor:
        if not self.random_start:
            return images
        noise = self.threat.ball.start(images, self.threat.radius, generator)
        if self.clean_start:
            draw = uniform(images.new_empty(len(images)), 0.0, 1.0, generator)
            noise = noise * (draw >= self.clean_start).view(-1, 1, 1, 1)
        return self.constrain(images + noise, images)

    def _wrong_classes(self, model: nn.Module, images: Tensor, labels: Tensor, generator: Randomness) -> Tensor:
        """Draw for each image one class that is not its own; of probabilities the likeliest counts as its own."""
        with torch.no_grad():
            classes = model(images).shape[1]
        right = labels if labels.ndim == 1 else labels.argmax(1)
        draw = uniform(torch.empty(len(right), device=right.device), 0.0, 1.0, generator)
        wrong: Tensor = (right + 1 + (draw * (classes - 1)).long().clamp_max(classes - 2)) % classes
        return wrong

    def _ascend(self, model: nn.Module, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the images one step up the loss, not constrained, and the logits where they were."""
        images = images.detach().requires_grad_()
        with torch.enable_grad():
            logits = model(images)
            loss = F.cross_entropy(logits, labels, reduction="sum") * (-LOSS_SCALE if self.targeted else LOSS_SCALE)
        gradient = gradient_of(loss, images, self)
        return images.detach() + self.step * self.threat.ball.direction(gradient), logits.detach()


class _Repetition:
    """Tells which images' iterates have come back to where they were (Brent, BIT 20, 1980).

    PGD without noise is a map of an image to the next: an iterate that equals an earlier one to the last bit starts
    a cycle. One earlier iterate is kept, and exchanged for the newest whenever the step's number is a power of two.
    """

    def __init__(self, images: Tensor) -> None:
        self._kept = images

    def meets(self, images: Tensor, step: int) -> Tensor:
        met = (images == self._kept).flatten(1).all(1)
        if (step + 1).bit_count() == 1:
            self._kept = images
        return met

    def keep(self, standing: Tensor) -> None:
        self._kept = self._kept[standing]
