"""What is wrong with the data is said in one line that names the row, before the first step where it can be known."""

import gc
import io
from dataclasses import replace
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from smoothify.data import Images, load
from smoothify.errors import ConfigError, DataError
from smoothify.training import Config, DataConfig, EngineConfig, ModelConfig, train
from smoothify.training.refusals import with_classes_of
from smoothify.training.setup import assemble


def png(shade: int, mode: str = "L") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (28, 28), shade if mode == "L" else (shade, 0, 0)).save(buffer, format="PNG")
    return buffer.getvalue()


def table(folder: Path, split: str, images: list[bytes], labels: list[int]) -> None:
    folder.mkdir(exist_ok=True)
    image = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    rows = [{"image": {"bytes": one, "path": None}, "label": label} for one, label in zip(images, labels, strict=True)]
    columns = pa.Table.from_pylist(rows, pa.schema({"image": image, "label": pa.int64()}))
    pq.write_table(columns, folder / f"{split}-0.parquet")


def folder_of(path: Path) -> Path:
    path.mkdir()
    return path


def small(folder: Path, config: Config, **data: object) -> Config:
    return replace(config, batch_size=4, data=DataConfig(path=str(folder), held_out=3, **data))


def test_a_test_split_without_the_highest_class(tiny: Config, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    table(folder, "train", [png(10 * label) for label in range(12)], [0, 1, 2] * 4)
    table(folder, "test", [png(0), png(10)], [0, 1])
    parts = assemble(small(folder, tiny))
    assert parts.test.source.classes == parts.train.source.classes == ("0", "1", "2")


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        ("abcd", r"splits 'train' \(3 classes\) and 'test' \(4\) name different classes: d; give both the same"),
        ("ax", "name different classes: x"),
        ("bac", "name different classes: the order"),
    ],
)
def test_splits_of_different_classes(classes: str, words: str) -> None:
    train_split, test_split = replace(load(), classes=tuple("abc")), load(split="test")
    assert with_classes_of(replace(test_split, classes=("a",)), train_split).classes == ("a", "b", "c")
    with pytest.raises(DataError, match=words):
        with_classes_of(replace(test_split, classes=tuple(classes)), train_split)


def test_a_test_split_whose_labels_have_no_names_takes_those_of_the_training_split(
    tiny: Config, tmp_path: Path
) -> None:
    """Parquet files carry names for themselves alone, and only the split that is asked for is read."""
    folder = tmp_path / "data"
    for split in ("train", "test"):
        table(folder, split, [png(10 * label) for label in range(12)], [0, 1] * 6)
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b", "c"])})
    datasets.Dataset.from_parquet(str(folder / "train-0.parquet")).cast(features).to_parquet(folder / "train-0.parquet")
    parts = assemble(small(folder, tiny))
    assert parts.test.source.classes == parts.train.source.classes == ("a", "b", "c")


def test_a_row_without_an_image_and_labels_that_are_none(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    pq.write_table(pa.table({"image": [png(0), None], "label": [0, 1]}), folder_of(folder) / "train-0.parquet")
    with pytest.raises(DataError, match="row 1: it has no image; correct or drop the row"):
        Images(load(str(folder)), input_size=(1, 28, 28))
    for number, (labels, shown) in enumerate((([0, None], "None"), ([[0], [1]], r"\[0\]"))):
        folder = folder_of(tmp_path / f"labels-{number}")
        pq.write_table(pa.table({"image": [png(0), png(1)], "label": labels}), folder / "train-0.parquet")
        with pytest.raises(DataError, match=f"column 'label' holds {shown}; labels must be whole numbers from 0"):
            load(str(folder))


def pictures(folder: Path, *classes: str) -> Path:
    for number, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for index in range(4):
            (folder / name / f"{index}.png").write_bytes(png(40 * number + index))
    return folder


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        (("train", "test"), r"row 0 \(.*0\.png\): it has no label; give each class, two at least, a folder"),
        (("train/cat", "test/cat"), "its pictures have no labels; give each class, two at least, a folder"),
        (("cat", "dog"), r"unknown split 'test' of .*; pictures lie in a folder for each split and, in it, for each"),
        (
            ("train/cat", "train/dog", "test/cat", "test/dig"),
            "its split 'test' has images of classes that 'train' has none of: dig; give both the same",
        ),
    ],
    ids=["no class folders", "one class", "no splits", "a misspelt class"],
)
def test_pictures_in_the_wrong_folders(classes: tuple[str, ...], words: str, tiny: Config, tmp_path: Path) -> None:
    """`datasets` reads all of them without a word."""
    with pytest.raises(DataError, match=words):
        assemble(small(pictures(tmp_path / "data", *classes), tiny))


