"""What a model answers: the one place where a measurement asks for logits, and says what it cannot use."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from smoothify.errors import DataError, NonFiniteError, UnsupportedModelError


def predict(model: nn.Module, images: Tensor, labels: Tensor | None = None) -> Tensor:
    """Return the predicted classes (batch,) of images in [0, 1].

    Args:
        model: maps images to logits (batch, classes).
        images: (batch, channels, height, width), in [0, 1].
        labels: (batch,), to be checked against the model's head.

    Raises:
        DataError: a label that the model has no class for.
        NonFiniteError: logits that are not finite.
        UnsupportedModelError: an output that is not (batch, classes).

    >>> predict(nn.Flatten(), torch.tensor([[[[0.1, 0.9]]]]))
    tensor([1])
    """
    logits = logits_of(model, images)
    if labels is not None:
        refuse_labels(labels, logits.shape[1])
    if not torch.isfinite(logits).all():
        raise NonFiniteError("the model's logits are not finite, so its accuracy cannot be measured")
    return logits.argmax(1)


def refuse_labels(labels: Tensor, classes: int) -> None:
    """Refuse labels that a model has no class for.

    Raises:
        DataError: there is one.

    >>> refuse_labels(torch.tensor([3, 11]), 10)
    Traceback (most recent call last):
    smoothify.errors.DataError: label 11 is outside the model's 10 classes; use a model with a head for this data set
    """
    lowest, highest = int(labels.min()), int(labels.max())
    if lowest < 0 or highest >= classes:
        raise DataError(
            f"label {lowest if lowest < 0 else highest} is outside the model's {classes} classes; use a model with a "
            "head for this data set"
        )


def refuse_one_logit(classes: int) -> None:
    """Refuse a model with a single logit: it would be right whatever an attack does.

    Raises:
        UnsupportedModelError: there are fewer than two.

    >>> refuse_one_logit(1)
    Traceback (most recent call last):
    smoothify.errors.UnsupportedModelError: the model gives 1 logit(s), and the largest of one is always the same; of a
    binary classifier with the logit z give two, (-z, z)
    """
    if classes < 2:
        raise UnsupportedModelError(
            f"the model gives {classes} logit(s), and the largest of one is always the same; of a binary classifier "
            "with the logit z give two, (-z, z)"
        )


def device_of(model: nn.Module) -> torch.device:
    """Return where a model's parameters are; the CPU if it has none."""
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))


def logits_of(model: nn.Module, images: Tensor) -> Tensor:
    """Return logits (batch, classes), without gradients.

    Raises:
        UnsupportedModelError: an output that is not (batch, classes).
    """
    with torch.no_grad():
        logits = model(images.clone())  # which it may write into
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != len(images):
        found = f"shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else type(logits).__name__
        raise UnsupportedModelError(
            f"{type(model).__name__} returned {found} for {len(images)} image(s); accuracy needs logits of shape "
            "(batch, classes): wrap the model in smoothify.PixelClassifier"
        )
    return logits


def refuse_other_precision(model: nn.Module, where: str = "") -> None:
    """Refuse a model that is not in float32, in which accuracy is measured; ``where`` opens the error.

    Raises:
        UnsupportedModelError: a parameter is in another precision.
    """
    for name, parameter in model.named_parameters():
        if parameter.is_floating_point() and parameter.dtype != torch.float32:
            raise UnsupportedModelError(
                f"{where}{name} is {parameter.dtype}; accuracy is measured in float32: model.float()"
            )
