"""A saved model is measured on what it was trained for, unless something else is asked for."""

from pathlib import Path

from smoothify.evaluation.setting import Setting


def test_the_split_is_the_runs_own(tmp_path: Path) -> None:
    training = "data: {path: images, test_split: validation}\nattack: {norm: linf, epsilon: 4/255}\n"
    (tmp_path / "training.yaml").write_text(training)
    found = Setting.of(str(tmp_path))
    assert (found.data, found.split, found.threat.radius) == ("images", "validation", 4 / 255)
    assert Setting.of(str(tmp_path), split="train").split == "train"
