"""Clean and robust accuracy, measured one way everywhere: float32, eval mode, one verdict an image."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from smoothify.attacks import Attack, inference_mode_of, show
from smoothify.data import Images
from smoothify.errors import ConfigError, DataError, NonFiniteError

if TYPE_CHECKING:
    from accelerate import Accelerator

_Z_95 = 1.959963984540054  # the normal distribution's 97.5% quantile


@dataclass(frozen=True)
class Share:
    """A share of images, with its 95% Wilson score interval.

    >>> print(Share(74, 100))
    74.0% [64.6, 81.6]
    """

    hits: int
    images: int

    @property
    def value(self) -> float:
        """The share, in [0, 1]."""
        return self.hits / self.images

    @property
    def interval(self) -> tuple[float, float]:
        """Lower and upper end of the 95% interval, in [0, 1] (Wilson, JASA 22, 1927)."""
        n, p, z = self.images, self.value, _Z_95
        centre = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return min(p, max(0.0, centre - half)), max(p, min(1.0, centre + half))  # rounding must not exclude p

    def __str__(self) -> str:
        low, high = self.interval
        return f"{100 * self.value:.1f}% [{100 * low:.1f}, {100 * high:.1f}]"


@dataclass(frozen=True)
class RobustAccuracy:
    """What an attack did to a model.

    Args:
        attack: its name, ``"PGD-50"``.
        norm: of the threat model.
        epsilon: of the threat model, in [0, 1] pixel units.
        step_size: of the attack, in [0, 1] pixel units; None where the attack has none.
        seed: of the random starts.
        clean_correct: per image, whether the clean image is classified right.
        robust_correct: per image, whether the clean *and* the attacked image are.
    """

    attack: str
    norm: str
    epsilon: float
    step_size: float | None
    seed: int
    clean_correct: tuple[bool, ...]
    robust_correct: tuple[bool, ...]

    @property
    def clean(self) -> Share:
        """Clean accuracy."""
        return Share(sum(self.clean_correct), len(self.clean_correct))

    @property
    def robust(self) -> Share:
        """Robust accuracy."""
        return Share(sum(self.robust_correct), len(self.robust_correct))

    def __str__(self) -> str:
        threat = f"{self.norm.capitalize()}, epsilon {show(self.epsilon)}"
        return (
            f"clean accuracy   {self.clean}\n"
            f"robust accuracy  {self.robust}  ({self.attack}, {threat}, {self.robust.images} images)"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON-able values: accuracies and intervals in [0, 1], verdicts as 0 and 1."""
        return {
            "attack": self.attack,
            "norm": self.norm,
            "epsilon": self.epsilon,
            "step_size": self.step_size,
            "seed": self.seed,
            "images": self.clean.images,
            "clean_accuracy": self.clean.value,
            "clean_interval_95": list(self.clean.interval),
            "robust_accuracy": self.robust.value,
            "robust_interval_95": list(self.robust.interval),
            "clean_correct": [int(verdict) for verdict in self.clean_correct],
            "robust_correct": [int(verdict) for verdict in self.robust_correct],
        }


def robust_accuracy(
    model: nn.Module,
    images: Images,
    attack: Attack,
    *,
    batch_size: int = 250,
    seed: int = 0,
    accelerator: Accelerator | None = None,
    advance: Callable[[int], None] | None = None,
) -> RobustAccuracy:
    """Measure clean and robust accuracy.

    An image counts as robust when it is classified right both clean and attacked; images that are wrong already are
    not attacked. The noise of a batch depends on ``seed`` and the batch's number alone, so that any number of
    processes gives the same verdicts.

    Args:
        model: maps images in [0, 1] to logits (batch, classes), as `smoothify.PixelClassifier` does; not wrapped
            for distributed training. It is measured in eval mode and left in the mode it was in.
        images: the labelled images.
        attack: the adversary.
        batch_size: images attacked at a time.
        seed: of the random starts.
        accelerator: shares the batches among its processes; one process if not given.
        advance: called with the number of images done after each batch.

    Raises:
        DataError: no images, or a label that the model has no class for.
        ConfigError: an attack that leaves its threat model.
        NonFiniteError: logits that are not finite.
    """
    if len(images) == 0:
        raise DataError("no images to measure accuracy on; choose a split that has some")
    if attack.reach > attack.threat.radius:
        raise ConfigError(f"{attack} leaves its threat model ({attack.threat}): it trains, but measures nothing")
    rank, processes = (accelerator.process_index, accelerator.num_processes) if accelerator else (0, 1)
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    verdicts = torch.zeros((2, len(images)), dtype=torch.int64, device=device)
    starts = range(0, len(images), batch_size)
    with full_precision(device), inference_mode_of(model):
        for number, start in enumerate(starts):
            positions = range(start, min(start + batch_size, len(images)))
            if number % processes == rank:
                batch, labels = (tensor.to(device) for tensor in images.batch(positions))
                generator = torch.Generator(device).manual_seed(seed * 1_000_003 + number)
                clean, robust = _verdicts(model, batch, labels, attack, generator)
                verdicts[0, start : positions.stop] = clean
                verdicts[1, start : positions.stop] = robust
            if advance:
                advance(len(positions))
    if accelerator and processes > 1:
        verdicts = accelerator.reduce(verdicts, reduction="sum")
    clean_correct, robust_correct = (tuple(bool(value) for value in row) for row in verdicts.tolist())
    step = getattr(attack, "step", None)
    return RobustAccuracy(
        str(attack), attack.threat.norm, attack.threat.radius, step, seed, clean_correct, robust_correct
    )


def _verdicts(
    model: nn.Module, images: Tensor, labels: Tensor, attack: Attack, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    clean = predict(model, images, labels) == labels
    robust = clean.clone()
    standing = clean.nonzero().flatten()
    if len(standing):
        attacked = attack(model, images[standing], labels[standing], generator=generator)
        robust[standing] = predict(model, attacked, labels[standing]) == labels[standing]
    return clean, robust


def predict(model: nn.Module, images: Tensor, labels: Tensor | None = None) -> Tensor:
    """Return the predicted classes (batch,) of images in [0, 1]; check ``labels`` against the head if given.

    Raises:
        DataError: a label that the model has no class for.
        NonFiniteError: logits that are not finite.
    """
    with torch.no_grad():
        logits: Tensor = model(images)
    if labels is not None and int(labels.max()) >= logits.shape[1]:
        raise DataError(
            f"label {int(labels.max())} is outside the model's {logits.shape[1]} classes; "
            "use a model with a head for this data set"
        )
    if not torch.isfinite(logits).all():
        raise NonFiniteError("the model's logits are not finite, so its accuracy cannot be measured")
    return logits.argmax(1)


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Compute in float32 proper: autocast off and, on CUDA, TF32 off; both as they were afterwards."""
    matmul, convolution = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = matmul, convolution
