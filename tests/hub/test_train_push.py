"""``smoothify.train --push``: a real run, small, against the loopback Hub."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import timm
from huggingface_hub import ModelCard

from smoothify.__main__ import main
from smoothify.errors import HubError
from smoothify.hub import from_pretrained
from smoothify.training import Config, ModelConfig, train
from tests.hub.conftest import TOKEN, same_logits
from tests.hub.server import Hub


@pytest.fixture
def quick(tiny: Config) -> Config:
    return replace(tiny, epochs=1, push="me/robust", model=ModelConfig(activation="silu"))


def test_a_run_is_pushed_as_one_commit(quick: Config, stripes: Path, hub: Hub, cache: Path, tmp_path: Path) -> None:
    """As a person runs it, in a process of its own; HF_ENDPOINT points to the mirror."""
    output = tmp_path / "run"
    command = [sys.executable, "-m", "smoothify.train", "--push", "me/robust", "--output", str(output)]
    command += ["--data.path", str(stripes), "--data.held_out", "16", "--epochs", "1", "--batch_size", "16"]
    command += ["--attack.check", "pgd-1", "--attack.final", "pgd-2", "--model.activation", "silu", "--threads", "1"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    assert environment["HF_ENDPOINT"] == hub.url and environment["HF_TOKEN"] == TOKEN
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert len(hub.repos["me/robust"].branches["main"]) == 2, "one commit after the empty one"
    files = hub.files("me/robust")
    assert sorted(files) == ["README.md", "adversarial.png", "config.json", "model.safetensors", "training.yaml"]
    card = ModelCard(files["README.md"].decode())
    card.validate()
    clean, robust = card.data.eval_results
    measured = json.loads((output / "evaluation.json").read_text())
    assert (clean.metric_value, robust.metric_value) == (
        round(measured["clean_accuracy"], 6),
        round(measured["robust_accuracy"], 6),
    )
    assert robust.metric_args["interval_95"] == measured["robust_interval_95"]
    loaded = from_pretrained("me/robust", cache_dir=cache)
    assert same_logits(loaded, from_pretrained(output / "best"))
    assert same_logits(loaded, timm.create_model("hf-hub:me/robust", pretrained=True, cache_dir=cache).eval())
    everything = done.stdout + done.stderr + "".join(
        path.read_text(errors="ignore") for path in output.rglob("*") if path.is_file()
    )  # fmt: skip
    assert TOKEN not in everything and not any(TOKEN.encode() in content for content in files.values())


@pytest.mark.parametrize("step", ["PUT /large/", "POST .*/commit/"])
def test_an_interrupted_push_is_repeated_without_training_again(
    step: str, quick: Config, hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.fail_once(step)
    with pytest.raises(HubError, match=r"the run is finished, but not pushed: me/robust: .*; repeat it with") as caught:
        train(quick)
    assert list(hub.files("me/robust")) == []
    again = re.search("`python -m smoothify (.*)`", str(caught.value))
    assert again is not None
    main(again[1].split())
    assert "pushed: " in capsys.readouterr().out
    assert same_logits(from_pretrained("me/robust"), from_pretrained(Path(quick.output) / "best"))
    assert len(hub.repos["me/robust"].branches["main"]) == 2


def test_without_a_token_the_run_is_kept(quick: Config, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(HubError, match=r"the run is finished, but not pushed: .*hf auth login"):
        train(quick)
    assert hub.repos == {} and not from_pretrained(Path(quick.output) / "best").training


def test_a_private_branch_from_the_command_line(quick: Config, hub: Hub, cache: Path) -> None:
    best = train(replace(quick, push=None)).folder.best
    main(["push", str(best), "me/secret", "--private", "--revision", "first"])
    assert hub.repos["me/secret"].private and len(hub.repos["me/secret"].branches["main"]) == 1
    assert same_logits(from_pretrained("me/secret", revision="first", cache_dir=cache), from_pretrained(best))
    with pytest.raises(HubError, match="no such evaluation"):
        main(["push", str(best), "me/secret", "--evaluation", "nowhere.json"])
