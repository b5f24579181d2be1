"""Loading: local folders, image modes and sizes, augmentation, held-out images, and what is refused."""

import io
import pickle
import struct
import tarfile
import zlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from smoothify.data import Augmentation, Images, Source, hold_out, labels_of, load
from smoothify.errors import DataError, UnknownNameError


def image_folder(root: Path, mode: str = "RGB", size: tuple[int, int] = (8, 8), classes: str = "ab") -> Path:
    for split in ("train", "test"):
        for label, name in enumerate(classes):
            (root / split / name).mkdir(parents=True)
            for index in range(3):
                Image.new(mode, size, color=40 * label if mode == "L" else (40 * label, 10, 20)).save(
                    root / split / name / f"{index}.png"
                )
    return root


def parquet(root: Path, images: list[bytes], labels: list[int]) -> Path:
    root.mkdir(exist_ok=True)
    rows = {"image": [{"bytes": image, "path": None} for image in images], "label": labels}
    features = '{"info": {"features": {"image": {"_type": "Image"}, "label": {"dtype": "int64", "_type": "Value"}}}}'
    table = pa.table(rows).replace_schema_metadata({"huggingface": features})
    for split in ("train", "test"):
        pq.write_table(table, root / f"{split}-0.parquet")
    return root


def png(mode: str = "RGB", size: tuple[int, int] = (8, 8), color: str = "black") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size, color).save(buffer, format="PNG")
    return buffer.getvalue()


def sample(**options) -> Images:
    return Images(load(split="test"), input_size=(1, 28, 28), **{"indices": range(50), **options})


def test_image_folder(tmp_path: Path) -> None:
    source = load(str(image_folder(tmp_path)), "test")
    assert source.classes == ("a", "b")
    images = Images(source, input_size=(3, 8, 8))
    image, label = images[5]
    assert label == 1
    assert torch.equal(image[:, 0, 0], torch.tensor([40.0, 10.0, 20.0]) / 255)


def test_grey_becomes_rgb_and_size_is_fitted(tmp_path: Path) -> None:
    images = Images(load(str(image_folder(tmp_path, mode="L", size=(20, 12))), "train"), input_size=(3, 8, 8))
    assert images[0][0].shape == (3, 8, 8)


def test_lazy_and_cached_images_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    cached = sample()
    monkeypatch.setattr("smoothify.data.images._CACHE_LIMIT", 0)
    lazy = sample()
    assert lazy._cache is None
    assert all(torch.equal(cached[index][0], lazy[index][0]) for index in range(len(cached)))


def test_batch_agrees_with_items() -> None:
    images = sample()
    batch, labels = images.batch([3, 1])
    assert torch.equal(batch[0], images[3][0])
    assert labels.tolist() == [images[3][1], images[1][1]]


def test_flip_mirrors_about_half() -> None:
    plain, flipped = sample(), sample(augmentation="flip")
    torch.manual_seed(0)
    mirrored = sum(torch.equal(flipped[0][0], plain[0][0].flip(-1)) for _ in range(200))
    kept = sum(torch.equal(flipped[0][0], plain[0][0]) for _ in range(200))
    assert 70 < mirrored < 130
    assert 70 < kept < 130


@pytest.mark.parametrize("augmentation", ["crop", "imagenet"])
def test_augmentation_keeps_shape_and_range(augmentation: str) -> None:
    images = sample(augmentation=augmentation)
    drawn = torch.stack([images[0][0] for _ in range(20)])
    assert drawn.shape == (20, 1, 28, 28)
    assert drawn.min() >= 0
    assert drawn.max() <= 1
    assert len({tuple(image.flatten().tolist()) for image in drawn}) > 5


def test_held_out_images_are_balanced_and_apart() -> None:
    labels = labels_of(load(split="test"))
    kept, held_out = hold_out(labels, 105, seed=3)
    assert sorted(kept + held_out) == list(range(2000))
    assert set(labels[held_out].bincount().tolist()) == {10, 11}
    assert hold_out(labels, 105, seed=3) == (kept, held_out)
    assert hold_out(labels, 105, seed=4) != (kept, held_out)


def test_unknown_names_are_answered_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'fashion_mnist' or 'fashion_mnist_sample'"):
        load("fashion_mnst")
    with pytest.raises(UnknownNameError, match=r"did you mean 'test'"):
        load(split="tests")
    with pytest.raises(UnknownNameError, match="did you mean 'flip'"):
        sample(augmentation="flipp")
    with pytest.raises(DataError, match="no such folder"):
        load(str(tmp_path / "missing"))


