"""What a run leaves, and that it survives whatever stops it."""

import dataclasses
import json
import resource
import signal
import sys
from pathlib import Path

import pytest
import torch
import yaml
from accelerate import Accelerator
from PIL import Image

import smoothify
from smoothify.activations import SurrogateGradients
from smoothify.attacks import NoiseFGSM, register_attack
from smoothify.data import Resizing
from smoothify.errors import (
    ConfigError,
    HubError,
    NonFiniteError,
    OutputExistsError,
    SmoothifyError,
    UnsupportedModelError,
)
from smoothify.evaluation import RobustAccuracy
from smoothify.hub.results import read_evaluation
from smoothify.training import (
    AttackConfig,
    Config,
    EngineConfig,
    ModelConfig,
    OptimizerConfig,
    RunFolder,
    Silent,
    train,
)
from smoothify.training.saving import state
from smoothify.training.saving.export import telling
from smoothify.training.saving.finite import not_finite


class Listener(Silent):
    """Hears every note; calls `act` once `after` epochs are finished."""

    def __init__(self, act=lambda: None, after: int = 10**9) -> None:
        self.notes: list[str] = []
        self.act, self.after = act, after

    def note(self, text: str) -> None:
        self.notes.append(text)
        if text.startswith(f"epoch {self.after + 1}/"):
            self.act()


def stop() -> None:
    raise KeyboardInterrupt


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return smoothify.from_pretrained(folder).state_dict()


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def with_changes(config: Config, **changes) -> Config:
    return dataclasses.replace(config, **changes)


def test_a_run_leaves_everything(tiny: Config) -> None:
    listener = Listener()
    outcome = train(tiny, reporter=listener)
    folder = outcome.folder
    assert sorted(path.name for path in folder.path.iterdir()) == [
        "adversarial.png",
        "best",
        "checkpoints",
        "config.yaml",
        "curves.png",
        "evaluation.json",
        "last",
        "metrics.jsonl",
    ]
    rows = [json.loads(line) for line in folder.metrics.read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert all(0 <= row[name] <= 1 for row in rows for name in row if name.endswith("accuracy"))
    assert rows[-1]["train_loss"] < rows[0]["train_loss"]
    robust = [row["held_out_robust_accuracy"] for row in rows]
    error = (max(robust) * (1 - max(robust)) / 16) ** 0.5
    assert robust[outcome.best_epoch - 1] >= max(robust) - error
    assert all(
        value < max(robust[: index + 1]) - error for index, value in enumerate(robust) if index >= outcome.best_epoch
    )
    assert outcome.reloaded_identical is True
    for picture in (folder.curves, folder.adversarial):
        with Image.open(picture) as image:
            assert image.size[0] > 500
            assert len(image.convert("L").getcolors(256) or []) > 20, "a picture with nothing on it"
    measured = json.loads(folder.evaluation.read_text())
    assert measured["attack"] == "PGD-3"
    assert measured["images"] == 48 == len(measured["robust_correct"])
    assert measured["robust_accuracy"] == sum(measured["robust_correct"]) / 48 == outcome.final.robust.value
    said = yaml.safe_load((folder.best / "training.yaml").read_text())["model"]
    assert {name: said[name] for name in ("crop_pct", "crop_mode", "interpolation")} == vars(
        Resizing(1.0, "center", "bicubic")
    )
    card = (folder.best / "README.md").read_text()
    assert f"{100 * outcome.final.robust.value:.1f}%" in card
    assert "adversarial.png" in card
    assert str(folder.path.parent) not in card, "a card must not name folders of this machine"
    assert len([note for note in listener.notes if note.startswith("epoch")]) == 3
    assert len(list(folder.checkpoints.glob("step-*"))) == 2


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ("wfsfsfsfsfsfs", [2, 4, 6, 8, 1, 3, 5, 7]),  # w: wrong when clean, f: fell, s: withstood
        ("sssssssssfs", [0, 1, 2, 3, 4, 5, 6, 9]),
        ("wffffffffffs", [11, 1, 2, 3, 4, 5, 6, 7]),
        ("wsf", [1, 2, 0]),
        ("wwww", [0, 1, 2, 3]),
    ],
)
def test_picture_shows_images_that_withstood_the_attack_and_images_that_fell(
    verdicts: str, expected: list[int]
) -> None:
    clean, robust = (tuple(verdict in kind for verdict in verdicts) for kind in ("sf", "s"))
    assert telling(RobustAccuracy("PGD-1", "linf", 0.1, 0.1, 0, clean, robust)) == expected


