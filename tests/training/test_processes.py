"""Two processes on one machine: what they send to each other, and that they come to what one process comes to."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import smoothify
from smoothify.attacks import PGD
from smoothify.errors import ConfigError
from smoothify.evaluation import RobustAccuracy, robust_accuracy
from smoothify.training import AttackConfig, AveragingConfig, Config, EngineConfig, ModelConfig, RunFolder, train
from smoothify.training.check import Check
from smoothify.training.saving import state
from smoothify.training.setup import assemble

pytestmark = pytest.mark.xdist_group("two processes")


def two(*arguments: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ACCELERATE_", "WORLD", "RANK"))}
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    return subprocess.run(
        [*launcher, "-m", *arguments],
        env={**kept, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"},
        capture_output=True,
        text=True,
        timeout=240,
    )  # fmt: skip


@pytest.fixture(scope="module")
def sent() -> dict[str, dict[str, int]]:
    done = two("tests.training.ranks")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_an_attack_sends_nothing(sent: dict[str, dict[str, int]]) -> None:
    assert sent["attack"] == {}
    assert sent["pgd_at"] == sent["standard"]
    assert sent["pgd_at"]["c10d::allreduce_"] > 0
    assert sent["attack through the wrapper"]["c10d::allreduce_"] > 0, "the count would show it"


def test_an_attack_on_a_sharded_model_gathers_and_reduces_nothing(sent: dict[str, dict[str, int]]) -> None:
    attack, step = sent["sharded attack"], sent["sharded step"]
    assert {"c10d::_allgather_base_"} == set(attack)
    assert "c10d::_reduce_scatter_base_" in step


@pytest.fixture(scope="module")
def vit(stripes: Path, tmp_path_factory: pytest.TempPathFactory) -> Config:
    """Layer norm: with batch statistics no two processes could equal one. L2: a sign would magnify rounding."""
    config = Config(
        output=str(tmp_path_factory.mktemp("one") / "run"),
        epochs=2,
        batch_size=16,
        lr=0.05,
        data=dataclasses.replace(Config().data, path=str(stripes), held_out=16),
        attack=AttackConfig(norm="l2", epsilon=0.5, precision="same", check="pgd-2", final="pgd-2"),
        model=ModelConfig(
            name="timm/test_vit",
            activation="keep",
            arguments={"img_size": 28, "patch_size": 7, "in_chans": 1},
            input_size=(1, 28, 28),
            mean=(0.5,),
            std=(0.3,),
        ),
    )
    train(config)
    return config


@pytest.mark.parametrize("engine", [EngineConfig(accumulation=2), EngineConfig(fsdp=True)], ids=["ddp", "fsdp"])
def test_two_processes_equal_one(vit: Config, engine: EngineConfig, tmp_path: Path) -> None:
    config = dataclasses.replace(vit, engine=engine, output=str(tmp_path / "run"))
    RunFolder(tmp_path).write_config(config)
    done = two("smoothify.train", "--config", str(tmp_path / "config.yaml"), "--threads", "1")
    assert done.returncode == 0, done.stderr
    one, both = (smoothify.from_pretrained(Path(run.output) / "last").state_dict() for run in (vit, config))
    start = smoothify.from_pretrained(vit_at_start(vit, tmp_path)).state_dict()
    moved = max((one[name] - start[name]).abs().max().item() for name in one)
    apart = max((one[name] - both[name]).abs().max().item() for name in one)
    assert moved > 1e-2
    assert apart < 1e-4 * moved


@pytest.mark.parametrize(("name", "sizes"), [("pgd-2", [2, 2]), ("apgd-ce", [250, 2])])
def test_a_check_has_work_for_every_process(
    vit: Config, name: str, sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """16 held-out images on eight processes: two each, unless the attack depends on the batch; so does PGD-1."""
    parts, found = assemble(vit), []
    measured = robust_accuracy(parts.classifier, parts.held_out, PGD(vit.attack.threat))

    def measure(*_: object, batch_size: int, **__: object) -> RobustAccuracy:
        found.append(batch_size)
        return measured

    monkeypatch.setattr("smoothify.training.check.robust_accuracy", measure)
    config = dataclasses.replace(vit, attack=dataclasses.replace(vit.attack, check=name))
    Check(config, parts, SimpleNamespace(num_processes=8))()
    assert found == sizes


def test_one_run_after_another_in_two_processes(vit: Config, tmp_path: Path) -> None:
    """Of another precision, and of a smaller learning rate; neither ends the process group, nor loses patience."""
    RunFolder(tmp_path).write_config(dataclasses.replace(vit, output=str(tmp_path / "run")))
    done = two("tests.training.twice", str(tmp_path / "config.yaml"))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert (found["precisions"], found["patience"]) == (["no", "bf16"], 7 * 24 * 60 * 60)
    first, second, changes = found["diverged"]
    assert first == second and "the last good checkpoint is " in first and "step-00000005" in first
    assert json.loads(changes) == {"after_step": 5, "lr": [1e30, 0.01]}
    broken = ["the state of another process is not finite", "model.weight is not finite"]
    assert found["refused"] == [*broken, "step-00000001"], "both stop, and nothing is written"


def test_checkpoints_and_parameters_without_a_gradient_in_two_processes(tiny: Config, tmp_path: Path) -> None:
    """DDP would wait for such a gradient, the sharded optimizer has no state for it; batch norm differs by process."""
    model = ModelConfig(name="tests.training.uneven:Masked", input_size=(1, 28, 28), mean=(0.5,), std=(0.5,))
    attack = dataclasses.replace(tiny.attack, steps=3, precision="same", check="pgd-1", final="pgd-1")
    config = dataclasses.replace(tiny, epochs=1, lr=0.01, model=model, attack=attack)
    RunFolder(tmp_path).write_config(config)
    done = two("tests.training.uneven", str(tmp_path / "config.yaml"))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {"often": True, "resumed": True}


def test_free_training_in_two_processes_equals_one(vit: Config, tmp_path: Path) -> None:
    """The carried perturbation is of a place in the whole batch, and a checkpoint has all of it."""
    attack = dataclasses.replace(vit.attack, method="free", replays=2, precision="auto")
    alone, shared = (
        dataclasses.replace(vit, attack=attack, epochs=1, output=str(tmp_path / name)) for name in ("alone", "shared")
    )
    kept = state.load(train(alone).folder.checkpoints, print).states["carried"]["perturbation"]
    RunFolder(tmp_path).write_config(shared)
    done = two("smoothify.train", "--config", str(tmp_path / "config.yaml"), "--threads", "1")
    assert done.returncode == 0, done.stderr
    gathered = state.load(RunFolder(Path(shared.output)).checkpoints, print).states["carried"]["perturbation"]
    assert kept.shape == gathered.shape == (16, 1, 28, 28)
    assert (kept - gathered).abs().max() < 1e-4 * kept.abs().max()
    one, both = (smoothify.from_pretrained(Path(run.output) / "last").state_dict() for run in (alone, shared))
    assert max((one[name] - both[name]).abs().max().item() for name in one) < 1e-4


def vit_at_start(config: Config, folder: Path) -> Path:
    """What the run starts from: `last` before the first epoch."""
    from smoothify.training.accelerated import start
    from smoothify.training.saving.export import Exporter

    exporter = Exporter(config, assemble(config), RunFolder(folder), start(config))
    exporter.save(folder / "start", [])
    return folder / "start"


def test_accumulation_in_one_process_equals_none(vit: Config, tmp_path: Path) -> None:
    pieces = dataclasses.replace(vit, engine=EngineConfig(accumulation=4), output=str(tmp_path / "run"))
    train(pieces)
    one, other = (smoothify.from_pretrained(Path(run.output) / "last").state_dict() for run in (vit, pieces))
    assert max((one[name] - other[name]).abs().max().item() for name in one) < 1e-4


@pytest.mark.parametrize(
    ("objective", "averaging"),
    [("pgd_at + awp(gamma=0.05)", AveragingConfig("ema", decay=0.9)), ("trades(beta=2)", AveragingConfig("swa"))],
    ids=["awp, ema", "swa"],
)
def test_averages_and_perturbed_weights_in_two_processes(
    vit: Config, objective: str, averaging: AveragingConfig, tmp_path: Path
) -> None:
    """Weights are perturbed for each process's share of the batch, as for each piece of an accumulated batch."""
    base = dataclasses.replace(vit, objective=objective, averaging=averaging)
    pieces = dataclasses.replace(base, engine=EngineConfig(accumulation=2), output=str(tmp_path / "pieces"))
    train(pieces)
    shared = dataclasses.replace(base, output=str(tmp_path / "shared"))
    RunFolder(tmp_path).write_config(shared)
    done = two("smoothify.train", "--config", str(tmp_path / "config.yaml"), "--threads", "1")
    assert done.returncode == 0, done.stderr
    one, both = (smoothify.from_pretrained(Path(run.output) / "last").state_dict() for run in (pieces, shared))
    assert max((one[name] - both[name]).abs().max().item() for name in one) < 1e-4
    trained = state.load(RunFolder(Path(shared.output)).checkpoints, print).states["model"]
    assert any(not torch.equal(value, both[name.removeprefix("model.")]) for name, value in trained.items())


