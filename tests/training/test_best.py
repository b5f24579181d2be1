"""A run that goes back to an earlier checkpoint goes back to what was best then."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch

import smoothify
from smoothify.hub import weights_digest
from smoothify.train import read
from smoothify.training import Config, RunFolder, Silent, train
from smoothify.training.saving import state


class Notes(Silent):
    """Keeps what a run says."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture
def back(tiny: Config, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """Every epoch is the best so far; the newest checkpoint is deleted, and after that no epoch is."""
    monkeypatch.setattr("smoothify.training.saving.record.stands", lambda *_: True)
    folder = train(tiny).folder
    state.newest_first(folder.checkpoints)[0].unlink()
    monkeypatch.setattr("smoothify.training.saving.record.stands", lambda *_: False)
    return folder


def test_the_best_model_is_that_of_the_checkpoint_again(back: RunFolder) -> None:
    abandoned, listener = weights_digest(back.best), Notes()
    trained = state.load(back.checkpoints, print).states["model"]
    outcome = train(read(["--resume", str(back.path), "--lr", "0.01"]).config, resume=True, reporter=listener)
    assert f"{back.best} is the best model up to there again" in listener.said
    assert outcome.best_epoch == json.loads(back.evaluation.read_text())["epoch"] == 2
    assert weights_digest(back.best) != abandoned
    best = smoothify.from_pretrained(back.best).state_dict()
    assert all(torch.equal(best[name], trained[f"model.{name}"]) for name in best)
    assert "for 2 of 3 epochs" in (back.best / "README.md").read_text()


def test_one_that_is_not_kept_is_missed_aloud(back: RunFolder) -> None:
    for kept in back.checkpoints.glob("best-*"):
        for file in kept.iterdir():
            file.unlink()
        kept.rmdir()
    listener = Notes()
    train(read(["--resume", str(back.path)]).config, resume=True, reporter=listener)
    assert any("is not the model that the checkpoint knows as the best" in line for line in listener.said)


def test_only_the_two_that_a_checkpoint_may_know_are_kept(tiny: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smoothify.training.saving.record.stands", lambda *_: True)
    folder = train(dataclasses.replace(tiny, epochs=5)).folder
    kept = {path.name for path in folder.checkpoints.glob("best-*")}
    known = [torch.load(path, weights_only=True)["states"]["record"] for path in state.newest_first(folder.checkpoints)]
    assert len(kept) == 2 and f"best-{known[1]['weights_of_best'][:16]}" in kept
    assert known[0]["weights_of_best"] == weights_digest(folder.best)


def test_a_run_that_is_only_resumed_says_nothing_of_it(tiny: Config, tmp_path: Path) -> None:
    train(tiny)
    listener = Notes()
    train(tiny, resume=True, reporter=listener)
    assert not any("best model" in line or "as the best" in line for line in listener.said)
