"""Which rows are held out, and which stand for all: every class has its share, and published choices stay."""

import hashlib
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from smoothify.data import Images, hold_out, labels_of, load, name_rows, representative
from smoothify.errors import DataError


def classes_of(*sizes: int) -> Tensor:
    return torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))


@pytest.mark.parametrize(
    ("sizes", "count", "expected"),
    [
        ((20,) * 1000, 500, None),
        ((1000, 5), 12, [12, 0]),
        ((1000, 5), 402, [400, 2]),
        ((6, 3, 3), 4, [2, 1, 1]),
        ((1, 1, 1, 1, 1, 10), 9, [0, 0, 0, 0, 0, 9]),
        ((3, 3), 4, [2, 2]),
        ((3, 3), 0, [0, 0]),
    ],
)
def test_classes_are_held_out_in_proportion(sizes: tuple[int, ...], count: int, expected: list[int] | None) -> None:
    labels = classes_of(*sizes)
    kept, held_out = hold_out(labels, count, seed=0)
    assert sorted(kept + held_out) == list(range(len(labels))) and len(held_out) == count
    counts = labels[held_out].bincount(minlength=len(sizes))
    if expected is None:
        assert int(counts.max()) == 1
        low, high = counts[:500].sum(), counts[500:].sum()
        assert 200 < low < 300 and 200 < high < 300, "low labels do not come first"
        assert hold_out(labels, count, seed=1)[1] != held_out
    else:
        assert counts.tolist() == expected
    assert set(labels[kept].tolist()) == set(range(len(sizes))), "every class is left something to train on"


def test_labels_that_are_not_there_hold_nothing_out() -> None:
    kept, held_out = hold_out(torch.tensor([7, 3, 7, 3, 7, 7]), 3, seed=0)
    assert len(kept) == len(held_out) == 3


@pytest.mark.parametrize("count", [-1, 5, 6, 7])
def test_no_class_is_held_out_as_a_whole(count: int) -> None:
    with pytest.raises(DataError, match=rf"cannot hold {count} of 6 .*their 2 classes keeps one; choose at most 4"):
        hold_out(classes_of(3, 3), count, seed=0)


@pytest.mark.parametrize(("seed", "choice"), [(0, "f0aff9108c1f8434"), (4, "92d8c8c2a25517b9")])
def test_the_images_that_published_records_held_out(seed: int, choice: str) -> None:
    """The records under zoo/ were made with these 500 of the embedded 10,000."""
    _, held_out = hold_out(labels_of(load()), 500, seed=seed)
    assert hashlib.sha256(str(held_out).encode()).hexdigest().startswith(choice)


@pytest.mark.parametrize("count", [200, 500, 1000])
def test_the_first_images_of_the_sample_are_as_published(count: int) -> None:
    assert representative(labels_of(load(split="test")), count) == list(range(count))


@pytest.mark.parametrize(
    ("labels", "count", "counts"),
    [
        (classes_of(10, 10, 10), 10, [3, 4, 3]),
        (classes_of(500, 500), 501, [250, 251]),  # the first 501 hold both classes, one of them once
        (classes_of(50, 50, 50, 50), 2, [0, 1, 0, 1]),
        (torch.arange(1000).repeat(50), 500, None),  # every hundredth row would be of the same ten classes
        (classes_of(3, 3), 10, [3, 3]),
    ],
)
def test_every_class_has_its_share(labels: Tensor, count: int, counts: list[int] | None) -> None:
    rows = representative(labels, count)
    assert rows == sorted(set(rows)) and len(rows) == min(count, len(labels))
    found = labels[rows].bincount(minlength=int(labels.max()) + 1)
    assert found.tolist() == counts if counts is not None else int(found.max()) == 1


def test_a_folder_of_pictures_is_sorted_by_class(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / "test" / name).mkdir(parents=True)
        for index in range(10):
            Image.new("L", (4, 4)).save(tmp_path / "test" / name / f"{index}.png")
    images = Images(load(str(tmp_path), "test"), input_size=(1, 4, 4))
    few = images.few(10)
    assert few.labels.bincount().tolist() == [3, 4, 3] and len(few) == 10
    assert name_rows(few.indices, 30) == "10 of 30 images, spread evenly over the classes"
    assert few.few(3).labels.tolist() == [0, 1, 2]
