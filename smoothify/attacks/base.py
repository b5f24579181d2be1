"""What every attack shares: checks, the model's mode, and staying inside the threat model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from torch import Tensor, nn

from smoothify.attacks.noise import Randomness
from smoothify.attacks.threat import ThreatModel
from smoothify.errors import DataError


@dataclass(frozen=True)
class Attack(ABC):
    """An adversary. To add one, subclass it and write `run`; calling it does the rest.

    The model is a function from images in [0, 1] to logits (`smoothify.PixelClassifier`). During the attack it is in
    eval mode (batch norm uses its running statistics, as SAT's authors do), afterwards every module is in the mode
    it was in. What `run` returns is projected into the threat model and clipped to [0, 1].
    """

    threat: ThreatModel = field(default_factory=ThreatModel)

    @abstractmethod
    def run(self, model: nn.Module, images: Tensor, labels: Tensor, generator: Randomness) -> Tensor:
        """Return attacked images (batch, channels, height, width); the caller projects and clips them."""

    def __call__(self, model: nn.Module, images: Tensor, labels: Tensor, *, generator: Randomness = None) -> Tensor:
        """Attack a batch.

        Args:
            model: maps images in [0, 1] to logits (batch, classes).
            images: (batch, channels, height, width), in [0, 1].
            labels: (batch,), whole numbers; or (batch, classes), probabilities.
            generator: where random numbers come from: a `torch.Generator` on the images' device, or `SampleNoise`;
                torch's global generator if not given.

        Returns:
            Images of the same shape inside the threat model and inside [0, 1], without a gradient history.
        """
        if images.ndim != 4 or labels.ndim not in (1, 2) or len(labels) != len(images):
            raise DataError(
                f"images {tuple(images.shape)} with labels {tuple(labels.shape)}; an attack takes "
                "(batch, channels, height, width) and (batch,) or (batch, classes)"
            )
        images = images.detach()
        with inference_mode_of(model):
            attacked = self.run(model, images, labels, generator)
        return self.constrain(attacked.detach(), images)

    def constrain(self, attacked: Tensor, images: Tensor) -> Tensor:
        """Return the nearest images inside the threat model around ``images`` and inside [0, 1]."""
        perturbation = self.threat.ball.project(attacked - images, self.threat.radius)
        return (images + perturbation).clamp_(0, 1)


@contextmanager
def inference_mode_of(model: nn.Module) -> Iterator[None]:
    """Put every module in eval mode, and afterwards each back into the mode that it was in."""
    training = [module for module in model.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True
