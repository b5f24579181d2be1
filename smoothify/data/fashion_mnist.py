"""Fashion-MNIST whole, from the files that Debian's package ``dataset-fashion-mnist`` installs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from smoothify.errors import DataError, UnknownNameError

if TYPE_CHECKING:
    import datasets

NAME = "fashion_mnist"
"""All of Fashion-MNIST, by the name that a config gives it."""
FOLDER = Path("/usr/share/datasets/fashion-mnist")
_FILES = {"train": "train", "test": "t10k"}


def rows(split: str, folder: Path = FOLDER) -> datasets.Dataset:
    """Return the 60,000 training or 10,000 test images, 28×28 grey, of ten classes.

    Args:
        split: ``"train"`` or ``"test"``.
        folder: where the four original files are.

    Raises:
        UnknownNameError: another split.
        DataError: a file is missing or damaged; the message names the package.
    """
    import datasets

    from smoothify.data.sample.build import read_idx, table

    if split not in _FILES:
        raise UnknownNameError("split", split, _FILES, of=f"data set {NAME!r}")
    images, labels = (folder / f"{_FILES[split]}-{kind}-ubyte.gz" for kind in ("images-idx3", "labels-idx1"))
    for path in (images, labels):
        if not path.is_file():
            raise DataError(
                f"data set {NAME!r}: {path} is missing; install it with `apt-get install dataset-fashion-mnist`, "
                "or train on 'fashion_mnist_sample', which is embedded"
            )
    return datasets.Dataset(table(read_idx(images), read_idx(labels), optimize=False))
