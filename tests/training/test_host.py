"""Runs that start from other libraries' models and from models saved before."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from timm.data import resolve_data_config

from smoothify import PixelClassifier, __main__, evaluate, from_pretrained, save_pretrained
from smoothify.data import Resizing
from smoothify.errors import ConfigError
from smoothify.models import build, input_size
from smoothify.training import Config, ModelConfig, train
from smoothify.training.host import host_of, name_classes_, resizing_of

# its ReLUs are named by its config, and its forward returns an object
SMALL = ModelConfig(
    name="transformers/resnet",
    activation="silu",
    arguments={"num_channels": 1, "embedding_size": 8, "hidden_sizes": [8, 8], "depths": [1, 1], "layer_type": "basic"},
    input_size=(1, 28, 28),
    mean=(0.5,),
    std=(0.25,),
)


@pytest.fixture(scope="module")
def folder(stripes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from smoothify.training import AttackConfig, DataConfig

    run = Config(
        output=str(tmp_path_factory.mktemp("runs") / "first"),
        epochs=1,
        batch_size=16,
        lr=0.05,
        model=SMALL,
        data=DataConfig(path=str(stripes), held_out=16),
        attack=AttackConfig(epsilon=0.03, check="pgd-1", final="pgd-1"),
    )
    assert train(run).reloaded_identical
    return Path(run.output)


def test_a_run_starts_from_the_model_of_another(folder: Path, tiny: Config) -> None:
    model = replace(SMALL, name=str(folder), pretrained=True, arguments={}, activation="keep")
    outcome = train(replace(tiny, epochs=1, model=model))
    assert outcome.reloaded_identical
    before, after = from_pretrained(folder / "best"), from_pretrained(outcome.folder.best)
    assert type(before) is type(after)
    assert before.state_dict().keys() == after.state_dict().keys()


def test_a_folder_does_not_hide_an_architecture_of_its_name(
    folder: Path, tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run may be kept under the name of its model, and goes on."""
    monkeypatch.chdir(tmp_path)
    config = replace(tiny, epochs=1, output="resnet10_28px")
    assert config.model.name == config.output
    train(config)
    assert train(config, resume=True).best_epoch == 1
    assert __main__.model_of("resnet10_28px").num_classes == 10
    assert __main__.model_of("./resnet10_28px/best").num_classes == 2
    shutil.copytree(folder, "resnet18")
    started = host_of(replace(SMALL, name="./resnet18", pretrained=True, arguments={}), num_classes=2)
    assert type(started) is type(from_pretrained("./resnet18/best"))


def test_the_saved_weights_are_the_start(folder: Path) -> None:
    host = host_of(replace(SMALL, name=str(folder), pretrained=True, arguments={}), num_classes=2)
    assert host.training
    saved = from_pretrained(folder / "best").state_dict()
    assert all(torch.equal(value, saved[key]) for key, value in host.state_dict().items())


def test_a_model_saved_in_half_precision_is_trained_in_float32(tmp_path: Path) -> None:
    half = build("resnet10_28px", num_classes=10).bfloat16()
    saved = save_pretrained(half, tmp_path / "half")
    host = host_of(ModelConfig(str(saved), activation="keep", pretrained=True), num_classes=10)
    assert {value.dtype for value in host.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("change", "classes", "words"),
    [
        ({"pretrained": False}, 2, "set model.pretrained to true"),
        ({"arguments": {"depths": [2, 2]}}, 2, "leave model.arguments out"),
        ({}, 3, "tells 2 classes apart, the data has 3"),
    ],
)
def test_what_a_saved_model_cannot_do(folder: Path, change: dict[str, object], classes: int, words: str) -> None:
    model = replace(replace(SMALL, name=str(folder), pretrained=True, arguments={}), **change)
    with pytest.raises(ConfigError, match=words):
        host_of(model, num_classes=classes)


