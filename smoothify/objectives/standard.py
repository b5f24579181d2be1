"""Standard training: the baseline without an adversary."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from smoothify.attacks import Attack, Randomness
from smoothify.objectives.base import Loss, Objective


@dataclass(frozen=True)
class StandardTraining(Objective):
    """Cross-entropy on the images as they are; the attack is not used.

    >>> import torch
    >>> from smoothify.attacks import PGD
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    >>> images, labels = torch.rand(2, 1, 4, 4), torch.tensor([0, 2])
    >>> loss = StandardTraining().loss(model, model, PGD(), images, labels)
    >>> bool(loss.value == F.cross_entropy(model(images), labels))
    True
    """

    name: ClassVar[str] = "standard"

    @property
    def judged_by(self) -> Literal["clean", "robust"]:
        """Clean accuracy: that under attack is noise about zero, and highest before anything is learned."""
        return "clean"

    @property
    def attacks(self) -> bool:
        """No."""
        return False

    def adversary(
        self, attacked_model: nn.Module, attack: Attack, images: Tensor, labels: Tensor, generator: Randomness
    ) -> Tensor:
        """Return the images as they are."""
        return images

    def compare(self, model: nn.Module, images: Tensor, attacked: Tensor, labels: Tensor) -> Loss:
        """Take the loss of the clean batch."""
        logits = model(images)
        return Loss(F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing), logits.detach())