@pytest.mark.parametrize("split", ["train", "test"])
def test_an_empty_split(split: str, tiny: Config, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    for one in ("train", "test"):
        count = 0 if one == split else 12
        table(folder, one, [png(0)] * count, [0, 1, 2] * (count // 3))
    with pytest.raises(DataError, match=rf"{split}-0.parquet has no rows"):
        train(small(folder, tiny))
    assert not Path(tiny.output).exists()


def damaged(folder: Path, content: bytes) -> Path:
    """An image folder whose seventh training image is something else."""
    for split, count in (("train", 8), ("test", 2)):
        for name in ("a", "b"):
            (folder / split / name).mkdir(parents=True)
            for index in range(count):
                (folder / split / name / f"{index}.png").write_bytes(png(10 * index))
    wrong = folder / "train" / "a" / "6.png"
    wrong.write_bytes(content)
    return wrong


CHECKPOINTED = EngineConfig(activation_checkpointing=True)
NAN = io.BytesIO()
Image.new("F", (28, 28), float("nan")).save(NAN, format="TIFF")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (png(10)[:45], "(truncated|broken).*; correct or drop the row"),
        (png(10, "RGB"), "an image of mode 'RGB', but the model takes one grey channel; choose a model that takes RGB"),
        (NAN.getvalue(), "an image of mode 'F', 32 bits a pixel.*; store it in 8 or 16 bits"),
    ],
    ids=["corrupt", "colour", "NaN"],
)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # `datasets` leaves the file open
def test_an_image_that_cannot_be_used_names_its_file_before_the_first_step(
    content: bytes, words: str, tiny: Config, tmp_path: Path
) -> None:
    wrong = damaged(tmp_path / "data", content)
    with pytest.raises(DataError, match=rf"split 'train', row 6 \({wrong}\): .*{words}") as raised:
        train(small(tmp_path / "data", tiny))
    assert "\n" not in str(raised.value)
    assert not Path(tiny.output).exists()
    del raised
    gc.collect()  # so that the warning is here and not in another test


def test_a_corrupt_image_in_a_worker_is_one_line(tiny: Config, tmp_path: Path) -> None:
    """Images that random crops are taken of are decoded when they are needed, by another process."""
    wrong = damaged(tmp_path / "data", b"no image")
    with pytest.raises(DataError, match=rf"row 6 \({wrong}\): cannot identify image file") as raised:
        train(small(tmp_path / "data", tiny, augmentation="imagenet", workers=1))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"batch_size": 81}, "batch_size=81 exceeds the 80 training images"),
        (
            {"model": ModelConfig(input_size=(3, 28, 28))},
            r"does not take images of \(3, 28, 28\).*set model.input_size",
        ),
        ({"model": ModelConfig("timm/test_vit", input_size=(3, 28, 28))}, r"28.*divisible by patch.*set model.input"),
        ({"model": ModelConfig("timm/test_vit", input_size=(1, 32, 32))}, "normalises 3 channels and images have 1"),
        ({"model": ModelConfig("torchvision/resnet18"), "engine": CHECKPOINTED}, "offers none"),
    ],
)
def test_a_model_that_does_not_fit_is_refused_before_the_first_step(tiny: Config, changes: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        train(replace(tiny, **changes))
    assert not Path(tiny.output).exists()
