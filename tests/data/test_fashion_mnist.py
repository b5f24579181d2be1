"""Fashion-MNIST by name: the original files as they are, and what is said where they are not."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from smoothify.data import Images, Source, fashion_mnist, load
from smoothify.errors import DataError, UnknownNameError

INSTALLED = fashion_mnist.FOLDER.is_dir()


def idx(path: Path, array: np.ndarray) -> None:
    header = b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(gzip.compress(header + array.astype(np.uint8).tobytes()))


def test_rows_are_the_files(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 28, 28), dtype=np.uint8)
    idx(tmp_path / "t10k-images-idx3-ubyte.gz", pixels)
    idx(tmp_path / "t10k-labels-idx1-ubyte.gz", np.array([9, 0, 4]))
    rows = fashion_mnist.rows("test", tmp_path)
    classes = tuple(rows.features["label"].names)
    images = Images(Source("mine", "test", rows, "image", "label", classes), input_size=(1, 28, 28))
    assert images.labels.tolist() == [9, 0, 4]
    assert torch.equal(images.batch(range(3))[0], torch.from_numpy(pixels)[:, None].float() / 255)


def test_what_is_missing_is_named_with_its_package(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz is missing; .*dataset-fashion-mnist"):
        fashion_mnist.rows("train", tmp_path)
    with pytest.raises(UnknownNameError, match="did you mean 'test'"):
        fashion_mnist.rows("tests", tmp_path)


@pytest.mark.skipif(not INSTALLED, reason="needs Debian's package dataset-fashion-mnist")
def test_by_name_it_is_what_the_sample_was_taken_from() -> None:
    whole, sample = load("fashion_mnist", "test"), load(split="test")
    assert len(whole) == 10_000
    assert whole.classes == sample.classes
    shape = (1, 28, 28)
    known = {image.numpy().tobytes() for image, _ in Images(whole, input_size=shape, indices=range(3000))}
    assert all(image.numpy().tobytes() in known for image, _ in Images(sample, input_size=shape, indices=range(500)))