def test_saved_config_gives_the_same_run(tiny: Config, tmp_path: Path) -> None:
    from smoothify.train import read

    first = train(tiny)
    asked = read(["--config", str(first.folder.config), "--output", str(tmp_path / "again")])
    assert (asked.overwrite, asked.resume) == (False, False)
    said = dataclasses.replace(tiny.engine, mixed_precision="no")  # by the launcher, here
    assert dataclasses.replace(asked.config, output=tiny.output) == with_changes(tiny, engine=said)
    second = train(asked.config)
    assert same(weights(first.folder.last), weights(second.folder.last))
    assert first.final.robust_correct == second.final.robust_correct


def test_resumed_run_equals_an_uninterrupted_one(tiny: Config, tmp_path: Path) -> None:
    whole = train(tiny)
    stopped = with_changes(tiny, output=str(tmp_path / "stopped"))
    with pytest.raises(KeyboardInterrupt):
        train(stopped, reporter=Listener(stop, after=1))
    resumed = train(stopped, resume=True)
    assert same(weights(whole.folder.last), weights(resumed.folder.last))
    assert whole.final == resumed.final
    assert _timeless(whole.folder.metrics) == _timeless(resumed.folder.metrics)


def _timeless(metrics: Path) -> list[dict[str, object]]:
    rows = [json.loads(line) for line in metrics.read_text().splitlines()]
    return [{name: row[name] for name in row if name not in ("seconds", "images_per_second")} for row in rows]


def test_damaged_checkpoint_is_passed_over(tiny: Config) -> None:
    whole = train(tiny)
    newest, before = state.newest_first(whole.folder.checkpoints)
    newest.write_bytes(newest.read_bytes()[:-1] + b"x")
    listener = Listener()
    resumed = train(tiny, resume=True, reporter=listener)
    warned = next(index for index, note in enumerate(listener.notes) if f"checkpoint {newest} is damaged" in note)
    assert "resumed after step 10 (2.00 of 3 epochs)" in listener.notes[warned + 1 :]
    assert same(weights(whole.folder.last), weights(resumed.folder.last))
    before.write_bytes(b"")
    for path in state.newest_first(whole.folder.checkpoints):
        path.write_bytes(b"")
    with pytest.raises(SmoothifyError, match="no undamaged checkpoint"):
        train(tiny, resume=True)


def test_nothing_is_overwritten_unasked(tiny: Config) -> None:
    train(with_changes(tiny, epochs=1))
    before = {path: path.stat().st_mtime_ns for path in Path(tiny.output).rglob("*")}
    with pytest.raises(OutputExistsError, match="--overwrite"):
        train(tiny)
    with pytest.raises(ConfigError, match="differs from this command in epochs"):
        train(tiny, resume=True)
    assert before == {path: path.stat().st_mtime_ns for path in Path(tiny.output).rglob("*")}
    assert train(with_changes(tiny, epochs=2), overwrite=True).best_epoch <= 2


