"""Data sets by their Hub id: read whole, one split of several, and as a stream."""

import io
from itertools import islice
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from smoothify.data import Images, StreamedImages, load, open_stream
from smoothify.errors import DataError
from tests.hub.server import DATASETS, Hub

CARD = """---
dataset_info:
  features:
  - name: image
    dtype: image
  - name: label
    dtype:
      class_label:
        names: {'0': dark, '1': bright}
  splits:
  - {name: train, num_bytes: 1, num_examples: 24}
  - {name: test, num_bytes: 1, num_examples: 6}
  download_size: 1
  dataset_size: 1
configs:
- config_name: default
  data_files:
  - {split: train, path: data/train-*}
  - {split: test, path: data/test-*}
---
"""


def table(shades: range) -> bytes:
    rows = {"image": [], "label": []}
    for shade in shades:
        png = io.BytesIO()
        Image.new("L", (8, 8), shade).save(png, format="PNG")
        rows["image"].append({"bytes": png.getvalue(), "path": None})
        rows["label"].append(shade % 2)
    parquet = io.BytesIO()
    pq.write_table(pa.table(rows), parquet)
    return parquet.getvalue()


@pytest.fixture
def pictures(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "SLEEP_TIME_ON_THREADS_SHUTDOWN", 0, raising=False)  # new in 5.0
    files = {
        "README.md": CARD.encode(),
        "data/train-0.parquet": table(range(12)),
        "data/train-1.parquet": table(range(12, 24)),
        "data/test-0.parquet": table(range(30, 36)),
    }
    hub.put(f"{DATASETS}me/pictures", files)
    return "me/pictures"


def test_one_split_is_loaded_without_the_other(pictures: str, hub: Hub) -> None:
    source = load(pictures, "test")
    assert (len(source), source.classes) == (6, ("dark", "bright"))
    assert Images(source, input_size=(1, 8, 8))[3][1] == 1
    fetched = {request.rpartition("/")[2] for request in hub.requests if "/resolve/" in request}
    assert "test-0.parquet" in fetched and not any(name.startswith("train") for name in fetched)


def test_a_stream_of_the_hub(pictures: str) -> None:
    source = open_stream(pictures, "train", classes=(), buffer=6)
    assert (source.count, source.classes) == (24, ("dark", "bright"))
    rest, held_out = source.hold_out(4, seed=0)
    assert len(held_out) == 4
    images = StreamedImages(rest, images=20, input_size=(1, 8, 8))
    shades = {int(images[row][0][0, 0, 0] * 255) for row in islice(rest.in_order(0, 0), 20)}
    assert len(shades) == 20


def test_a_data_set_that_is_not_there(hub: Hub) -> None:
    with pytest.raises(DataError, match=r"data set 'me/nothing': .*; check the name, the files and the network"):
        load("me/nothing", "test")