# What each says of its input, none of which is its library's own.
INPUT = {"input_size": (3, 28, 28), "mean": (0.1, 0.2, 0.3), "std": (0.9, 0.8, 0.7), "interpolation": "nearest"}
LIBRARIES = {
    "timm": ModelConfig("timm/test_resnet", "silu", **INPUT),
    "torchvision": ModelConfig("torchvision/squeezenet1_1", "silu", arguments={"dropout": 0.1}, **INPUT),
    "transformers": replace(SMALL, arguments={**SMALL.arguments, "num_channels": 3}, **INPUT),
}


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_run_of_every_library_is_a_start_that_needs_no_description(
    library: str, tiny: Config, tmp_path: Path
) -> None:
    """``--model.name mine --model.pretrained true``, and nothing else."""
    first = train(replace(tiny, epochs=1, model=LIBRARIES[library]))
    loaded = from_pretrained(first.folder.best)
    classifier = PixelClassifier.from_host(loaded)
    assert classifier.mean.flatten().tolist() == pytest.approx(INPUT["mean"])
    assert classifier.std.flatten().tolist() == pytest.approx(INPUT["std"])
    assert input_size(loaded) == (3, 28, 28) and Resizing.from_host(loaded).interpolation == "nearest"
    if library == "timm":
        alone = timm.create_model(f"local-dir:{first.folder.best}", pretrained=True)
        for model in (loaded, alone):
            told = resolve_data_config(model=model)
            for name, value in INPUT.items():
                assert told[name] == value or tuple(told[name]) == value

    start = ModelConfig(str(first.folder.path), "keep", pretrained=True)
    second = train(replace(tiny, epochs=1, output=str(tmp_path / "second"), model=start))
    assert second.reloaded_identical
    (second.folder.best / "training.yaml").unlink()
    asked = ["--data", tiny.data.path, "--norm", "linf", "--epsilon", "0.03", "--attack", "pgd-1", "--images", "8"]
    evaluate.main([str(second.folder.best), *asked, "--threads", "1"])
    told = json.loads((second.folder.best / "evaluation.json").read_text())["preprocessing"]
    assert told["mean"] == pytest.approx(INPUT["mean"]) and told["input_size"] == [3, 28, 28]
    again = save_pretrained(from_pretrained(second.folder.best), tmp_path / "again")
    for name in ("config.json", "model.safetensors", "smoothify.safetensors"):
        assert (again / name).is_file() == (second.folder.best / name).is_file()
        assert not (again / name).is_file() or (again / name).read_bytes() == (second.folder.best / name).read_bytes()


def test_what_is_given_goes_before_what_a_saved_model_says(tmp_path: Path) -> None:
    model = timm.create_model("test_resnet", num_classes=2)
    model.pretrained_cfg |= {"test_input_size": (3, 64, 64), "test_crop_pct": 1.0}
    folder = save_pretrained(model, tmp_path / "out")
    host = host_of(ModelConfig(str(folder), pretrained=True, **INPUT, crop_pct=0.5), num_classes=2)
    assert {name: host.pretrained_cfg[name] for name in INPUT} == INPUT
    assert resizing_of(host, ModelConfig()) == Resizing(0.5, "center", "nearest")
    for alone in ("test_input_size", "test_crop_pct"):  # they are of the network as it was
        assert alone in from_pretrained(folder).pretrained_cfg and alone not in host.pretrained_cfg
    assert host_of(ModelConfig(str(folder), pretrained=True), num_classes=2).pretrained_cfg["mean"] == (0.5,) * 3


def test_classes_are_called_what_the_data_calls_them_and_not_as_in_the_model_it_started_from(tmp_path: Path) -> None:
    model = timm.create_model("test_resnet", num_classes=2)
    model.pretrained_cfg |= {"label_names": ["cat", "dog"], "label_descriptions": {"cat": "mews"}}
    host = host_of(ModelConfig(str(save_pretrained(model, tmp_path / "pets")), pretrained=True), num_classes=3)
    assert list(host.pretrained_cfg["label_names"]) == ["cat", "dog"]
    assert "label_names" not in from_pretrained(save_pretrained(host, tmp_path / "stale")).pretrained_cfg
    name_classes_(host, ("shirt", "shoe", "bag"))
    saved = from_pretrained(save_pretrained(host, tmp_path / "own")).pretrained_cfg
    assert list(saved["label_names"]) == ["shirt", "shoe", "bag"] and "label_descriptions" not in saved
    name_classes_(host, ("0", "1", "2"))
    assert "label_names" not in from_pretrained(save_pretrained(host, tmp_path / "unnamed")).pretrained_cfg
    other = host_of(SMALL, num_classes=2)
    name_classes_(other, ("shirt", "shoe"))
    config = from_pretrained(save_pretrained(other, tmp_path / "other")).config
    assert config.id2label == {0: "shirt", 1: "shoe"}


def test_what_no_model_says_is_asked_for_as_options(tiny: Config) -> None:
    model = replace(SMALL, mean=None, std=None)
    with pytest.raises(ConfigError, match=r"'transformers/resnet' .*; set model\.mean and model\.std"):
        train(replace(tiny, model=model))
