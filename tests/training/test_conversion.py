"""From a trained ReLU network to a smooth one: what is set at each step, and that nothing of it is lost on the way."""

from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from accelerate import Accelerator
from torch import nn

import smoothify
from smoothify.activations import describe, sharpness
from smoothify.data import Images, load
from smoothify.errors import ConfigError
from smoothify.models import PixelClassifier, build
from smoothify.training import Config, EngineConfig, ModelConfig, RunFolder, Silent, train
from smoothify.training.conversion import Annealing, activations_of, convert_as_configured_, recalibrate
from smoothify.training.saving import state
from smoothify.training.saving.record import Record
from smoothify.training.steps.batches import Batch, Batches
from smoothify.training.steps.replica import Replica


class Listener(Silent):
    """Hears every note; presses Ctrl-C once there is a checkpoint of this step."""

    def __init__(self, run: Config, interrupt_at: int | None = None) -> None:
        self.notes: list[str] = []
        self._folder, self._step = RunFolder(Path(run.output)), interrupt_at

    def note(self, text: str) -> None:
        self.notes.append(text)

    def advance(self, images: int, figures: str = "") -> None:
        saved = state.newest_first(self._folder.checkpoints)
        if figures and saved and saved[0].name.startswith(f"step-{self._step or -1:08d}"):
            raise KeyboardInterrupt


@pytest.fixture
def smooth(tiny: Config, tmp_path: Path) -> Config:
    """Fine-tuning, for three epochs of five steps, of a network that one epoch made of ReLUs."""
    relu = replace(tiny, epochs=1, output=str(tmp_path / "relu"), model=ModelConfig(activation="keep"))
    train(relu)
    model = ModelConfig(name=relu.output, pretrained=True, activation="swish")
    return replace(tiny, model=model, engine=EngineConfig(checkpoint_every=4))


def sites(model: torch.nn.Module) -> set[float]:
    return {value for module in model.modules() if (value := sharpness(module)) is not None}


def test_annealing_ends_where_it_is_to_end(smooth: Config) -> None:
    config = replace(smooth, model=replace(smooth.model, anneal=1.5))
    listener = Listener(config)
    outcome = train(config, reporter=listener)
    assert outcome.reloaded_identical
    assert outcome.best_epoch > 1, "after the first epoch the activations were not what they were to be"
    for folder in (outcome.folder.best, outcome.folder.last):
        model = smoothify.from_pretrained(folder)
        assert sites(model) == {1.0}
        assert {describe(module) for module in model.modules()} >= {"swish"}
    assert sum(line.startswith("to begin with: held out: clean ") for line in listener.notes) == 1


def test_annealing_goes_on_where_it_was_interrupted(smooth: Config, tmp_path: Path) -> None:
    model = replace(smooth.model, anneal=1.5)
    whole, cut = (replace(smooth, model=model, output=str(tmp_path / name)) for name in ("whole", "cut"))
    train(whole)
    with pytest.raises(KeyboardInterrupt):
        train(cut, reporter=Listener(cut, interrupt_at=4))
    train(cut, resume=True)
    one, other = (smoothify.from_pretrained(Path(run.output) / "last").state_dict() for run in (whole, cut))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_attacked_replica_is_as_sharp_as_the_model() -> None:
    host = smoothify.convert(build("resnet10_28px", num_classes=10), to="parametric_softplus(alpha=1)")
    classifier, images = PixelClassifier.from_host(host).eval(), torch.rand(4, 1, 28, 28)
    replica = Replica(classifier, images, dtype=torch.float32)
    Annealing(epochs=2, end=1.0).apply(1, [classifier, replica])
    assert sites(classifier) == sites(replica)
    assert min(sites(replica)) == max(sites(replica)) == pytest.approx(1000**0.5)
    torch.testing.assert_close(replica(images), classifier(images), rtol=1e-4, atol=1e-4)


def test_batch_norms_are_estimated_anew_before_the_first_step(smooth: Config) -> None:
    config = replace(smooth, epochs=1, lr=1e-12, model=replace(smooth.model, activation="silu", recalibrate=True))
    listener = Listener(config)
    folder = train(config, reporter=listener).folder
    assert listener.notes[0] == "15 batch norms estimated anew"
    plain = replace(config, model=replace(config.model, recalibrate=False), output=f"{config.output}-plain")
    train(plain)
    name = "layer1.0.bn1.running_mean"
    anew, moved = (
        smoothify.from_pretrained(Path(run) / "last").state_dict()[name] for run in (folder.path, plain.output)
    )
    assert not torch.allclose(anew, moved, rtol=1e-2)


def test_batch_norms_are_estimated_anew_for_the_activations_that_training_begins_with(smooth: Config) -> None:
    model = replace(smooth.model, recalibrate=True)
    found = []
    for name, changes in (("annealed", {"anneal": 1}), ("relu", {"activation": "keep"}), ("swish", {})):
        config = replace(smooth, model=replace(model, **changes), output=f"{smooth.output}-{name}")
        with pytest.raises(KeyboardInterrupt):
            train(config, reporter=Stopping())
        found.append(smoothify.from_pretrained(Path(config.output) / "last").state_dict()["layer2.0.bn1.running_mean"])
    annealed, relu, swish = found
    torch.testing.assert_close(annealed, relu, rtol=1e-3, atol=1e-3)
    assert not torch.allclose(annealed, swish, rtol=1e-2, atol=1e-2)


