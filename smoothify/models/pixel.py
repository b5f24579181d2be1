"""The one place where images are normalised and a host's output becomes logits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn

from smoothify.errors import DataError, SmoothifyError, UnsupportedModelError


class PixelClassifier(nn.Module):
    """A classifier that takes images in [0, 1] and returns logits, whatever its host expects and returns.

    Images are normalised in float32, and given to the host in the precision of its first floating-point parameter.

    Args:
        model: the host; takes normalised images (batch, channels, height, width) and returns logits
            (batch, classes), as a tensor or as an object with a ``logits`` attribute.
        mean: per channel, in [0, 1] units; subtracted first.
        std: per channel, in [0, 1] units; divided by next.

    Raises:
        UnsupportedModelError: on the first forward, if the host returns anything else.
        DataError: on a forward with images of whole numbers up to 255.

    >>> host = nn.Sequential(nn.Flatten(), nn.Linear(12, 5))
    >>> classifier = PixelClassifier(host, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    >>> tuple(classifier(torch.rand(2, 3, 2, 2)).shape)
    (2, 5)
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: nn.Module, *, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        if len(mean) != len(std):
            raise UnsupportedModelError(f"{len(mean)} means but {len(std)} standard deviations; give one per channel")
        if any(not value > 0 for value in std):
            raise UnsupportedModelError(f"std={tuple(std)}: a standard deviation must be positive")
        self.model = model
        for name, values in (("mean", mean), ("std", std)):
            channels = torch.tensor(values, dtype=torch.float32, device=_like(model, torch.empty(0)).device).view(
                1, -1, 1, 1
            )
            self.register_buffer(name, channels, persistent=False)

    @classmethod
    def from_host(cls, model: nn.Module) -> Self:
        """Wrap a host that describes its own normalisation (timm's ``pretrained_cfg``).

        Raises:
            UnsupportedModelError: the host says nothing about its normalisation.
        """
        described = getattr(model, "pretrained_cfg", None) or {}
        if "mean" not in described or "std" not in described:
            raise UnsupportedModelError(
                f"{type(model).__name__} does not say how its input is normalised; "
                "use PixelClassifier(model, mean=..., std=...)"
            )
        return cls(model, mean=described["mean"], std=described["std"])

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (batch, classes) of images (batch, channels, height, width) in [0, 1]."""
        if not images.is_floating_point():
            raise DataError(f"images of {images.dtype} are no floats in [0, 1]; if they are in 0 to 255, images / 255")
        normalised = (images - self.mean) / self.std
        output = self.model(normalised.to(_like(self.model, normalised).dtype))
        logits = getattr(output, "logits", output)
        if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != len(images):
            found = f"shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else type(logits).__name__
            raise UnsupportedModelError(
                f"{type(self.model).__name__} returned {found} for {len(images)} images; "
                "a classifier returns logits of shape (batch, classes)"
            )
        return logits


def _like(model: nn.Module, otherwise: Tensor) -> Tensor:
    """Return a tensor of the device and the precision that a host computes in, if it has any."""
    return next((one for one in model.parameters() if one.is_floating_point()), otherwise)


def input_size(model: nn.Module) -> tuple[int, int, int]:
    """Return the (channels, height, width) that a host says it takes (timm's ``pretrained_cfg``).

    Raises:
        SmoothifyError: the host does not say.

    >>> import timm
    >>> input_size(timm.create_model("resnet18"))
    (3, 224, 224)
    """
    size = (getattr(model, "pretrained_cfg", None) or {}).get("input_size")
    if size is None:
        raise SmoothifyError(f"{type(model).__name__} does not say its input size; give it explicitly")
    channels, height, width = size
    return int(channels), int(height), int(width)
