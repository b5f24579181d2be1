"""Whatever stops a run, and wherever: it goes on to the same weights."""

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import smoothify
from smoothify.errors import ConfigError, NonFiniteError, OutputExistsError
from smoothify.evaluation import accuracy
from smoothify.train import read
from smoothify.training import Config, EngineConfig, ModelConfig, RunFolder, Silent, loop, train
from smoothify.training.saving import state
from smoothify.training.saving.resuming import describe_changes, record_changes
from smoothify.training.saving.run_folder import open_run_folder
from smoothify.training.setup import assemble

KILLED_MID_EPOCH = """
import os, signal, sys, torch
from smoothify.train import read
from smoothify.training import Silent, train
from smoothify.training.saving import state

class Killer(Silent):
    def advance(self, images, figures=""):
        saved = state.newest_first(config_folder / "checkpoints")
        if saved and saved[0].name.startswith("step-00000007"):
            os.kill(os.getpid(), signal.SIGKILL)

torch.set_num_threads(1)
config = read(["--config", sys.argv[1]]).config
from pathlib import Path
config_folder = Path(config.output)
train(config, reporter=Killer())
"""


@pytest.fixture
def often(tiny: Config) -> Config:
    """Three epochs of five steps, a checkpoint after every seventh step; the model itself draws random numbers."""
    model = ModelConfig(arguments={"drop_path_rate": 0.3, "drop_rate": 0.2})
    return dataclasses.replace(tiny, model=model, engine=EngineConfig(checkpoint_every=7))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return smoothify.from_pretrained(folder).state_dict()


def config_file(config: Config, folder: Path) -> str:
    folder.mkdir()
    RunFolder(folder).write_config(config)
    return str(RunFolder(folder).config)


def launch(*arguments: str, code: int = 0) -> None:
    """Run Python as a person would: in a process of its own, which shares no state with other tests."""
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True)
    assert done.returncode == code, done.stderr


def test_killed_in_the_middle_of_an_epoch(often: Config, tmp_path: Path) -> None:
    whole, killed = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "killed")
    configs = [
        config_file(dataclasses.replace(often, output=str(run.path)), tmp_path / f"of-{run.path.name}")
        for run in (whole, killed)
    ]
    launch("-m", "smoothify.train", "--config", configs[0], "--threads", "1")
    launch("-c", KILLED_MID_EPOCH, configs[1], code=-9)
    assert [path.name[:13] for path in state.newest_first(killed.checkpoints)] == ["step-00000007", "step-00000005"]
    assert len(killed.metrics.read_text().splitlines()) == 1
    launch("-m", "smoothify.train", "--resume", str(killed.path), "--threads", "1")
    expected, found = weights(whole.last), weights(killed.last)
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert whole.evaluation.read_text() == killed.evaluation.read_text()
    timeless = [
        [{name: row[name] for name in row if name not in ("seconds", "images_per_second")} for row in rows]
        for rows in (state.load(run.checkpoints, print).states["record"]["rows"] for run in (whole, killed))
    ]
    assert timeless[0] == timeless[1]


def test_the_command_line_resumes(tiny: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_run_folder(tiny) as folder:
        folder.last.mkdir()  # it has begun
    monkeypatch.setattr("sys.argv", ["smoothify.train", "--resume", tiny.output, "--threads", "1"])
    asked = read()
    assert (asked.config, asked.resume, asked.overwrite, asked.threads) == (tiny, True, False, 1)


def test_one_run_a_folder_at_a_time(tiny: Config) -> None:
    config = dataclasses.replace(tiny, epochs=1)
    with open_run_folder(config):
        for options in ({}, {"overwrite": True}, {"resume": True}):
            with pytest.raises(OutputExistsError, match=r"another run is in .* now|already holds a run"):
                train(config, **options)
        assert RunFolder(Path(config.output)).config.is_file()
    assert train(config, overwrite=True).best_epoch == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"processes": 2}, "written by 2 processes and this run has 1; resume it with --num_processes 2"),
        ({"version": "99.0.0"}, "of smoothify 99.0.0, newer than the installed"),
        (
            {"precision": "autocast"},
            "attacks were computed in autocast, .*; resume it with --attack.precision autocast",
        ),
        ({"images": "0123456789abcdef"}, "trained on other images than its data set has now"),
    ],
)
def test_a_checkpoint_of_another_kind_of_run_is_refused(tiny: Config, changes: dict[str, object], words: str) -> None:
    config = dataclasses.replace(tiny, epochs=1)
    folder = train(config).folder
    state.save(dataclasses.replace(state.load(folder.checkpoints, print), **changes), folder.checkpoints)
    with pytest.raises(ConfigError, match=words):
        train(config, resume=True)


