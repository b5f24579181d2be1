"""Data sets read as they come: the same images, whoever reads them and wherever the reading begins."""

import io
import tarfile
from itertools import islice
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from smoothify.data import Images, Stream, StreamedImages, load, open_stream
from smoothify.errors import ConfigError, DataError, UnknownNameError


@pytest.fixture(autouse=True)
def promptly(monkeypatch: pytest.MonkeyPatch) -> None:
    """`datasets` waits five seconds whenever a parquet stream is left before its end (apache/arrow#45214)."""
    monkeypatch.setattr(datasets.config, "SLEEP_TIME_ON_THREADS_SHUTDOWN", 0, raising=False)  # new in 5.0


def png(shade: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (8, 8), shade).save(buffer, format="PNG")
    return buffer.getvalue()


def parquet(folder: Path, files: int = 3, rows: int = 10, *, labels: int = 3) -> Path:
    """Training images of different shades, in several files; the label is the shade's remainder."""
    folder.mkdir(exist_ok=True)
    for file in range(files):
        shades = range(file * rows, (file + 1) * rows)
        table = {
            "image": [{"bytes": png(shade), "path": None} for shade in shades],
            "label": [shade % labels for shade in shades],
        }
        pq.write_table(pa.table(table), folder / f"train-{file}.parquet")
    return folder


def stream(folder: Path, buffer: int = 5) -> Stream:
    return open_stream(str(folder), "train", classes=("a", "b", "c"), buffer=buffer)


def shades(rows: Stream, seed: int = 0, epoch: int = 0, count: int = 30) -> list[int]:
    images = StreamedImages(rows, images=count, input_size=(1, 8, 8))
    return [int(images[row][0][0, 0, 0] * 255) for row in islice(rows.in_order(seed, epoch), count)]


def test_an_epoch_is_every_row_once_in_an_order_of_its_own(tmp_path: Path) -> None:
    rows = stream(parquet(tmp_path / "data"))
    first = shades(rows)
    assert sorted(first) == list(range(30))
    assert first == shades(rows)
    assert first != list(range(30))
    assert len({tuple(first), tuple(shades(rows, epoch=1)), tuple(shades(rows, seed=1))}) == 3
    again = shades(rows, count=60)
    assert sorted(again[30:]) == sorted(first), "after its end a stream begins anew"
    assert again[30:] not in (first, shades(rows, epoch=1)), "in another order"


def test_what_is_held_out_is_not_in_the_stream_nor_is_a_copy_of_it(tmp_path: Path) -> None:
    folder = parquet(tmp_path / "data")
    (folder / "train-0.parquet").rename(folder / "train-9.parquet")
    copied = pq.read_table(folder / "train-9.parquet")
    pq.write_table(copied, folder / "train-0.parquet")
    rest, held_out = stream(folder).hold_out(10, seed=0)
    aside = {image["bytes"] for image in _undecoded(held_out)}
    seen = {row["image"]["bytes"] for row in islice(rest.in_order(0, 0), 60)}
    assert len(held_out) == 10
    assert not aside & seen
    assert len(aside | seen) == 30
    assert held_out.classes == ("a", "b", "c")


def _undecoded(source) -> list[dict]:
    return source.rows.cast_column("image", datasets.Image(decode=False))["image"]


def test_tar_files(tmp_path: Path) -> None:
    for number in range(2):
        with tarfile.open(tmp_path / f"train-{number}.tar", "w") as tar:
            for index in range(3):
                for suffix, content in (("png", png(index + 3 * number)), ("cls", str(index).encode())):
                    member = tarfile.TarInfo(f"{number}-{index}.{suffix}")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
    rows = stream(tmp_path)
    assert sorted(shades(rows, count=6)) == list(range(6))
    row = next(rows.in_order(0, 0))
    assert f"{row['__key__']}.png of {row['__url__']}" in rows.describe(row)