class OwnCode(torch.nn.Module):
    """A host that does not say which its layers are, nor offers checkpointing, nor computes in bfloat16."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.pretrained_cfg = {"input_size": (1, 28, 28), "mean": (0.5,), "std": (0.25,)}
        self.head = torch.nn.Linear(784, num_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if images.dtype != torch.float32 or torch.is_autocast_enabled("cpu"):
            raise RuntimeError("expected float32")
        return self.head(images.flatten(1))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"optimizer": OptimizerConfig(layer_decay=0.5)}, "OwnCode does not say which its layers are"),
        ({"engine": EngineConfig(activation_checkpointing=True)}, "OwnCode: it offers none"),
        ({"attack": AttackConfig(precision="replica")}, "OwnCode does not compute in bfloat16"),
        ({}, "no such file, or no permission"),
    ],
    ids=["layer_decay", "activation_checkpointing", "replica", "unpublishable"],
)
def test_a_run_is_kept_until_nothing_more_can_refuse_the_one_over_it(
    tiny: Config, changes: dict[str, object], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(with_changes(tiny, epochs=1))
    before = {path: path.stat().st_mtime_ns for path in Path(tiny.output).rglob("*")}
    if not changes:

        def refuse(*_: object, **__: object) -> None:
            raise HubError(words)

        monkeypatch.setattr("smoothify.training.saving.export.save_pretrained", refuse)
    model = ModelConfig(name=f"{__name__}:OwnCode", activation="keep")
    with pytest.raises(SmoothifyError, match=words):
        train(with_changes(tiny, model=model, **changes), overwrite=True)
    assert before == {path: path.stat().st_mtime_ns for path in Path(tiny.output).rglob("*")}


def test_a_run_over_another_leaves_nothing_of_it(tiny: Config) -> None:
    folder = train(with_changes(tiny, epochs=2)).folder
    (folder.last / "evaluation.json").write_text("{}")
    train(with_changes(tiny, epochs=1), overwrite=True)
    assert not (folder.last / "evaluation.json").exists()
    assert len(folder.metrics.read_text().splitlines()) == len(list(folder.checkpoints.iterdir())) == 1


def test_measuring_attacks_that_cannot_be_are_refused_before_training(
    tiny: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("check", "final"):
        attack = dataclasses.replace(tiny.attack, **{name: "apgd-t"})
        with pytest.raises(ConfigError, match=rf"attack\.{name}='apgd-t': APGD-T needs 4 classes, the model has 2"):
            train(with_changes(tiny, attack=attack))
    monkeypatch.setitem(sys.modules, "pyautoattack.autopgd_base", None)
    with pytest.raises(ConfigError, match=r"attack\.final='autoattack': APGD-CE needs pyautoattack"):
        train(with_changes(tiny, attack=dataclasses.replace(tiny.attack, final="autoattack")))
    assert not Path(tiny.output).exists()


def test_a_surrogate_for_a_model_without_a_relu_is_refused(tiny: Config) -> None:
    model = ModelConfig(name=f"{__name__}:OwnCode", activation="keep")
    with pytest.raises(UnsupportedModelError, match="surrogate 'silu' takes the place of ReLU's derivative"):
        train(with_changes(tiny, model=model, surrogate=SurrogateGradients(optimizer="silu")))
    assert not Path(tiny.output).exists()


def test_a_folder_that_is_no_run_is_never_deleted(tiny: Config) -> None:
    Path(tiny.output).mkdir()
    precious = Path(tiny.output) / "thesis.tex"
    precious.write_text("years of work")
    with pytest.raises(OutputExistsError, match="not a run of ours"):
        train(tiny, overwrite=True)
    assert precious.read_text() == "years of work"
    with pytest.raises(ConfigError, match="holds no run to resume"):
        train(tiny, resume=True)


@pytest.mark.parametrize("config", ["lr: 0.1\n", "- smoothify\n", "smoothify", "{", "", "\xff"])
def test_a_config_of_anything_else_makes_no_run_of_a_folder(tiny: Config, config: str) -> None:
    """Half of all projects have a config.yaml."""
    (Path(tiny.output) / ".git").mkdir(parents=True)
    file = Path(tiny.output) / "config.yaml"
    file.write_bytes(config.encode("latin-1"))
    for options in ({}, {"overwrite": True}):
        with pytest.raises(OutputExistsError, match="not a run of ours"):
            train(tiny, **options)
    with pytest.raises(ConfigError, match="holds no run to resume"):
        train(tiny, resume=True)
    assert file.read_bytes() == config.encode("latin-1") and (Path(tiny.output) / ".git").is_dir()


def test_whatever_a_run_leaves_goes_when_another_begins(tmp_path: Path) -> None:
    """A file that a run folder has from now on belongs into what `begin` deletes."""
    folder = RunFolder(tmp_path)
    left = [getattr(folder, name) for name, value in vars(RunFolder).items() if isinstance(value, property)]
    places = [place for place in left if isinstance(place, Path)]
    for place in places:
        place.mkdir() if place == folder.beginning else place.write_text("of the run before")
    folder.begin(Config())
    assert len(places) > 10 and sorted(tmp_path.iterdir()) == sorted([folder.config, folder.last])


def test_what_else_is_in_a_runs_folder_outlives_the_run(tiny: Config) -> None:
    folder = train(with_changes(tiny, epochs=1)).folder
    for name in ("thesis.tex", "figures/one.txt"):
        (folder.path / name).parent.mkdir(exist_ok=True)
        (folder.path / name).write_text("years of work")
    stale = folder.path / "evaluation-autoattack.json"
    stale.write_text("{}")
    train(with_changes(tiny, epochs=1), overwrite=True)
    assert (folder.path / "thesis.tex").exists() and (folder.path / "figures" / "one.txt").exists()
    assert not stale.exists(), "it was about the model that is gone"


def test_a_start_that_is_refused_leaves_the_place_free(tiny: Config) -> None:
    bad = with_changes(tiny, model=ModelConfig(name=f"{__name__}:OwnCode"), attack=AttackConfig(precision="replica"))
    with pytest.raises(SmoothifyError):
        train(bad)
    assert train(with_changes(tiny, epochs=1)).best_epoch == 1


def test_non_finite_loss_names_step_and_checkpoint(tiny: Config) -> None:
    with pytest.raises(NonFiniteError, match=r"at step \d+ \(epoch 1\); there is no good checkpoint before"):
        train(with_changes(tiny, lr=1e30))
    folder = RunFolder(Path(tiny.output))
    told = json.loads(folder.diverged.read_text())
    assert (told["what"], told["epoch"]) == ("the loss is not finite", 1)
    with pytest.raises(KeyboardInterrupt):
        train(tiny, overwrite=True, reporter=Listener(stop, after=2))
    assert not folder.diverged.exists(), "the run that is there now has not"
    checkpoint = state.load(folder.checkpoints, print)
    checkpoint.states["model"]["model.fc.weight"].fill_(float("nan"))
    poisoned = state.save(checkpoint, folder.checkpoints)
    good = state.newest_first(folder.checkpoints)[1]
    with pytest.raises(
        NonFiniteError, match=rf"at step 10 \(epoch 3\); the last good checkpoint is {good}; try a smaller"
    ):
        train(tiny, resume=True)
    assert smoothify.from_pretrained(folder.last)
    assert json.loads(folder.diverged.read_text())["step"] == 10
    assert not poisoned.exists() and poisoned.with_name(f"broken-{poisoned.name}").exists()
    listener = Listener()
    train(tiny, resume=True, reporter=listener)
    assert "resumed after step 5 (1.00 of 3 epochs)" in listener.notes
    assert not folder.diverged.exists()


def test_no_checkpoint_is_written_of_weights_that_a_step_has_broken(tiny: Config) -> None:
    """The loss of a step is that of the weights before it; one step more, and nothing good would be left."""
    folder = RunFolder(Path(tiny.output))
    with pytest.raises(
        NonFiniteError, match=r"(is|are) not finite, at step \d+ \(epoch 1\); the last good .*"
    ) as caught:
        train(with_changes(tiny, lr=1e6, engine=EngineConfig(checkpoint_every=1)))
    good = state.newest_first(folder.checkpoints)
    assert f"; the last good checkpoint is {good[0]}; try" in str(caught.value)
    assert not list(folder.checkpoints.glob("broken-*")), "none had to be set aside"
    for path in good:
        states = torch.load(path, weights_only=True)["states"]
        assert states["model"] and not_finite(states, torch.device("cpu")) == []


def test_an_infinity_that_the_architecture_means_is_no_fault(tiny: Config) -> None:
    kept = state.Saver({"model": Masked()}, Path(tiny.output), Accelerator(cpu=True), precision=None, images="")
    kept.save(1)
    kept._kept["model"].bias.data.fill_(torch.inf)
    with pytest.raises(NonFiniteError, match=r"^model\.bias is not finite$"):
        kept.save(2)
    assert [path.name[:13] for path in state.newest_first(Path(tiny.output))] == ["step-00000001"]


class Masked(torch.nn.Module):
    """An attention mask is a buffer with infinities."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = torch.nn.Parameter(torch.zeros(2))
        self.register_buffer("mask", torch.tensor([0.0, -torch.inf]))


