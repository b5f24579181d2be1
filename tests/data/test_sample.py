"""The embedded sample: what it holds, and that its own script makes exactly these bytes."""

import hashlib
import re
from pathlib import Path

import numpy as np
import PIL
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import smoothify.data
from smoothify.data.sample import build
from smoothify.errors import DataError

FOLDER = Path(build.__file__).parent
README = (FOLDER / "README.md").read_text(encoding="utf-8")
ORIGINAL = Path("/usr/share/datasets/fashion-mnist")


def recorded(split: str) -> str:
    match = re.search(rf"^([0-9a-f]{{64}})  {split}\.parquet$", README, re.MULTILINE)
    assert match
    return match[1]


def written_by_these_versions() -> bool:
    return f"pyarrow {pa.__version__}" in README and f"Pillow {PIL.__version__}" in README


@pytest.mark.parametrize(("split", "per_class"), [("train", 1000), ("test", 200)])
def test_holds_what_it_says(split: str, per_class: int) -> None:
    images = smoothify.data.Images(smoothify.data.load(split=split), input_size=(1, 28, 28))
    assert len(images) == 10 * per_class
    assert images.labels.bincount().tolist() == [per_class] * 10
    assert images.source.classes == build.CLASSES
    assert hashlib.sha256((FOLDER / f"{split}.parquet").read_bytes()).hexdigest() == recorded(split)


def test_script_writes_these_bytes(tmp_path: Path) -> None:
    """Decoding the shipped file and writing it again must give the file, with the versions that it names."""
    images = smoothify.data.Images(smoothify.data.load(split="test"), input_size=(1, 28, 28))
    pixels = np.stack([(images[index][0][0].numpy() * 255).round().astype(np.uint8) for index in range(len(images))])
    build.write(pixels, images.labels.numpy().astype(np.uint8), tmp_path / "test.parquet")
    shipped, rebuilt = (pq.read_table(folder / "test.parquet") for folder in (FOLDER, tmp_path))
    assert rebuilt.column("label").equals(shipped.column("label"))
    if written_by_these_versions():
        assert (tmp_path / "test.parquet").read_bytes() == (FOLDER / "test.parquet").read_bytes()


@pytest.mark.skipif(not ORIGINAL.is_dir(), reason="needs Debian's package dataset-fashion-mnist")
@pytest.mark.skipif(not written_by_these_versions(), reason="parquet and PNG bytes depend on these two versions")
def test_rebuilds_byte_for_byte_from_the_original(tmp_path: Path) -> None:
    build.build(ORIGINAL, tmp_path)
    for split in ("train", "test"):
        assert hashlib.sha256((tmp_path / f"{split}.parquet").read_bytes()).hexdigest() == recorded(split)


@pytest.mark.parametrize("content", [b"", b"\0\0\x0d\x01\0\0\0\1\0", b"\0\0\x08\x01\0\0\0\x09\0"])
def test_damaged_original_is_refused(tmp_path: Path, content: bytes) -> None:
    import gzip

    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(content))
    with pytest.raises(DataError, match=r"images\.gz"):
        build.read_idx(path)
