"""A saved model is measured on what it was trained for, unless something else is asked for."""

from pathlib import Path
from typing import Any

import pytest
from torch import nn

from smoothify.attacks import ThreatModel
from smoothify.data import load
from smoothify.errors import ConfigError, HubError
from smoothify.evaluation.setting import Setting

GIVEN: dict[str, Any] = {"data": "images", "norm": "linf", "epsilon": 0.1}
BOMB = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}' if n else '1'] * 9)}]\n" for n in range(30))


def test_the_split_is_the_runs_own(tmp_path: Path) -> None:
    training = "data: {path: images, test_split: validation}\nattack: {norm: linf, epsilon: 4/255}\n"
    (tmp_path / "training.yaml").write_text(training)
    found = Setting.of(str(tmp_path))
    assert (found.data, found.split, found.threat.radius) == ("images", "validation", 4 / 255)
    assert Setting.of(str(tmp_path), split="train").split == "train"


@pytest.mark.parametrize(
    ("path", "given", "seen"),
    [("images", None, True), ("images", "images", True), ("images", "others", False), ("null", "images", True)],
)
def test_images_that_it_was_trained_on_are_known_as_such(
    path: str, given: str | None, seen: bool, tmp_path: Path
) -> None:
    training = f"data: {{path: {path}, train_split: train}}\nattack: {{norm: linf, epsilon: 4/255}}\n"
    (tmp_path / "training.yaml").write_text(training)
    assert Setting.of(str(tmp_path), data=given, split="train").seen is seen
    assert not Setting.of(str(tmp_path), data=given, split="test").seen


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ("data: [1", "is not readable as plain YAML .* in line 1"),
        ("seed: !!python/object/apply:os.system [ls]", "constructor for the tag .*python/object.* in line 1"),
        ("seed: !!timestamp x", "is not readable as plain YAML"),
        ("seed: " + "[" * 5000, "is not readable as plain YAML"),
        (BOMB + "data: {path: *a29}", "aliases are not read in line 2"),
        ("#" * 70_000, "is 70,000 bytes, more than the 65,536"),
        ("data: {path: [1, 2]}", r"data.path is \[1, 2\], not one printable line"),
        ('data: {path: "a\\e[2J"}', "data.path is .*, not one printable line"),
        ("data: {test_split: 3}", "data.test_split is 3, not one"),
        ("attack: {epsilon: [1, 2]}", r"attack.epsilon is \[1, 2\], not a number"),
        ("attack: {epsilon: .nan}", "attack.epsilon is nan, not a number"),
        ("attack: {norm: [linf]}", "attack.norm is .*, not one"),
        ("model: {input_size: [1]}", r"model.input_size is \[1\], not a list of 3"),
        ("model: {input_size: [1, 100000, 100000]}", r"model.input_size\[1\] is 100000, not a whole number .* to 4096"),
        ("model: {mean: [a]}", r"model.mean\[0\] is 'a', not a number"),
        ("model: {std: [.inf]}", r"model.std\[0\] is inf, not a number"),
        ("model: {crop_mode: [center]}", "model.crop_mode is "),
        ("model: {input_size: [1, 28, 28], mean: [0.1, 0.2, 0.3]}", "model.mean has 3 values, but model.input_size 1"),
    ],
    ids=lambda text: str(text)[:40],
)
def test_what_a_strangers_file_cannot_say(training: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "training.yaml").write_text(training)
    with pytest.raises(HubError, match=rf"training\.yaml: .*{message}") as caught:
        Setting.of(str(tmp_path))
    assert "\n" not in str(caught.value) and "\x1b" not in str(caught.value) and len(str(caught.value)) < 500


def test_what_is_given_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "training.yaml").write_text("data: {path: [1]}\nattack: {norm: 3, epsilon: [1]}\nmodel: resnet18")
    assert Setting.of(str(tmp_path), **GIVEN) == Setting("images", "test", ThreatModel("linf", 0.1))


def test_a_size_that_the_model_does_not_take(tmp_path: Path) -> None:
    host = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(2 * 26 * 26, 10))

    def setting(channels: int) -> Setting:
        (tmp_path / "training.yaml").write_text(f"model: {{input_size: [{channels}, 28, 28], mean: [0.5], std: [0.5]}}")
        return Setting.of(str(tmp_path), **GIVEN)

    images, _ = setting(1).images(host, load(split="test"), range(2)).batch(range(2))
    assert setting(1).classifier(host)(images).shape == (2, 10)
    with pytest.raises(HubError, match=r"model\.input_size is \[3, 28, 28\], which the model does not take .*correct"):
        setting(3).classifier(host)


def test_an_epsilon_of_another_norm_is_not_taken_over(tmp_path: Path) -> None:
    (tmp_path / "training.yaml").write_text("data: {path: images}\nattack: {norm: linf, epsilon: 0.1}\n")
    with pytest.raises(ConfigError, match=r"--norm l2: .* was trained under linf, .* give --epsilon, too"):
        Setting.of(str(tmp_path), norm="l2")
    assert Setting.of(str(tmp_path), norm="linf").threat == ThreatModel("linf", 0.1)
    assert Setting.of(str(tmp_path), norm="l2", epsilon=1).threat == ThreatModel("l2", 1.0)