def test_what_the_data_set_says_of_itself(tmp_path: Path) -> None:
    folder = parquet(tmp_path / "data")
    assert stream(folder).count is None
    (folder / "README.md").write_text(
        "---\ndataset_info:\n  features:\n  - name: image\n    dtype: image\n  - name: label\n    dtype:\n"
        "      class_label:\n        names: {'0': x, '1': y, '2': z}\n  splits:\n  - name: train\n"
        "    num_examples: 30\n    num_bytes: 1\n  download_size: 1\n  dataset_size: 1\n---\n"
    )
    declared = stream(folder)
    assert (
        str(declared) == f"{folder}, split train, streamed from 3 files, ten of them at a time; shuffled among 5 rows"
    )
    assert (declared.count, declared.classes) == (30, ("x", "y", "z"))
    assert declared.hold_out(10, seed=0)[0].count == 20
    with pytest.raises(DataError, match="cannot hold 30 of 30 training images out"):
        declared.hold_out(30, seed=0)
    assert load(str(folder), "train").classes == ("x", "y", "z")


def test_only_the_split_that_is_asked_for_is_read(tmp_path: Path) -> None:
    """A test split must not cost a download of the training split."""
    folder = parquet(tmp_path / "data")
    (folder / "train-0.parquet").rename(folder / "test-0.parquet")
    (folder / "train-1.parquet").write_bytes(b"not parquet")
    assert len(load(str(folder), "test")) == 10


def test_what_cannot_be_streamed(tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    for name in ("a", "b"):
        (pictures / "train" / name).mkdir(parents=True)
        (pictures / "train" / name / "0.png").write_bytes(png(0))
    with pytest.raises(ConfigError, match=r"data.streaming: .* pictures in folders"):
        stream(pictures)
    with pytest.raises(UnknownNameError, match="did you mean 'train'"):
        open_stream(str(parquet(tmp_path / "data")), "trian", classes=(), buffer=1)


@pytest.mark.parametrize(
    ("image", "label", "words"),
    [
        (png(0), 3, "label 3 is outside its 3 classes"),
        (png(0), -1, "label -1 is outside"),
        (b"no image", 0, "cannot"),
    ],
)
def test_a_wrong_row_is_named(image: bytes, label: int, words: str, tmp_path: Path) -> None:
    rows = stream(parquet(tmp_path / "data"))
    row = {"image": {"bytes": image, "path": "x.png"}, "label": label}
    with pytest.raises(DataError, match=rf"split 'train', x\.png: .*{words}.*; correct or drop the row"):
        StreamedImages(rows, images=30, input_size=(1, 8, 8))[row]


@pytest.mark.parametrize(
    ("images", "labels", "words"),
    [
        (
            [png(0)] * 4,
            ["a"] * 4,
            r"an image of \d+ bytes, label 'a': label 'a' is outside its 3 classes, those of the test",
        ),
        ([png(0)] * 4, [0.0] * 4, "label 0.0 is outside"),
        ([png(0)] * 4, [True] * 4, "label True is outside"),
        ([png(0)] * 4, [None] * 4, "label None is outside"),
        ([None] * 4, [0] * 4, "split 'train, held out', row 0: it has no image; correct or drop the row"),
        ([b""] * 4, [0] * 4, "it cannot be decoded; correct or drop the row"),
        ([1, 2, 3, 4], [0] * 4, "column 'image' holds no images"),
        ([png(0), png(1)], [0, 1], "cannot hold 2 of 2 training images out; choose fewer, with data.held_out"),
    ],
)
def test_what_is_held_out_is_checked_as_it_is_read(
    images: list[object], labels: list[object], words: str, tmp_path: Path
) -> None:
    pq.write_table(pa.table({"image": images, "label": labels}), tmp_path / "train-0.parquet")
    with pytest.raises(DataError, match=words):
        Images(stream(tmp_path).hold_out(2, seed=0)[1], input_size=(1, 8, 8))


def test_columns_that_nothing_is_known_of(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("image,label\nx.png,0\n")
    with pytest.raises(ConfigError, match=r"data\.streaming: .* does not say what its columns hold, .*; leave it off"):
        stream(tmp_path)


def test_a_file_that_breaks_off(tmp_path: Path) -> None:
    folder = parquet(tmp_path / "data")
    rows = stream(folder)
    (folder / "train-1.parquet").write_bytes((folder / "train-1.parquet").read_bytes()[:-50])
    with pytest.raises(DataError, match=r"train-1\.parquet is damaged; check the name, the files and the network"):
        list(islice(rows.in_order(0, 0), 30))
    with pytest.raises(DataError, match=r"train-1\.parquet is damaged"):
        load(str(folder), "train")
