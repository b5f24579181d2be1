"""Adversarial training (eq. 1 of the paper; Madry et al., arXiv:1706.06083)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from smoothify.attacks import Attack, Randomness
from smoothify.objectives.base import Loss, Objective


@dataclass(frozen=True)
class AdversarialTraining(Objective):
    """Cross-entropy on attacked images alone.

    Args:
        label_smoothing: in [0, 1); the paper uses none.

    >>> import torch
    >>> from smoothify.attacks import PGD
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    >>> images, labels = torch.rand(2, 1, 4, 4), torch.tensor([0, 2])
    >>> loss = AdversarialTraining().loss(model, model, PGD(), images, labels)
    >>> bool(loss.value > F.cross_entropy(model(images), labels))
    True
    """

    name: ClassVar[str] = "pgd_at"
    label_smoothing: float = 0.0

    def loss(
        self,
        model: nn.Module,
        attacked_model: nn.Module,
        attack: Attack,
        images: Tensor,
        labels: Tensor,
        generator: Randomness = None,
    ) -> Loss:
        """Attack the batch, then take the loss of what came out."""
        logits = model(attack(attacked_model, images, labels, generator=generator))
        return Loss(F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing), logits.detach())
