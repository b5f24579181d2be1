"""Adversarial training (eq. 1 of the paper; Madry et al., arXiv:1706.06083), and its mixture with clean images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from smoothify.errors import ConfigError
from smoothify.objectives.base import Loss, Objective


@dataclass(frozen=True)
class AdversarialTraining(Objective):
    """Cross-entropy on attacked images alone.

    >>> from smoothify.attacks import PGD
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    >>> images, labels = torch.rand(2, 1, 4, 4), torch.tensor([0, 2])
    >>> loss = AdversarialTraining().loss(model, model, PGD(), images, labels)
    >>> bool(loss.value > F.cross_entropy(model(images), labels))
    True
    """

    name: ClassVar[str] = "pgd_at"

    def compare(self, model: nn.Module, images: Tensor, attacked: Tensor, labels: Tensor) -> Loss:
        """Take the loss of the attacked batch."""
        logits = model(attacked)
        return Loss(F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing), logits.detach())


@dataclass(frozen=True)
class Mixture(Objective):
    """A share of the clean cross-entropy and the rest of the adversarial one (Kurakin et al., arXiv:1611.01236).

    Args:
        clean: weight of the clean images, in [0, 1].

    >>> images, labels = torch.rand(2, 1, 2, 2), torch.tensor([0, 3])
    >>> Mixture(clean=0.3).compare(nn.Flatten(), images, images, labels).logits.shape
    torch.Size([2, 4])
    """

    name: ClassVar[str] = "mixture"

    clean: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.clean <= 1:
            raise ConfigError(f"objective mixture(clean={self.clean:g}): it must be in [0, 1]")

    def compare(self, model: nn.Module, images: Tensor, attacked: Tensor, labels: Tensor) -> Loss:
        """Weigh both losses; both halves share one forward, and so their batch statistics."""
        natural, adversarial = model(torch.cat([images, attacked])).chunk(2)
        of_clean = F.cross_entropy(natural, labels, label_smoothing=self.label_smoothing)
        of_attacked = F.cross_entropy(adversarial, labels, label_smoothing=self.label_smoothing)
        return Loss(self.clean * of_clean + (1 - self.clean) * of_attacked, adversarial.detach())
