"""The interface of an objective."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from smoothify.attacks import Attack, Randomness


@dataclass(frozen=True)
class Loss:
    """What an objective gives back: the value to minimise and the logits that tell how training goes.

    Args:
        value: a scalar with a gradient history.
        logits: (batch, classes), of the images that the parameters are updated on, detached.
    """

    value: Tensor
    logits: Tensor


class Objective(ABC):
    """How one batch becomes a loss. To add one, subclass it and name it in `smoothify.objectives.OBJECTIVES`.

    ``model`` is the prepared one (its forward synchronises processes); ``attacked_model`` has the same weights, is not
    wrapped, and may compute in another precision: an attack on it triggers no communication and leaves no gradient in
    a parameter.
    """

    name: ClassVar[str]

    @abstractmethod
    def loss(
        self,
        model: nn.Module,
        attacked_model: nn.Module,
        attack: Attack,
        images: Tensor,
        labels: Tensor,
        generator: Randomness = None,
    ) -> Loss:
        """Return the loss of images (batch, channels, height, width) in [0, 1] with labels (batch,).

        ``generator`` is what the attack draws from, so that its noise belongs to the images.
        """
