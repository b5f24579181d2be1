"""Runs that start from other libraries' models and from models saved before."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from smoothify import from_pretrained
from smoothify.errors import ConfigError
from smoothify.training import Config, ModelConfig, train
from smoothify.training.host import host_of

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


def test_the_saved_weights_are_the_start(folder: Path) -> None:
    host = host_of(replace(SMALL, name=str(folder), pretrained=True, arguments={}), num_classes=2)
    assert host.training
    saved = from_pretrained(folder / "best").state_dict()
    assert all(torch.equal(value, saved[key]) for key, value in host.state_dict().items())


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