def test_batch_norms_estimated_anew_are_sharded_with_the_rest(tiny: Config, tmp_path: Path) -> None:
    """Of nested lists of blocks, in a network with batch norms; each process estimates on its share of the images."""
    relu = dataclasses.replace(tiny, epochs=1, output=str(tmp_path / "relu"), model=ModelConfig(activation="keep"))
    train(relu)
    model = ModelConfig(name=relu.output, pretrained=True, activation="swish", recalibrate=True)
    anew = dataclasses.replace(tiny, epochs=1, lr=1e-9, model=model, output=str(tmp_path / "anew"))
    plain = dataclasses.replace(
        anew, model=dataclasses.replace(model, recalibrate=False), output=str(tmp_path / "plain")
    )
    shared = dataclasses.replace(anew, engine=EngineConfig(fsdp=True), output=str(tmp_path / "shared"))
    for config in (anew, plain):
        train(config)
    RunFolder(tmp_path).write_config(shared)
    done = two("smoothify.train", "--config", str(tmp_path / "config.yaml"), "--threads", "1")
    assert done.returncode == 0, done.stderr
    one, old, both = (
        smoothify.from_pretrained(Path(run.output) / "last").state_dict()["layer1.0.bn1.running_mean"]
        for run in (anew, plain, shared)
    )
    assert (both - one).norm() < 0.2 * (old - one).norm()


def test_sharding_needs_processes(vit: Config, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"engine.fsdp shards over several processes"):
        train(dataclasses.replace(vit, engine=EngineConfig(fsdp=True), output=str(tmp_path / "run")))
    with pytest.raises(ConfigError, match=r"attack.precision=replica does not go with engine.fsdp"):
        dataclasses.replace(
            vit, engine=EngineConfig(fsdp=True), attack=dataclasses.replace(vit.attack, precision="replica")
        )
    for changes, words in (
        ({"objective": "trades + awp(gamma=0.01)"}, "awp moves whole weights, engine.fsdp has shards; drop one"),
        ({"averaging": AveragingConfig("ema")}, "averaging does not go with engine.fsdp"),
        ({"engine": EngineConfig(fsdp=True, mixed_precision="fp16")}, "does not go with engine.mixed_precision=fp16"),
    ):
        with pytest.raises(ConfigError, match=words):
            dataclasses.replace(vit, **{"engine": EngineConfig(fsdp=True), **changes})
