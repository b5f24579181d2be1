"""Which rows of a split are taken: some aside for checks, or a few in place of all; every class gets its share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from smoothify.errors import DataError


def hold_out(labels: Tensor, count: int, *, seed: int) -> tuple[list[int], list[int]]:
    """Split positions into (kept, held out), the held-out ones in proportion to the sizes of the classes.

    Every class keeps an image. What proportion leaves over goes to the classes with the largest remainders, among
    equal ones to those that the seed draws.

    Args:
        labels: (images,), whole numbers from 0.
        count: how many to hold out.
        seed: which ones; the same seed always gives the same split.

    Raises:
        DataError: ``count`` would leave a class nothing to train on.

    >>> kept, held_out = hold_out(torch.tensor([0, 0, 0, 0, 1, 1]), 3, seed=0)
    >>> len(kept), sorted(torch.tensor([0, 0, 0, 0, 1, 1])[held_out].tolist())
    (3, [0, 0, 1])
    """
    sizes = labels.bincount()
    classes = int((sizes > 0).sum())
    most = len(labels) - classes
    if not 0 <= count <= most:
        raise DataError(
            f"cannot hold {count} of {len(labels)} training images out: each of their {classes} classes keeps "
            f"one; choose at most {most}, with data.held_out"
        )
    drawn = torch.Generator().manual_seed(seed)
    shuffled = torch.randperm(len(labels), generator=drawn)
    order = torch.randperm(len(sizes), generator=drawn)
    quota, remainder = count * sizes // len(labels), count * sizes % len(labels)
    order = order[remainder[order].argsort(descending=True, stable=True)]
    while left := count - int(quota.sum()):
        quota[order[quota[order] < sizes[order] - 1][:left]] += 1
    by_class = torch.split(shuffled[labels[shuffled].argsort(stable=True)], sizes.tolist())
    out = torch.zeros(len(labels), dtype=torch.bool)
    for positions, several in zip(by_class, quota.tolist(), strict=True):
        out[positions[:several]] = True
    return (~out).nonzero().flatten().tolist(), out.nonzero().flatten().tolist()


def representative(labels: Tensor, count: int) -> list[int]:
    """Return the positions of ``count`` images that stand for all of them, in order.

    They are the first ones, if those hold at least half of every class's share. Otherwise, as where rows are sorted by
    class, they lie at equal distances in the order of the classes.

    Args:
        labels: (images,), whole numbers from 0.
        count: how many; all if there are no more.

    >>> representative(torch.tensor([0, 1, 0, 1, 0, 1]), 2), representative(torch.tensor([0, 0, 0, 1, 1, 1]), 2)
    ([0, 1], [1, 4])
    """
    images = len(labels)
    sizes = labels.bincount()
    if count >= images or bool((2 * images * labels[:count].bincount(minlength=len(sizes)) >= count * sizes).all()):
        return list(range(min(count, images)))
    places = (2 * torch.arange(count) + 1) * images // (2 * count)
    chosen: list[int] = labels.argsort(stable=True)[places].sort().values.tolist()
    return chosen


def name_rows(rows: Sequence[int], images: int) -> str:
    """Say which of so many images `representative` chose.

    >>> name_rows(range(2), 6), name_rows([1, 4], 6)
    ('the first 2 of 6 images', '2 of 6 images, spread evenly over the classes')
    """
    if list(rows) != list(range(len(rows))):
        return f"{len(rows)} of {images} images, spread evenly over the classes"
    return f"all {images} images" if len(rows) == images else f"the first {len(rows)} of {images} images"