def test_full_disk_leaves_what_was_finished(tiny: Config) -> None:
    """A limit on the size of files makes every larger write fail as a full disk does: the kernel says no."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with pytest.raises(OSError, match="run"):
            train(tiny, reporter=Listener(lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard)), after=1))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    folder = RunFolder(Path(tiny.output))
    assert weights(folder.best)
    assert weights(folder.last)
    assert len(state.newest_first(folder.checkpoints)) == 1
    assert not list(folder.path.rglob("*.part"))
    assert train(tiny, resume=True).best_epoch in (1, 2, 3)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"batch_size": 81}, "batch_size=81 exceeds the 80 training images"),
        ({"model": ModelConfig(name="transformers/resnet", arguments={"depths": [1] * 4})}, "input is normalised"),
        ({"model": ModelConfig(arguments={"bogus": 1})}, "unexpected keyword argument 'bogus'"),
        ({"model": ModelConfig(pretrained=True)}, "has no published weights"),
    ],
)
def test_what_cannot_be_is_refused_before_the_first_step(tiny: Config, changes, words) -> None:
    with pytest.raises(SmoothifyError, match=words):
        train(with_changes(tiny, **changes))
    assert not Path(tiny.output).exists()


def test_a_torchvision_model_trains_and_is_published(tiny: Config) -> None:
    model = ModelConfig(
        name="torchvision/mobilenet_v2",
        activation="silu",
        input_size=(3, 32, 32),
        mean=(0.5, 0.5, 0.5),
        std=(0.2, 0.2, 0.2),
        arguments={"width_mult": 0.25},
    )
    outcome = train(with_changes(tiny, epochs=1, model=model))
    assert outcome.reloaded_identical is True
    assert type(smoothify.from_pretrained(outcome.folder.best)).__name__ == "MobileNetV2"


def test_standard_training_and_relu_baseline(tiny: Config) -> None:
    listener = Listener()
    data, keep = dataclasses.replace(tiny.data, test_split="train"), ModelConfig(activation="keep")
    outcome = train(with_changes(tiny, objective="standard", model=keep, data=data), reporter=listener)
    assert not any("replica" in note for note in listener.notes)
    assert outcome.final.clean.value > 0.8
    assert not any(site.smooth for site in smoothify.inspect(smoothify.from_pretrained(outcome.folder.best)).sites)
    assert outcome.final.caveats == ("images that it was trained on",)
    measured = json.loads(outcome.folder.evaluation.read_text())
    assert measured["attack_precision"] is None
    card = (outcome.folder.best / "README.md").read_text()
    assert "Trained without an adversary for" in card
    assert "split: train" in card and "split: test" not in card
    assert "# resnet10_28px-relu\n" in card and "with the activation `relu`, trained" in card
    assert "The accuracies are of images that it was trained on." in card
    assert {result.split for result in read_evaluation(outcome.folder.evaluation).results} == {"train"}


def test_adversarial_training_makes_the_model_robust(tiny: Config) -> None:
    """The whole point, at the smallest size: against the same attack the adversarially trained model stands."""
    threat = dataclasses.replace(tiny.attack, epsilon=0.1, final="pgd-10")
    adversarial = train(with_changes(tiny, epochs=8, attack=threat))
    standard = train(
        with_changes(tiny, epochs=8, attack=threat, objective="standard", output=tiny.output + "-standard")
    )
    assert adversarial.final.robust.value > standard.final.robust.value + 0.2


def test_an_attack_that_measures_nothing_is_refused_before_the_training(tiny: Config) -> None:
    register_attack("wide", NoiseFGSM)
    for name in ("check", "final"):
        config = dataclasses.replace(tiny, attack=dataclasses.replace(tiny.attack, **{name: "wide"}))
        with pytest.raises(ConfigError, match=f"attack.{name}='wide': N-FGSM leaves its threat model"):
            train(config)
        assert not Path(config.output).exists()
