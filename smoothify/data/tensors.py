"""Images that are tensors already, in the form in which everything downstream sees images."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import torch
from torch import Tensor

from smoothify.data.images import Images
from smoothify.data.rows import representative
from smoothify.data.sources import Source
from smoothify.data.transforms import Resizing
from smoothify.errors import DataError


class TensorImages(Images):
    """Images and labels that you have in tensors; nothing is resized, quantised or augmented.

    Args:
        pixels: (images, channels, height, width), floating, in [0, 1]: not normalised.
        labels: (images,), whole numbers from 0 on.
        classes: the names of the labels, for pictures.

    Raises:
        DataError: tensors of another shape, type or range.

    >>> images = TensorImages(torch.rand(4, 3, 8, 8), torch.tensor([0, 1, 2, 1]))
    >>> len(images), images.input_size, int(images.labels[2])
    (4, (3, 8, 8), 2)
    """

    def __init__(self, pixels: Tensor, labels: Tensor, *, classes: Sequence[str] = ()) -> None:
        _refuse(pixels, labels)
        import datasets

        self.pixels = pixels.detach().cpu().float().contiguous()
        self.labels = labels.detach().cpu().long()
        self.input_size = (pixels.shape[1], pixels.shape[2], pixels.shape[3])
        self.augmentation = "none"
        self.resizing = Resizing()
        self.indices = list(range(len(labels)))
        if not classes and len(labels):
            classes = tuple(map(str, range(int(self.labels.max()) + 1)))
        # an evaluation goes on with the same images only
        digest = sha256(self.pixels.numpy().tobytes()).hexdigest()[:16]
        rows = datasets.Dataset.from_dict({"label": self.labels.tolist()})
        self.source = Source(f"tensors {digest}", "given", rows, "image", "label", tuple(classes))

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.pixels[index], int(self.labels[index])

    def few(self, count: int) -> TensorImages:
        """Return so many of these images that stand for all of them, as `representative` chooses."""
        rows = torch.as_tensor(representative(self.labels, count), dtype=torch.long)
        return TensorImages(self.pixels[rows], self.labels[rows], classes=self.source.classes)


def as_images(images: Any) -> Images:
    """Return labelled images as `Images`: what they are, or a pair of tensors as `TensorImages` takes them.

    Raises:
        DataError: something else.

    >>> as_images((torch.rand(4, 3, 8, 8), torch.tensor([0, 1, 2, 1]))).input_size
    (3, 8, 8)
    """
    if isinstance(images, Images):
        return images
    if isinstance(images, tuple | list) and len(images) == 2 and all(isinstance(one, Tensor) for one in images):
        return TensorImages(*images)
    raise DataError(
        f"images are given as smoothify.data.Images or as a pair of tensors (pixels, labels), not as "
        f"{type(images).__name__}; of a DataLoader, concatenate what you want to measure"
    )


def _refuse(pixels: Tensor, labels: Tensor) -> None:
    if not pixels.is_floating_point() or pixels.ndim != 4:
        raise DataError(
            f"pixels of shape {tuple(pixels.shape)}, {pixels.dtype}; give (images, channels, height, width), floating, "
            "in [0, 1]"
        )
    if labels.is_floating_point() or labels.shape != pixels.shape[:1]:
        raise DataError(
            f"labels of shape {tuple(labels.shape)}, {labels.dtype} for {len(pixels)} images; give each a whole number"
        )
    if len(pixels) and not 0 <= float(pixels.min()) <= float(pixels.max()) <= 1:  # NaN is refused, too
        raise DataError(
            f"pixels in [{pixels.min():g}, {pixels.max():g}]; give them in [0, 1], not normalised: "
            "smoothify.PixelClassifier normalises"
        )
    if len(labels) and int(labels.min()) < 0:
        raise DataError(f"label {int(labels.min())} is negative; classes count from 0")
