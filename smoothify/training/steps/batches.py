"""The training images of every step: which ones, in what order, and how each is augmented."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from smoothify.attacks import sample_keys
from smoothify.data import Images, Row, StreamedImages
from smoothify.errors import DataError

Keyed = tuple[int | Row, int]  # an image by its position, or the row that it comes from; and its key


@dataclass(frozen=True)
class Batch:
    """Images that are computed on together.

    Args:
        images: (batch, channels, height, width), in [0, 1].
        labels: (batch,), whole numbers.
        keys: (batch,), what each image's noise is drawn from (`smoothify.attacks.sample_keys`).
    """

    images: Tensor
    labels: Tensor
    keys: Tensor


class Batches:
    """One process's share of every step's images, on its device.

    Order and augmentation depend on the seed, the epoch and the image alone: any number of processes sees the same
    steps, and an epoch can be entered at any step.

    Args:
        images: the training images.
        batch_size: images a step, over all processes together.
        pieces: how many pieces a process computes its share of a step in.
        replays: how many steps in a row are made on the same images.
        seed: of order and augmentation.
        workers: processes that prepare images; 0 prepares them in this one.
        channels_last: how images lie in memory on the device.
        accelerator: says which process this is, and where its device.
    """

    def __init__(
        self,
        images: Images | StreamedImages,
        *,
        batch_size: int,
        pieces: int,
        replays: int = 1,
        seed: int,
        workers: int,
        channels_last: bool,
        accelerator: Accelerator,
    ) -> None:
        self._layout = torch.channels_last if channels_last else torch.contiguous_format
        self._device, self._pieces, self._replays = accelerator.device, pieces, replays
        self._order = _Order(images, batch_size, pieces, seed, accelerator)
        self._loader = DataLoader(
            _Keyed(images),
            collate_fn=_collate,
            batch_sampler=self._order,
            num_workers=workers,
            pin_memory=self._device.type == "cuda",
            persistent_workers=workers > 0,
        )

    def __len__(self) -> int:
        """Return the number of steps in an epoch; the last few images, too few for a step, are left out."""
        return self._order.steps * self._replays

    def epoch(self, epoch: int, *, first: int = 0) -> Iterator[list[Batch]]:
        """Yield the pieces of each step of an epoch, from its step ``first`` on."""
        self._order.epoch = epoch
        self._order.first, done = divmod(first, self._replays)
        step = []
        for loaded in self._loader:
            if isinstance(loaded, DataError):
                raise loaded
            images, labels, keys = (tensor.to(self._device, non_blocking=True) for tensor in loaded)
            step.append(Batch(images.contiguous(memory_format=self._layout), labels, keys))
            if len(step) == self._pieces:
                yield from [step] * (self._replays - done)
                step, done = [], 0

    def distinct(self, epoch: int) -> Iterator[list[Batch]]:
        """Yield the pieces of each step of an epoch, those of a step that is made several times only once."""
        return islice(self.epoch(epoch), 0, None, self._replays)


class _Order(Sampler[list[Keyed]]):
    """Yields one list of images, each with its key, for every piece that this process computes."""

    def __init__(
        self, images: Images | StreamedImages, batch_size: int, pieces: int, seed: int, accelerator: Accelerator
    ) -> None:
        self.images, self.batch_size, self.seed = images, batch_size, seed
        self.steps = len(images) // batch_size
        self.size = batch_size // (pieces * accelerator.num_processes)
        self.starts = range(0, batch_size, self.size)[accelerator.process_index * pieces :][:pieces]
        self.epoch = self.first = 0

    def __iter__(self) -> Iterator[list[Keyed]]:
        begin = self.first * self.batch_size
        keys = sample_keys(self.seed, self.epoch, torch.arange(len(self.images)))
        order: Iterator[Keyed]
        if isinstance(
            self.images, StreamedImages
        ):  # which image a row is nobody knows; its place in the epoch is known
            rows = self.images.source.in_order(self.seed, self.epoch)
            order = zip(islice(rows, begin, len(self.images)), keys[begin:].tolist(), strict=True)
        else:
            positions = keys.argsort(stable=True)[begin:]  # keys are as good as random, so their order is a random one
            order = zip(positions.tolist(), keys[positions].tolist(), strict=True)
        for _ in range(self.first, self.steps):
            batch = list(islice(order, self.batch_size))
            for start in self.starts:
                yield batch[start : start + self.size]


class _Keyed(Dataset[tuple[Tensor, int, int] | DataError]):
    """Images whose augmentation draws from their key, whichever generator it uses; for a damaged one, its error."""

    def __init__(self, images: Images | StreamedImages) -> None:
        self._images = images

    def __getitem__(self, pair: Keyed) -> tuple[Tensor, int, int] | DataError:
        which, key = pair
        reseed(key)
        try:
            image, label = self._images[which]  # type: ignore[index]  # of the kind that these images take
        except DataError as error:  # raised in another process it would come back as that process's traceback
            return error
        return image, label, key


def _collate(items: list[tuple[Tensor, int, int] | DataError]) -> Any:
    return next((item for item in items if isinstance(item, DataError)), None) or default_collate(items)


def reseed(key: int) -> None:
    """Seed the generators that augmentations draw from: Python's, NumPy's and torch's on the CPU."""
    random.seed(key)
    np.random.seed(key & 0xFFFFFFFF)
    torch.default_generator.manual_seed(key)
