"""Projected gradient descent (Madry et al., arXiv:1706.06083): the attack of adversarial training."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from smoothify.attacks.base import Attack
from smoothify.attacks.noise import Randomness
from smoothify.attacks.threat import parse_epsilon
from smoothify.errors import ConfigError

# The attack needs the direction of the gradient only. Summing the loss over the batch instead of averaging it, and
# scaling it up, keeps small entries from flushing to zero in half precision.
_LOSS_SCALE = 1024.0


@dataclass(frozen=True)
class PGD(Attack):
    """Untargeted PGD on the cross-entropy loss. One step with a random start is the paper's PGD-1 (§3.1).

    Args:
        threat: norm and epsilon.
        steps: how many gradients are taken, at least 1.
        step_size: in [0, 1] pixel units, ``"1/255"`` understood; not given: epsilon for one step,
            else 2.5 · epsilon / steps, which can reach the ball's edge from anywhere in it.
        random_start: start from a uniform draw in the ball instead of the image itself.

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

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ConfigError(f"attack steps={self.steps}: at least 1 is needed")
        if self.step_size is not None:
            object.__setattr__(
                self, "step_size", parse_epsilon(self.step_size, "step_size", largest=self.threat.longest)
            )

    def __str__(self) -> str:
        return f"PGD-{self.steps}"

    @property
    def step(self) -> float:
        """The step size in use, in [0, 1] pixel units."""
        if self.step_size is not None:
            return float(self.step_size)
        return self.threat.radius if self.steps == 1 else 2.5 * self.threat.radius / self.steps

    def run(self, model: nn.Module, images: Tensor, labels: Tensor, generator: Randomness) -> Tensor:
        """Ascend the loss; the gradient is taken with respect to the input alone."""
        attacked = images
        if self.random_start:
            noise = self.threat.ball.start(images, self.threat.radius, generator)
            attacked = self.constrain(images + noise, images)
        for step in range(self.steps):
            attacked = attacked.detach().requires_grad_()
            with torch.enable_grad():
                loss = F.cross_entropy(model(attacked), labels, reduction="sum") * _LOSS_SCALE
            (gradient,) = torch.autograd.grad(loss, attacked)
            attacked = attacked.detach() + self.step * self.threat.ball.direction(gradient)
            if step + 1 < self.steps:
                attacked = self.constrain(attacked, images)
        return attacked
