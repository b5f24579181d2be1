"""What every attack shares: checks, and staying inside the threat model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from smoothify.attacks.gradients import Guarded
from smoothify.attacks.mode import inference_mode_of
from smoothify.attacks.noise import Randomness
from smoothify.attacks.threat import ThreatModel
from smoothify.errors import ConfigError, DataError


@dataclass(frozen=True)
class Attack(ABC):
    """An adversary. To add one, subclass it and write `run`; calling it does the rest.

    The model is a function from images in [0, 1] to logits (`smoothify.PixelClassifier`). During the attack it is in
    eval mode, afterwards every module is in the mode it was in. What `run` returns is projected into the threat model
    and clipped to [0, 1].

    Args:
        threat: norm and epsilon.
        batch_norm: ``"eval"``, it uses its running statistics, as SAT's authors do; ``"train"``, it uses those of the
            attacked batch, and the running ones stay as they are.

    >>> class Noise(Attack):
    ...     def run(self, model, images, labels, generator):
    ...         return images + 3 * self.threat.ball.start(images, self.threat.radius, generator)
    >>> noise = Noise(ThreatModel("linf", 0.1))
    >>> images, model = torch.rand(2, 1, 4, 4), nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    >>> attacked = noise(model, images, torch.tensor([0, 2]))
    >>> bool((attacked - images).abs().max() < 0.1001), bool(attacked.min() >= 0)
    (True, True)
    """

    threat: ThreatModel = field(default_factory=ThreatModel)
    batch_norm: Literal["eval", "train"] = field(default="eval", kw_only=True)

    def __post_init__(self) -> None:
        if self.batch_norm not in ("eval", "train"):
            raise ConfigError(f"attack batch_norm={self.batch_norm!r}: it is 'eval' or 'train'")

    def __str__(self) -> str:
        """What tables and model cards call it; the name of its class, where that says nothing else."""
        return type(self).__name__

    @property
    def reach(self) -> float:
        """How far from its image an attacked one may be: epsilon. Some attacks that only train go further."""
        return self.threat.radius

    def restarted(self, number: int) -> Attack:
        """Return what runs as restart ``number``, from 1; itself, unless it takes one seed and would repeat itself."""
        return self

    def require(self, classes: int) -> None:
        """Raise ConfigError if a model with so many classes cannot be attacked; most attacks take any."""
        return

    def require_shape(self, shape: Sequence[int]) -> None:
        """Raise ConfigError if images (channels, height, width) cannot be attacked; most attacks take any."""
        return

    @abstractmethod
    def run(self, model: nn.Module, images: Tensor, labels: Tensor, generator: Randomness) -> Tensor:
        """Return attacked images (batch, channels, height, width); the caller projects and clips them."""

    def __call__(self, model: nn.Module, images: Tensor, labels: Tensor, *, generator: Randomness = None) -> Tensor:
        """Attack a batch.

        Args:
            model: maps images in [0, 1] to logits (batch, classes).
            images: (batch, channels, height, width), in [0, 1].
            labels: (batch,), whole numbers; or, of PGD and the attacks with one step, (batch, classes), probabilities.
                AutoAttack's parts and ensembles take whole numbers only.
            generator: where random numbers come from: a `torch.Generator` on the images' device, or `SampleNoise`;
                torch's global generator if not given.

        Returns:
            Images of the same shape inside the threat model and inside [0, 1], without a gradient history.

        Raises:
            DataError: images outside [0, 1], negative labels, probabilities for an attack that takes none, or shapes
                that are none of these.
            NonFiniteError: a gradient that is not finite, which leads nowhere.
        """
        refuse_outside_pixels(images)
        if labels.ndim == 1 and len(labels) and int(labels.min()) < 0:
            raise DataError(f"labels from {int(labels.min())} on; classes are counted from 0")
        return self.perturb(Guarded(model, self), images, labels, generator=generator)

    def perturb(self, model: nn.Module, images: Tensor, labels: Tensor, *, generator: Randomness = None) -> Tensor:
        """Attack a batch as a call does, without looking at its pixels: that would wait for the device.

        It is for training, whose images are in [0, 1] by the way they are read.

        Args:
            model: as in a call, like all the others.
            images: they have to be in [0, 1].
            labels: as in a call.
            generator: as in a call.
        """
        if images.ndim != 4 or labels.ndim not in (1, 2) or len(labels) != len(images):
            raise DataError(
                f"images {tuple(images.shape)} with labels {tuple(labels.shape)}; an attack takes "
                "(batch, channels, height, width) and (batch,) or (batch, classes)"
            )
        images = images.detach()
        with inference_mode_of(model, batch_statistics=self.batch_norm == "train"):
            attacked = self.run(model, images, labels, generator)
        return self.constrain(attacked.detach(), images)

    @property
    def keeps_attempts(self) -> bool:
        """Whether an image that it cannot bring down comes back as what was tried last; if not, as it was."""
        return True

    @property
    def image_by_image(self) -> bool:
        """Whether what happens to an image is the same in any batch, given `SampleNoise`; not so unless it is said."""
        return False

    @property
    def names(self) -> tuple[str, ...]:
        """What `Found.attack` may say: its own name, and for an attack made of others theirs."""
        return (str(self),)

    def find(
        self, model: nn.Module, images: Tensor, labels: Tensor, *, generator: Randomness = None, full: bool = False
    ) -> Found:
        """Look for one image in the threat model that is classified wrong, for each of a batch.

        The model is in eval mode and classifies every image of the batch right. Unlike a call, a search may stop
        early: an attack that can tell when an image fell overrides this, and spends nothing on it afterwards.

        Args:
            model: maps images in [0, 1] to logits (batch, classes).
            images: (batch, channels, height, width), in [0, 1].
            labels: (batch,), whole numbers.
            generator: where random numbers come from.
            full: do not stop early; what counts is what a call returns.
        """
        attacked = self(model, images, labels, generator=generator)
        with torch.no_grad():
            fell = model(attacked).argmax(1) != labels
        return Found(attacked, fell, torch.full_like(labels, -1), (str(self),) * len(labels))

    def constrain(self, attacked: Tensor, images: Tensor) -> Tensor:
        """Return the nearest images within `reach` of ``images`` and inside [0, 1]."""
        perturbation = self.threat.ball.project(attacked - images, self.reach)
        return (images + perturbation).clamp_(0, 1)


@dataclass(frozen=True)
class Found:
    """What a search came to.

    Args:
        images: (batch, channels, height, width): where an image fell, what it fell to; elsewhere what
            was tried last, or the clean image of an attack that keeps no attempts (`Attack.keeps_attempts`).
        fell: (batch,), whether that image is classified wrong.
        step: (batch,), at which step it was: 0 is the random start; -1 where it did not fall or the attack cannot say.
        attack: per image, the name of the attack that looked at it last.

    >>> found = Found(torch.rand(2, 1, 4, 4), torch.tensor([True, False]), torch.tensor([3, -1]), ("PGD-5", "PGD-5"))
    >>> found.fell.tolist(), found.step.tolist()
    ([True, False], [3, -1])
    """

    images: Tensor
    fell: Tensor
    step: Tensor
    attack: tuple[str, ...]


def refuse_outside_pixels(images: Tensor) -> None:
    """Refuse images that are normalised or otherwise not in [0, 1], NaN among them.

    Raises:
        DataError: there is such a value.

    >>> refuse_outside_pixels(torch.tensor([-0.5, 0.5]))
    Traceback (most recent call last):
    smoothify.errors.DataError: images in [-0.5, 0.5]; give them in [0, 1], not normalised
    """
    if not images.numel():
        return
    low, high = torch.stack(images.detach().aminmax()).tolist()
    if not 0 <= low <= high <= 1:  # NaN fails every comparison
        raise DataError(f"images in [{low:g}, {high:g}]; give them in [0, 1], not normalised")


def refuse_probabilities(labels: Tensor, attack: Attack) -> None:
    """Refuse labels that are not one class for each image."""
    if labels.ndim != 1:
        raise DataError(
            f"labels {tuple(labels.shape)}: {attack} takes (batch,), whole numbers, and no probabilities; give each "
            "image its class, such as labels.argmax(1)"
        )
