"""MART (Wang et al., ICLR 2020): misclassified images weigh more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from smoothify.objectives.base import Loss, Objective, not_negative

# Keeps log(1 - p) off zero, as in the authors' code.
_TINY = 1e-4


@dataclass(frozen=True)
class Mart(Objective):
    """BCE(f(x'), y) + β KL(f(x) ‖ f(x')) (1 - f_y(x)), where BCE = -log f_y(x') - log(1 - max of the other f(x')).

    Args:
        beta: weight of the second term, at least 0; 5 in the authors' code.

    >>> Mart().takes_soft_labels
    False
    """

    name: ClassVar[str] = "mart"

    beta: float = 5.0

    def __post_init__(self) -> None:
        not_negative("mart", "beta", self.beta)

    @property
    def takes_soft_labels(self) -> bool:
        """No: its margin is to one right class."""
        return False

    def compare(self, model: nn.Module, images: Tensor, attacked: Tensor, labels: Tensor) -> Loss:
        """Eq. 8 to 10 of the paper; both halves share one forward, and so their batch statistics."""
        natural, adversarial = model(torch.cat([images, attacked])).chunk(2)
        others = adversarial.softmax(1).scatter(1, labels[:, None], 0.0).amax(1)
        margin = -(1 + _TINY - others).log()
        boosted = F.cross_entropy(adversarial, labels, label_smoothing=self.label_smoothing) + margin.mean()
        divergence = F.kl_div(adversarial.log_softmax(1), natural.log_softmax(1), log_target=True, reduction="none")
        doubt = 1 - natural.softmax(1).gather(1, labels[:, None]).squeeze(1)
        return Loss(boosted + self.beta * (divergence.sum(1) * doubt).mean(), adversarial.detach())
