"""No file that is published says where its author keeps models and images; the local ones do."""

from __future__ import annotations

import html
import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard

from smoothify import data
from smoothify.errors import HubError
from smoothify.hub import push_folder, save_pretrained, weights_digest
from smoothify.hub.places import EMBEDDED, is_place, name_of
from smoothify.training import Config, ModelConfig, train
from tests.hub.conftest import small_model
from tests.hub.server import Hub
from tests.hub.test_evaluation import EVALUATION, FACTS, PGD


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("/home/anna/photos", "photos"),
        ("/home/anna/photos/", "photos"),
        ("~/photos", "photos"),
        ("./photos", "photos"),
        ("../data/photos/.", "photos"),
        ("C:\\Users\\anna\\photos", "photos"),
        ("here/photos", "photos"),
        ("transformers//home/anna/vit", "transformers/vit"),
        ("transformers/here/photos", "transformers/photos"),
        ("transformers/microsoft/resnet-50", None),
        ("uoft-cs/cifar10", None),
        ("hf-hub:me/x", None),
        ("there/photos", None),
        ("timm/resnet18", None),
        ("my_nets:small_net", None),
        ("fashion_mnist_sample", None),
        ("8/255", None),
        ("", None),
        ("x" * 5000, None),
        ("a\0b", None),
    ],
)
def test_paths_of_this_machine_become_names(
    text: str, name: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("here/photos", "fashion_mnist_sample"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert name_of(text) == (text if name is None else name)
    assert is_place(text) == (name is not None and not text.startswith("transformers"))


def test_the_working_folder_has_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine" / "inner").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "mine" / "inner")
    assert (name_of("."), name_of("..")) == ("inner", "mine")


def test_what_comes_with_us_is_known() -> None:
    assert set(EMBEDDED) == {data.SAMPLE, data.FASHION_MNIST}


def run(home: Path, path: str, start: str) -> tuple[Path, dict[str, Any]]:
    """A folder as a run in ``home`` leaves it, and `smoothify.evaluate` after it; what was measured."""
    training = {
        "model": {"name": start, "arguments": {"layers": [f"{home}/a.txt", 1]}, "mean": [0.5]},
        "data": {"path": path, "test_split": "test"},
        "attack": {"epsilon": "8/255", "norm": "linf"},
    }
    card = replace(FACTS, dataset="photos", dataset_id=None, recipe={"model.name": start}, about=f"From {start}.")
    files = {"training.yaml": yaml.safe_dump(training).encode()}
    folder = save_pretrained(small_model("silu"), home / "runs" / "x" / "best", card=card, files=files)
    relu = f"{home}/runs/relu/best"
    command = ["smoothify.evaluate", str(folder), f"--data={path}", "--through", relu, "--attack", "a b"]
    measured = {
        **EVALUATION,
        "results": [{**PGD, "through": "relu/best"}],
        "model": str(folder),
        "command": shlex.join(command),
        "data": path,
        "through": {"model": relu, "weights_sha256": "0" * 64},
        "weights_sha256": weights_digest(folder),
    }
    for name in ("evaluation.json", "second.json"):
        (folder / name).write_text(json.dumps(measured))
    (folder / "report.html").write_text(f"<td>command</td><td>{html.escape(measured['command'])}</td>")
    return folder, measured


@pytest.mark.parametrize("relative", [False, True])
def test_every_published_file_is_without_places(
    relative: bool, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home" / "anna"
    (home / "data" / "photos").mkdir(parents=True)
    (home / "runs" / "relu" / "best").mkdir(parents=True)
    start = f"{home}/runs/relu"
    folder, measured = run(home, "data/photos" if relative else f"{home}/data/photos", start)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    monkeypatch.chdir(tmp_path)  # and not where the run was
    push_folder(folder, "me/x", evaluation=folder / "evaluation.json")
    files = hub.files("me/x")
    assert sorted(files) == sorted(before)
    for name, content in files.items():
        assert str(home).encode() not in content and b"data/photos" not in content, name
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before, "local ones keep them"

    trained = yaml.safe_load(files["training.yaml"])
    assert trained == {
        "model": {"name": "relu", "arguments": {"layers": ["a.txt", 1]}, "mean": [0.5]},
        "data": {"path": None, "test_split": "test"},
        "attack": {"epsilon": "8/255", "norm": "linf"},
    }
    told = json.loads(files["evaluation.json"])
    command = "smoothify.evaluate me/x --data=photos --through best --attack 'a b'"
    through = {**measured["through"], "model": "best"}
    assert told == {**measured, "model": "me/x", "command": command, "data": "photos", "through": through}
    assert files["second.json"] == files["evaluation.json"] and list(told) == list(measured)
    assert html.escape(command).encode() in files["report.html"]
    card = files["README.md"].decode()
    assert "| model.name | relu |" in card and "From relu." in card
    assert {entry.dataset_name for entry in ModelCard(card).data.eval_results} == {"photos"}


def test_what_names_no_place_is_published_as_it_is(hub: Hub, tmp_path: Path) -> None:
    training = b"# mine\ndata: {path: uoft-cs/cifar10}\nmodel: {name: timm/resnet18}\n"
    files = {"training.yaml": training, "notes.json": b"[1,", "list.json": b"[1]"}
    folder = save_pretrained(small_model(), tmp_path / "out", files=files)
    measured = {**EVALUATION, "model": "me/x", "command": "smoothify.evaluate me/x"}
    measured["weights_sha256"] = weights_digest(folder)
    (folder / "evaluation.json").write_text(json.dumps(measured))
    push_folder(folder, "me/x")
    published = hub.files("me/x")
    assert {name: published[name] for name in files} == files
    assert published["evaluation.json"] == (folder / "evaluation.json").read_bytes()


def test_what_cannot_be_read_is_not_published(hub: Hub, tmp_path: Path) -> None:
    folder = save_pretrained(small_model(), tmp_path / "out", files={"training.yaml": b"data: [/home/anna"})
    with pytest.raises(HubError, match=r"training\.yaml: is not readable as plain YAML .*; correct it"):
        push_folder(folder, "me/x")
    assert hub.repos == {}


def test_the_card_of_a_run_names_its_start_and_not_where_it_is(
    tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = save_pretrained(small_model(), tmp_path / "starts" / "plain")
    monkeypatch.chdir(tmp_path)
    for name in (f"{first}/", "starts/plain"):
        model = ModelConfig(name, "silu", pretrained=True)
        best = train(replace(tiny, epochs=1, output=name.replace("/", "_"), model=model)).folder.best
        card = (best / "README.md").read_text()
        assert "| model.name | plain |" in card and "# plain-silu" in card and "starts" not in card
        assert yaml.safe_load((best / "training.yaml").read_text())["model"]["name"] == name