class Stopping(Silent):
    """Presses Ctrl-C before the first step."""

    def begin(self, what: str, images: int) -> None:
        if what.startswith("epoch"):
            raise KeyboardInterrupt


def test_a_batch_that_is_replayed_counts_once() -> None:
    images = Images(load(split="test"), input_size=(1, 28, 28), indices=range(12))
    options = {"batch_size": 4, "pieces": 1, "seed": 0, "workers": 0, "channels_last": False}
    batches = Batches(images, replays=3, accelerator=Accelerator(cpu=True), **options)
    assert len(list(batches.epoch(0))) == 9
    keys = [piece.keys.tolist() for pieces in batches.distinct(0) for piece in pieces]
    assert len(keys) == 3 and len(set(map(tuple, keys))) == 3


@pytest.mark.parametrize(
    ("start", "model", "words"),
    [
        ("swish", {"anneal": 1}, r"model\.anneal would begin by making swish, which .* has already, nearly ReLU again"),
        ("swish", {"anneal": 1, "activation": "parametric_softplus"}, "making swish, which"),
        ("gelu", {"anneal": 1}, "model.activation='swish': .* has nothing that becomes it, but gelu; set"),
        ("none", {"recalibrate": True}, "model.recalibrate: ResNet has no batch norm .*; leave it out"),
    ],
)
def test_a_model_that_cannot_be_is_refused_before_the_first_step(
    start: str, model: dict[str, object], words: str
) -> None:
    host = build("resnet10_28px", num_classes=2)
    smoothify.convert_(host, to="swish" if start == "none" else start)
    if start == "none":
        for module in list(host.modules()):
            for name, child in module.named_children():
                if isinstance(child, torch.nn.BatchNorm2d):
                    setattr(module, name, torch.nn.Identity())
    with pytest.raises(ConfigError, match=words):
        convert_as_configured_(host, ModelConfig(**{"activation": "swish", **model}))


def test_statistics_are_the_mean_over_processes_of_two_hundred_batches() -> None:
    class Other:
        """Stands for a process beside this one, whose statistics are all 0."""

        def reduce(self, tensor: torch.Tensor, reduction: str) -> torch.Tensor:
            assert reduction == "mean"
            return tensor / 2

    images = torch.full((2, 1), 6.0)
    batch = Batch(images, torch.zeros(2, dtype=torch.long), torch.zeros(2, dtype=torch.long))
    steps = iter([[batch]] * 201)
    norm = torch.nn.BatchNorm1d(1)
    assert recalibrate(norm, steps, Other()) == 1
    assert norm.running_mean.item() == 3
    assert len(list(steps)) == 1, "an epoch of a large data set is not read for it"


def test_an_activation_that_nothing_becomes_is_refused_and_not_published_as_what_the_model_has() -> None:
    """A network that is smooth already stays as it is, whatever is asked for."""
    for activation in ("relu", "parametric_softplus", "swish(beta=2)"):
        host = timm.create_model("test_efficientnet")
        with pytest.raises(ConfigError, match="nothing that becomes it, but sigmoid and silu; set"):
            convert_as_configured_(host, ModelConfig("timm/test_efficientnet", activation))
    for activation in ("silu", "keep"):
        convert_as_configured_(host, ModelConfig("timm/test_efficientnet", activation))
    spelled = nn.Sequential(nn.Linear(2, 2), nn.CELU(2.0))
    assert activations_of(convert_as_configured_(spelled, ModelConfig(activation="celu(alpha=2.0)"))) == (
        "celu(alpha=2)",
    )


def test_an_epoch_of_annealing_is_the_best_only_while_there_is_no_other() -> None:
    record = Record(Accelerator(cpu=True), unjudged=2)
    found = []
    for accuracy in (0.9, 0.8, 0.3, 0.2):
        record.finish_epoch({"held_out_robust_accuracy": accuracy}, held_out=500)
        found.append((record.best, record.stalled))
    assert found == [(0, 0), (1, 0), (2, 0), (2, 1)]


@pytest.mark.parametrize(
    ("model", "options", "words"),
    [
        ({"activation": "silu", "anneal": 1}, {}, "'silu' has no sharpness that could fall"),
        ({"activation": "keep", "anneal": 1}, {}, "'keep' has no sharpness"),
        ({"anneal": -1}, {}, "model.anneal=-1"),
        ({"activation": "swish(beta=5000)", "anneal": 1}, {}, "which is sharper than the 1000 that it begins with"),
        ({"anneal": 3}, {"epochs": 3}, "model.anneal=3 leaves nothing of 3 epochs"),
        ({"anneal": 1}, {"engine": EngineConfig(compile=True)}, "engine.compile would compile each"),
    ],
)
def test_what_cannot_be(model: dict[str, object], options: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        replace(Config(), model=ModelConfig(**model), **options)
