"""Rebuild the embedded sample from the original Fashion-MNIST files: ``python -m smoothify.data.sample.build``.

Debian ships them (``apt-get install dataset-fashion-mnist``). The first images of each class, in file order, are
taken, so nothing is random; PNG and parquet bytes are those of the library versions that ``README.md`` beside
this file names.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from smoothify.errors import DataError

CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
SPLITS = {"train": ("train", 1000), "test": ("t10k", 200)}

Bytes = npt.NDArray[np.uint8]


def read_idx(path: Path) -> Bytes:
    """Read one gzipped IDX file of unsigned bytes (the MNIST container: magic, sizes, data).

    Raises:
        DataError: the file is not an IDX file of unsigned bytes, or is shorter than it says.
    """
    with gzip.open(path, "rb") as stream:
        content = stream.read()
    if len(content) < 4 or content[:3] != b"\0\0\x08":
        raise DataError(f"{path}: not an IDX file of unsigned bytes; expected the original Fashion-MNIST file")
    dimensions = content[3]
    start = 4 + 4 * dimensions
    shape = tuple(np.frombuffer(content, ">u4", count=dimensions, offset=4).tolist())
    if len(content) != start + int(np.prod(shape)):
        raise DataError(f"{path}: {len(content)} bytes do not hold an array of shape {shape}; fetch the file again")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def select(labels: Bytes, per_class: int) -> npt.NDArray[np.intp]:
    """Return the positions of the first ``per_class`` images of every class, in file order."""
    chosen = [np.flatnonzero(labels == label)[:per_class] for label in range(len(CLASSES))]
    return np.sort(np.concatenate(chosen))


def png(pixels: Bytes, *, optimize: bool = True) -> bytes:
    """Encode one grey image, shape (height, width), as PNG; the smallest that Pillow makes, or the quickest."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", **({"optimize": True} if optimize else {"compress_level": 1}))
    return buffer.getvalue()


def table(images: Bytes, labels: Bytes, *, optimize: bool = True) -> pa.Table:
    """Lay images and labels out as Hugging Face `datasets` expects an image classification set; see `png`."""
    features = {
        "image": {"_type": "Image"},
        "label": {"names": list(CLASSES), "_type": "ClassLabel"},
    }
    schema = pa.schema(
        [
            ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
            ("label", pa.int64()),
        ],
        metadata={"huggingface": json.dumps({"info": {"features": features}})},
    )
    rows = {
        "image": [{"bytes": png(image, optimize=optimize), "path": None} for image in images],
        "label": labels.astype(np.int64).tolist(),
    }
    return pa.table(rows, schema=schema)


def write(images: Bytes, labels: Bytes, path: Path) -> None:
    """Write one split as parquet; PNG bytes do not compress further, so the file is stored plain."""
    pq.write_table(
        table(images, labels),
        path,
        compression="none",
        use_dictionary=False,
        store_schema=True,
        row_group_size=2000,
    )


def build(source: Path, folder: Path) -> None:
    """Write ``train.parquet`` (10,000 images) and ``test.parquet`` (2,000) into ``folder``."""
    for split, (prefix, per_class) in SPLITS.items():
        images = read_idx(source / f"{prefix}-images-idx3-ubyte.gz")
        labels = read_idx(source / f"{prefix}-labels-idx1-ubyte.gz")
        chosen = select(labels, per_class)
        write(images[chosen], labels[chosen], folder / f"{split}.parquet")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Rebuild the embedded Fashion-MNIST sample.")
    parser.add_argument("--source", type=Path, default=Path("/usr/share/datasets/fashion-mnist"))
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent)
    arguments = parser.parse_args()
    build(arguments.source, arguments.folder)
