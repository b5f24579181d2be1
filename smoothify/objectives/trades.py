"""TRADES (Zhang et al., arXiv:1901.08573): accuracy on clean images, and agreement on attacked ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from smoothify.attacks import Attack, Randomness, inference_mode_of
from smoothify.objectives.base import Loss, Objective, not_negative


@dataclass(frozen=True)
class Trades(Objective):
    """CE(f(x), y) + β KL(f(x) ‖ f(x')), where x' raises the second term.

    The attack has to start at random: at x itself the divergence is at its minimum and has no gradient.

    Args:
        beta: weight of the divergence, at least 0; 6 in the paper's CIFAR-10 experiments.

    >>> Trades(beta=-1.0)
    Traceback (most recent call last):
    smoothify.errors.ConfigError: objective trades(beta=-1): it must be a number from 0 on; choose another
    """

    name: ClassVar[str] = "trades"

    beta: float = 6.0

    def __post_init__(self) -> None:
        not_negative("trades", "beta", self.beta)

    @property
    def starts_at_random(self) -> bool:
        """Yes."""
        return True

    @property
    def takes_targets(self) -> bool:
        """No: it raises the divergence."""
        return False

    def adversary(
        self, attacked_model: nn.Module, attack: Attack, images: Tensor, labels: Tensor, generator: Randomness
    ) -> Tensor:
        """Raise the divergence: with the clean prediction fixed, the cross-entropy to it has the same gradient."""
        by_batch = attack.batch_norm == "train"  # both sides of the divergence are taken alike
        with inference_mode_of(attacked_model, batch_statistics=by_batch), torch.no_grad():
            predicted = attacked_model(images).softmax(1)
        return attack.perturb(attacked_model, images, predicted, generator=generator)

    def compare(self, model: nn.Module, images: Tensor, attacked: Tensor, labels: Tensor) -> Loss:
        """Eq. 5 of arXiv:1901.08573; both halves share one forward, and so their batch statistics."""
        natural, adversarial = model(torch.cat([images, attacked])).chunk(2)
        divergence = F.kl_div(
            adversarial.log_softmax(1), natural.log_softmax(1), log_target=True, reduction="batchmean"
        )
        accuracy = F.cross_entropy(natural, labels, label_smoothing=self.label_smoothing)
        return Loss(accuracy + self.beta * divergence, adversarial.detach())
