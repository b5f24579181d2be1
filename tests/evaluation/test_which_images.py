"""An evaluation of some images says which, and they are of every class."""

import json
from pathlib import Path

import pytest
from PIL import Image

from smoothify import evaluate
from smoothify.hub import save_pretrained
from smoothify.models import build


@pytest.mark.parametrize(
    ("asked", "rows"),
    [
        (["--images", "6"], "6 of 30 images, spread evenly over the classes"),
        (["--images", "29"], "the first 29 of 30 images"),
        ([], "all 30 images"),
    ],
)
def test_some_images_of_a_folder(asked: list[str], rows: str, saved: Path, tmp_path: Path, capsys) -> None:
    evaluate.main([str(saved), "--data", str(saved.parent / "pictures"), "--norm", "linf", "--epsilon", "0.1",
                   "--attack", "pgd-1", "--threads", "1", *asked,
                   "--output", str(tmp_path / "figures.json")])  # fmt: skip
    written = json.loads((tmp_path / "figures.json").read_text())
    assert written["rows"] == rows and f"pictures, test: {rows}; Linf" in capsys.readouterr().out.replace("\n", " ")
    (measured,) = written["results"]
    assert measured["split_images"] == 30
    assert 0 < measured["clean_accuracy"] < 1, "one class is answered right, and is not all that is measured"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that answers class 0, beside pictures of three classes."""
    folder = tmp_path_factory.mktemp("sorted")
    for name in "abc":
        (folder / "pictures" / "test" / name).mkdir(parents=True)
        for index in range(10):
            Image.new("L", (28, 28), index).save(folder / "pictures" / "test" / name / f"{index}.png")
    model = build("resnet10_28px", num_classes=3).eval()
    model.fc.weight.data.zero_()
    model.fc.bias.data[0] = 9.0
    return save_pretrained(model, folder / "model")