def test_wrong_data_is_named(tmp_path: Path) -> None:
    broken = parquet(tmp_path / "broken", [png(), b"not an image"], [0, 1])
    with pytest.raises(DataError, match="row 1"):
        Images(load(str(broken)), input_size=(3, 8, 8))
    head = b"IHDR" + struct.pack(">IIBBBBB", 30_000, 30_000, 8, 0, 0, 0, 0)  # 900 million pixels, and no more than that
    chunks = (struct.pack(">I", len(one) - 4) + one + struct.pack(">I", zlib.crc32(one)) for one in (head, b"IDAT0"))
    bomb = b"\x89PNG\r\n\x1a\n" + b"".join(chunks)
    huge = parquet(tmp_path / "huge", [png(), bomb], [0, 1])
    with pytest.raises(DataError, match=r"row 1: Image size .* decompression bomb .*; correct or drop the row"):
        Images(load(str(huge)), input_size=(3, 8, 8)).batch([1])
    colour = parquet(tmp_path / "colour", [png(color="red")], [0])
    with pytest.raises(DataError, match=r"row 0: an image of mode 'RGB', .* or store the images in grey$"):
        Images(load(str(colour)), input_size=(1, 8, 8))
    negative = parquet(tmp_path / "negative", [png()], [-1])
    with pytest.raises(DataError, match="labels must be whole numbers from 0"):
        load(str(negative))
    text = tmp_path / "text"
    text.mkdir()
    pq.write_table(pa.table({"image": [1.5], "label": [0]}), text / "train-0.parquet")
    with pytest.raises(DataError, match="holds no images"):
        load(str(text))
    with pytest.raises(DataError, match="4 channels"):
        Images(load(split="test"), input_size=(4, 28, 28))


def test_missing_columns_and_empty_splits_are_named() -> None:
    import datasets

    rows = datasets.Dataset.from_dict({"picture": [1], "label": [0]})
    from smoothify.data import sources

    with pytest.raises(DataError, match="no image column"):
        sources._column(rows.column_names, ("image",), "image", "mine")
    source = Source("mine", "train", rows, "picture", "label", ("only",))
    assert labels_of(source).tolist() == [0]
    with pytest.raises(DataError, match="cannot hold 1 of 1"):
        hold_out(torch.tensor([0]), 1, seed=0)


def test_web_dataset_of_tar_files(tmp_path: Path) -> None:
    """Pictures and their classes side by side in tar files, as ImageNet is passed around; several files a split."""
    for split, files in (("train", 2), ("test", 1)):
        for number in range(files):
            with tarfile.open(tmp_path / f"{split}-{number:04d}.tar", "w") as tar:
                for index in range(3):
                    for suffix, content in (("png", png("L", (20, 20))), ("cls", str(index).encode())):
                        member = tarfile.TarInfo(f"{number}-{index}.{suffix}")
                        member.size = len(content)
                        tar.addfile(member, io.BytesIO(content))
    source = load(str(tmp_path), "train")
    assert (len(source), source.image_column, source.label_column) == (6, "png", "cls")
    assert source.classes == ("0", "1", "2")
    images = Images(source, input_size=(1, 20, 20), augmentation="imagenet")
    assert images[4][0].shape == (1, 20, 20)
    assert [images[index][1] for index in range(6)] == [0, 1, 2, 0, 1, 2]


def test_labels_with_a_large_gap_are_not_classes(tmp_path: Path) -> None:
    folder = parquet(tmp_path / "gap", [png()] * 3, [0, 1, 10**9])
    with pytest.raises(DataError, match=r"column 'label' holds 1000000000, with 3 different labels; .* from 0"):
        load(str(folder), "test")
    assert len(load(str(parquet(tmp_path / "few", [png()] * 3, [0, 1, 21_000])), "test").classes) == 21_001


@pytest.mark.parametrize("augmentation", ["none", "imagenet"])
def test_images_can_be_sent_to_processes_that_are_not_forked(augmentation: Augmentation, tmp_path: Path) -> None:
    """As Python 3.14 starts the workers of a loader on Linux, and other systems always did."""
    source = load(str(image_folder(tmp_path)), "train")
    images = Images(source, input_size=(3, 8, 8), augmentation=augmentation)
    sent = pickle.loads(pickle.dumps(images))
    torch.manual_seed(0)
    expected = images[4][0]
    torch.manual_seed(0)
    assert torch.equal(sent[4][0], expected)