def test_a_data_set_that_changed_is_not_gone_on_with(tiny: Config, stripes: Path, tmp_path: Path) -> None:
    """A row more, and images that were trained on would be held out."""
    grown = tmp_path / "images"
    shutil.copytree(stripes, grown)
    config = dataclasses.replace(tiny, epochs=1, data=dataclasses.replace(tiny.data, path=str(grown)))
    before = assemble(config).fingerprint
    train(config)
    table = pq.read_table(grown / "train-0.parquet")
    pq.write_table(pa.concat_tables([table, table.slice(0, 2)]), grown / "train-0.parquet")
    assert assemble(config).fingerprint != before
    with pytest.raises(ConfigError, match=r"other images than its data set has now"):
        train(config, resume=True)


class Clock(Silent):
    """A clock that every report moves on by a second; it stops the run at the first one after the seventh step."""

    now = 0.0
    stops = True

    def advance(self, images: int, figures: str = "") -> None:
        if self.stops and list(self.checkpoints.glob("step-00000007*")):
            raise InterruptedError
        self.now += 1


def test_the_time_before_an_interruption_counts(often: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    clock.checkpoints = RunFolder(Path(often.output)).checkpoints
    monkeypatch.setattr(loop, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    with pytest.raises(InterruptedError):
        train(often, reporter=clock)
    clock.stops, clock.now = False, 1000.0
    outcome = train(often, reporter=clock, resume=True)
    rows = state.load(outcome.folder.checkpoints, print).states["record"]["rows"]
    assert [row["seconds"] for row in rows] == [2.0, 4.0, 3.0]


def test_a_newer_checkpoint_is_named_as_one_whatever_else_it_holds(tiny: Config) -> None:
    folder = train(dataclasses.replace(tiny, epochs=1)).folder
    newest = dataclasses.replace(state.load(folder.checkpoints, print), version="99.0.0")
    vars(newest)["a_field_of_the_future"] = 1
    state.save(newest, folder.checkpoints)
    with pytest.raises(ConfigError, match=r"of smoothify 99\.0\.0, newer than the installed"):
        train(dataclasses.replace(tiny, epochs=1), resume=True)


def test_a_run_of_an_earlier_version_may_go_on_with_what_names_need(tiny: Config) -> None:
    """From Python the version fills itself in, and an attack of one's own has to be imported."""
    folder = train(dataclasses.replace(tiny, epochs=1, smoothify="0.0.1")).folder
    assert train(dataclasses.replace(tiny, epochs=1, imports=["json"]), resume=True).folder == folder


def test_what_trains_nothing_may_change_on_resuming(tiny: Config, stripes: Path) -> None:
    """How images are prepared, how often is saved, what is measured at the end."""
    folder = train(dataclasses.replace(tiny, epochs=1)).folder
    others = [
        *("--data.workers=1", "--engine.checkpoint_every=3", "--attack.final=pgd-1"),
        "--attack.precision=autocast",  # what "auto" left to the machine, its checkpoint knows
    ]
    asked = read(["--resume", str(folder.path), *others])
    with pytest.raises(ConfigError, match="attacks were computed in"):
        train(asked.config, resume=True)
    outcome = train(read(["--resume", str(folder.path), *others[:-1]]).config, resume=True)
    assert outcome.final.attack == "PGD-1"
    assert read(["--resume", str(folder.path)]).config.attack.final == "pgd-1"
    with pytest.raises(ConfigError, match=r"differs from this command in attack\.check"):
        train(read(["--resume", str(folder.path), "--attack.check=pgd-3"]).config, resume=True)


class Interrupted(Silent):
    """Counts the images of the final measurement; interrupts it once, after so many of them."""

    def __init__(self, after: int) -> None:
        self.after, self.images, self.notes, self.measuring = after, 0, [], False

    def note(self, text: str) -> None:
        self.notes.append(text)

    def begin(self, what: str, total: int) -> None:
        self.measuring, self.images = "on the test images" in what, 0

    def advance(self, images: int, figures: str = "") -> None:
        self.images += images
        if self.measuring and self.images >= self.after:
            raise KeyboardInterrupt


def test_the_final_attack_goes_on_where_it_was_interrupted(tiny: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smoothify.training.saving.export.shared_batch_size", lambda attack, images, processes: 10)
    tiny = dataclasses.replace(tiny, epochs=1)
    folder, attacked = RunFolder(Path(tiny.output)), []
    with pytest.raises(KeyboardInterrupt):
        train(tiny, reporter=Interrupted(after=30))
    assert folder.measured.is_dir() and not folder.evaluation.exists()
    verdicts = accuracy._verdicts
    monkeypatch.setattr(accuracy, "_verdicts", lambda *given: attacked.append(len(given[1])) or verdicts(*given))
    again = Interrupted(after=10**9)
    outcome = train(tiny, resume=True, reporter=again)
    assert attacked == [10, 8] and again.images == 48, "48 images, of which 30 were done"
    assert any("measurement that was interrupted" in note for note in again.notes)
    assert folder.evaluation.exists() and not folder.measured.exists()
    assert train(tiny, overwrite=True).final == outcome.final


@pytest.mark.parametrize(
    ("remedy", "told"),
    [
        (["--lr=0.01"], "After step 5 with lr=0.01 in place of 1e+30."),
        (
            ["--lr=0.02", "--optimizer.clip_norm=1"],
            "After step 5 with lr=0.02 in place of 1e+30, optimizer.clip_norm=1.0 in place of None.",
        ),
    ],
    ids=["lr", "lr and clip_norm"],
)
def test_a_run_that_diverged_goes_on_with_what_its_message_says(tiny: Config, remedy: list[str], told: str) -> None:
    tiny = dataclasses.replace(tiny, epochs=2)
    folder = train(dataclasses.replace(tiny, epochs=1)).folder
    folder.write_config(dataclasses.replace(tiny, lr=1e30, engine=EngineConfig(mixed_precision="no")))
    with pytest.raises(NonFiniteError, match=r"last good .*/step-00000005.*; try a smaller lr or .*clip_norm=1 on res"):
        train(read(["--resume", str(folder.path)]).config, resume=True)
    asked, listener = read(["--resume", str(folder.path), *remedy]), Interrupted(after=10**9)
    assert asked.config.lr < 0.05 and train(asked.config, resume=True, reporter=listener).final
    assert listener.notes.count(told) == 1
    assert read(["--resume", str(folder.path)]).config == asked.config, "the folder's config is brought up to date"
    assert json.loads(folder.changes.read_text())["lr"] == [1e30, asked.config.lr]
    for model in (folder.best, folder.last):
        assert told in (model / "README.md").read_text(), "the card's settings were not those of the whole run"


def test_a_run_that_diverges_though_it_is_clipped_is_not_told_to_clip(tiny: Config) -> None:
    clipped = dataclasses.replace(tiny.optimizer, clip_norm=1.0)
    bad = dataclasses.replace(tiny, lr=1e30, optimizer=clipped, engine=EngineConfig(mixed_precision="no"))
    with pytest.raises(NonFiniteError, match=r"try a smaller lr in another run$"):
        train(bad)


def test_a_change_is_recorded_once_though_the_resume_was_killed(tmp_path: Path) -> None:
    file = tmp_path / "changes.jsonl"
    for step, lr in ((5, 0.01), (5, 0.01), (10, 0.001)):
        record_changes(file, {"lr": (0.1, lr)}, step=step)
    assert describe_changes(file) == [
        "After step 5 with lr=0.01 in place of 0.1.",
        "After step 10 with lr=0.001 in place of 0.1.",
    ]
