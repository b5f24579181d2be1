"""The interface of an objective."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor, nn

from smoothify.attacks import Attack, Randomness
from smoothify.errors import ConfigError


@dataclass(frozen=True)
class Loss:
    """What an objective gives back: the value to minimise and the logits that tell how training goes.

    Args:
        value: a scalar with a gradient history.
        logits: (batch, classes), of the images that the parameters are updated on, detached.

    >>> import torch
    >>> logits = torch.zeros(4, 10, requires_grad=True)
    >>> loss = Loss(logits.logsumexp(1).mean(), logits.detach())
    >>> loss.value.requires_grad, loss.logits.requires_grad
    (True, False)
    """

    value: Tensor
    logits: Tensor


@dataclass(frozen=True)
class Objective(ABC):
    """How one batch becomes a loss: images are attacked, then compared with the originals.

    To add one, subclass it, give it a `name`, write `compare`, and let `smoothify.objectives.register_objective` know
    it. Its dataclass fields are what a spec such as ``"trades(beta=6)"`` may set.

    Args:
        label_smoothing: in [0, 1); the paper uses none.

    >>> import torch
    >>> from smoothify.attacks import PGD, ThreatModel
    >>> class Margin(Objective):
    ...     name = "margin"
    ...     def compare(self, model, images, attacked, labels):
    ...         logits = model(attacked)
    ...         return Loss(nn.functional.multi_margin_loss(logits, labels), logits.detach())
    >>> model, pgd = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)), PGD(ThreatModel("linf", 0.1), steps=1)
    >>> Margin().loss(model, model, pgd, torch.rand(2, 1, 4, 4), torch.tensor([0, 2])).logits.shape
    torch.Size([2, 3])
    """

    name: ClassVar[str]

    label_smoothing: float = 0.0

    @property
    def takes_soft_labels(self) -> bool:
        """Whether labels may be probabilities, as mixing makes them."""
        return True

    @property
    def judged_by(self) -> Literal["clean", "robust"]:
        """Which accuracy on held-out images says what epoch of a run is its best."""
        return "robust"

    @property
    def starts_at_random(self) -> bool:
        """Whether the attack has to: what it raises is at its minimum at the image itself."""
        return False

    @property
    def takes_targets(self) -> bool:
        """Whether the attack may go towards a wrong class: not if it raises something else than the cross-entropy."""
        return True

    @property
    def attacks(self) -> bool:
        """Whether images are attacked at all."""
        return True

    def loss(
        self,
        model: nn.Module,
        attacked_model: nn.Module,
        attack: Attack,
        images: Tensor,
        labels: Tensor,
        generator: Randomness = None,
    ) -> Loss:
        """Return the loss of a batch.

        Args:
            model: the prepared one; its forward synchronises processes, so it is called once.
            attacked_model: the same weights, not wrapped, perhaps in another precision: attacking it triggers no
                communication and leaves no gradient in a parameter.
            attack: the adversary of training.
            images: (batch, channels, height, width), in [0, 1].
            labels: (batch,), whole numbers; or (batch, classes), probabilities.
            generator: what the attack draws from, so that its noise belongs to the images.
        """
        return self.compare(model, images, self.adversary(attacked_model, attack, images, labels, generator), labels)

    def adversary(
        self, attacked_model: nn.Module, attack: Attack, images: Tensor, labels: Tensor, generator: Randomness
    ) -> Tensor:
        """Return the attacked images that `compare` takes; by default the attack raises the cross-entropy."""
        return attack.perturb(attacked_model, images, labels, generator=generator)

    @abstractmethod
    def compare(self, model: nn.Module, images: Tensor, attacked: Tensor, labels: Tensor) -> Loss:
        """Return the loss, given images and attacked images (batch, channels, height, width); one forward."""


def not_negative(objective: str, setting: str, value: float) -> None:
    """Refuse a setting of an objective that is negative, infinite or NaN."""
    if not 0 <= value < math.inf:
        raise ConfigError(f"objective {objective}({setting}={value:g}): it must be a number from 0 on; choose another")
