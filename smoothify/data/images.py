"""Rows of a data set as tensors in [0, 1] of one shape: the form in which everything downstream sees images."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

import torch
from torch import Tensor
from torch.utils.data import Dataset

from smoothify.data.modes import MODES, ModeError, to_mode
from smoothify.data.rows import representative
from smoothify.data.sources import CLASS_FOLDERS, Source
from smoothify.data.transforms import Augmentation, Resizing, augment, measuring, training
from smoothify.errors import DataError, UnknownNameError

if TYPE_CHECKING:
    from PIL.Image import Image

_CACHE_LIMIT = 512 * 2**20  # bytes of decoded pixels that are kept in memory


class Images(Dataset[tuple[Tensor, int]]):
    """Images of shape (channels, height, width), float32 in [0, 1], with their labels.

    A data set whose decoded pixels fit in 512 MiB is decoded once and kept as bytes; a larger one is decoded
    whenever an image is asked for. Nothing here normalises: that is `smoothify.PixelClassifier`'s work.

    Args:
        source: one split of a data set.
        input_size: (channels, height, width) of the model's input; 1 channel is grey, 3 is RGB.
        augmentation: ``"none"``; ``"flip"``, horizontally at random; ``"crop"``, a random crop after padding by an
            eighth, then flip (the usual one for CIFAR); ``"imagenet"``, timm's random resized crop, then flip.
        auto_augment: timm's policy that changes an ``"imagenet"`` crop further, such as ``"v0"``; none by default.
        resizing: how a picture of another size is fitted, where no random crop does it.
        indices: which rows, all by default.

    Raises:
        DataError: an image cannot be decoded, is in colour where the model takes grey, has 32-bit pixels, or a label
            is outside the data set's classes.

    >>> from smoothify.data import load
    >>> images = Images(load(split="test"), input_size=(1, 28, 28), indices=range(5))
    >>> image, label = images[0]
    >>> tuple(image.shape), image.dtype, bool(image.min() >= 0), bool(image.max() <= 1), label
    ((1, 28, 28), torch.float32, True, True, 9)
    """

    def __init__(
        self,
        source: Source,
        *,
        input_size: tuple[int, int, int],
        augmentation: Augmentation = "none",
        auto_augment: str | None = None,
        resizing: Resizing | None = None,
        indices: Sequence[int] | None = None,
    ) -> None:
        self.source = source
        self.input_size = input_size
        self.augmentation = augmentation
        self.resizing = resizing or Resizing()
        self.indices = list(range(len(source)) if indices is None else indices)
        self._decoded = Decoder(input_size, augmentation, auto_augment, self.resizing)
        self.labels = labels_of(source)[self.indices]
        fits = len(self.indices) * input_size[0] * input_size[1] * input_size[2] <= _CACHE_LIMIT
        self._cache = self._decode_all() if fits and augmentation != "imagenet" else None

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        pixels = self._decode(index) if self._cache is None else self._cache[index]
        return augment(pixels.float().div(255), self.augmentation), int(self.labels[index])

    def batch(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return the images (batch, channels, height, width) and labels (batch,) at these positions."""
        images = torch.stack([self[index][0] for index in indices])
        return images, self.labels[torch.as_tensor(indices, dtype=torch.long)]

    def few(self, count: int) -> Images:
        """Return so many of these images that stand for all of them, as `representative` chooses; not augmented."""
        rows = [self.indices[position] for position in representative(self.labels, count)]
        return Images(self.source, input_size=self.input_size, resizing=self.resizing, indices=rows)

    def _decode_all(self) -> Tensor:
        cache = torch.empty((len(self.indices), *self.input_size), dtype=torch.uint8)
        for position in range(len(self.indices)):
            cache[position] = self._decode(position)
        return cache

    def _decode(self, position: int) -> Tensor:
        row = self.indices[position]
        with decoding(lambda: self.source.describe(row)):
            return self._decoded(self.source.rows[row][self.source.image_column])


@dataclass(frozen=True)
class Decoder:
    """Makes bytes of the model's input size of a picture; what is left to augment is done to the tensor.

    It can be sent to other processes: what it computes with is built in each when it is first called.

    Args:
        input_size: (channels, height, width).
        augmentation: as in `Images`; so are the others.
        auto_augment: of an ``"imagenet"`` crop.
        resizing: where no random crop does it.

    Raises:
        UnknownNameError: no augmentation has this name.
        DataError: a model that takes neither grey nor RGB images.
    """

    input_size: tuple[int, int, int]
    augmentation: Augmentation
    auto_augment: str | None
    resizing: Resizing

    def __post_init__(self) -> None:
        if self.augmentation not in get_args(Augmentation):
            raise UnknownNameError("augmentation", self.augmentation, get_args(Augmentation))
        if self.input_size[0] not in MODES:
            raise DataError(
                f"model input {self.input_size}: {self.input_size[0]} channels; images have 1 (grey) or 3 (RGB)"
            )

    def __call__(self, image: Image | None) -> Tensor:
        """Return bytes (channels, height, width); ValueError for a row that has no image."""
        if image is None:
            raise ValueError("it has no image")
        crops = self.augmentation == "imagenet"
        transform = training(self.input_size, self.auto_augment) if crops else measuring(self.input_size, self.resizing)
        return transform(to_mode(image, self.input_size[0]))


@contextmanager
def decoding(where: Callable[[], str]) -> Iterator[None]:
    """Turn what goes wrong with an image into one line that names its row."""
    try:
        yield
    except ModeError as error:
        raise DataError(f"{where()}: {error}") from error
    except _undecodable() as error:
        reason = "it cannot be decoded" if "<_io" in str(error) else error  # Pillow names a buffer that nobody knows
        raise DataError(f"{where()}: {reason}; correct or drop the row") from error


def _undecodable() -> tuple[type[Exception], ...]:
    """Return what Pillow raises for an image that it cannot, or will not, decode."""
    from PIL.Image import DecompressionBombError

    return OSError, ValueError, SyntaxError, struct.error, DecompressionBombError


def labels_of(source: Source) -> Tensor:
    """Return the labels of a split, shape (images,), in the order of its rows.

    Raises:
        DataError: a label outside the data set's classes, or a picture without one.

    >>> from smoothify.data import load
    >>> labels_of(load("fashion_mnist_sample", "test"))[:4]
    tensor([9, 2, 1, 1])
    """
    values = source.rows[source.label_column][:]
    if None in values:
        raise DataError(f"{source.describe(values.index(None))}: it has no label; {CLASS_FOLDERS}")
    labels = torch.tensor(values, dtype=torch.long)
    classes = len(source.classes)
    wrong = torch.nonzero((labels < 0) | (labels >= classes)).flatten()
    if len(wrong):
        raise DataError(
            f"data set {source.name!r}, split {source.split!r}, row {int(wrong[0])}: label {int(labels[wrong[0]])} "
            f"is outside its {classes} classes; correct or drop the row"
        )
    return labels
