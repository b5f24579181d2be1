"""Names of one's own: --imports in every command, and what is never imported."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from smoothify import __main__, activations, evaluate, train
from smoothify.attacks import PGD
from tests.command_line.test_bad_input import answer

MODULE = """
from dataclasses import dataclass
from torch import nn
from smoothify.activations import Activation, register_activation
from smoothify.attacks import PGD, register_attack
from smoothify.objectives import AdversarialTraining, register_objective

class OwnGate(nn.SiLU):
    pass

register_activation(Activation("own_gate", "x", "here", OwnGate, nn.functional.silu, 2))
register_attack("own_attack", lambda threat: PGD(threat, steps=3))

@register_objective
@dataclass(frozen=True)
class OwnObjective(AdversarialTraining):
    name = "own_objective"
    weight: float = 1.0
"""
NAMES = {
    "model": {"activation": "own_gate"},
    "objective": "own_objective(weight=2) + awp",
    "attack": {"check": "own_attack", "final": "own_attack"},
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where somebody starts from who has own_names.py and a config that uses its names."""
    (tmp_path / "own_names.py").write_text(MODULE)
    (tmp_path / "own_broken.py").write_text("1 / 0\n")
    (tmp_path / "names.yaml").write_text(yaml.safe_dump(NAMES))
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text(yaml.safe_dump({**NAMES, "imports": ["own_names"]}))
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    (tmp_path / "other.yaml").write_text("arguments: {x: {class_path: own_names.OwnGate}}")
    (tmp_path / "model" / "training.yaml").write_text(yaml.safe_dump({"imports": ["own_names"]}))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("own_names", None)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--config", "names.yaml", "--imports", "own_names"],
        ["--imports", "[own_names, math]", "--config", "names.yaml"],
        ["--imports", "own_names, math", "--config", "names.yaml"],
        ["--config", "run/config.yaml"],
        ["--resume", "run"],
    ],
)
def test_training_knows_the_names(folder: Path, arguments: list[str]) -> None:
    config = train.read(arguments).config
    assert (config.model.activation, config.objective) == ("own_gate", "own_objective(weight=2) + awp")
    assert isinstance(config.attack.build_final(), PGD)
    assert "own_names" in config.imports


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--config", "names.yaml"], "If it is your own, first import the module that registers it (--imports MODULE)"),
        (["--imports", "own_nmes"], "there is no module 'own_nmes' on Python's path; start from the folder that"),
        (["--imports", "own_names.py"], "'own_names.py' is no module's name; give my_acts for my_acts.py"),
        (["--imports", "own_broken"], "imports: importing own_broken fails: ZeroDivisionError: division by zero"),
        (["--imports", "null"], "there is no module 'null'"),
        (["--config", "model/training.yaml"], "came with a model and names modules to import (['own_names'])"),
    ],
)
def test_training_refuses(folder: Path, arguments: list[str], words: str, monkeypatch, capsys) -> None:
    code, error = answer(train.main, train.PROGRAM, arguments, monkeypatch, capsys)
    assert (code, error.count("\n")) == (2, 1)
    assert words in error
    assert "own_names" not in sys.modules


BUILT = "{class_path: own_names.OwnGate}"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("config: 'imports: [own_names]'", "says 'config'"),
        ("config: {imports: [own_names]}", "says 'config'"),
        ("overwrite: true", "says 'overwrite'"),
        ("model: {name: 'own_names:OwnGate'}", "names code to run (model.name: own_names:OwnGate)"),
        ("model: {name: hf-hub:me/x, architecture: 'own_names:OwnGate'}", "names code to run (model.architecture: own"),
        (f"model: {{arguments: {{x: {BUILT}}}}}", "names a class to build (class_path: own_names.OwnGate)"),
        (f"model: {{arguments: {{x: {{y: [{BUILT}]}}}}}}", "names a class to build"),
        (f"attack: {BUILT}", "names a class to build"),
        (f"model: {{arguments: {{x: '{BUILT}'}}}}", "holds names and values inside a text"),
        ("model: {arguments: {x: 'class_path: own_names.OwnGate'}}", "holds names and values inside a text"),
        (r"""model: {arguments: {x: '{"cl\u0061ss_path": "own_names.OwnGate"}'}}""", "holds names and values inside a"),
        (f"model: {{arguments: '{{x: {BUILT}}}'}}", "holds names and values inside a text"),
        ("model: other.yaml", "says 'model' in a text or another file"),
        (f"model.arguments: {{x: {BUILT}}}", "says 'model.arguments'"),
        ("seed: &a [*a]", "aliases are not read"),
        ("objective: '" + "? " * 5000 + "x'", "holds names and values inside a text"),
    ],
)
def test_what_came_with_a_model_brings_no_code(folder: Path, content: str, words: str, monkeypatch, capsys) -> None:
    (folder / "model" / "training.yaml").write_text(content)
    code, error = answer(train.main, train.PROGRAM, ["--config", "model/training.yaml"], monkeypatch, capsys)
    assert (code, error.count("\n")) == (2, 1)
    assert "training.yaml: " in error and words in error
    assert "own_names" not in sys.modules


def test_a_config_brings_no_other(folder: Path, monkeypatch, capsys) -> None:
    (folder / "mine.yaml").write_text("config: names.yaml")
    code, error = answer(train.main, train.PROGRAM, ["--config", "mine.yaml"], monkeypatch, capsys)
    assert code == 2 and "mine.yaml: a config brings no other ('names.yaml'); give both files, each as" in error


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        (evaluate, ["no/such/model", "--imports", "own_names"]),
        (__main__, ["inspect", "no/such/model", "--imports", "own_names"]),
        (__main__, ["push", "no_such_folder", "me/x", "--imports", "own_names"]),
    ],
    ids=["evaluate", "inspect", "push"],
)
def test_other_commands_import_first(folder: Path, command, arguments: list[str], monkeypatch, capsys) -> None:
    answer(command.main, command.PROGRAM, arguments, monkeypatch, capsys)
    assert "own_gate" in activations.names()
    code, error = answer(command.main, command.PROGRAM, [*arguments[:-1], "own_broken"], monkeypatch, capsys)
    assert code == 2 and "importing own_broken fails" in error


@pytest.mark.parametrize("command", [train, evaluate, __main__])
def test_usage_can_be_typed(command) -> None:
    text = " ".join(command.parser().format_help().split())
    assert text.startswith(f"usage: python -m {command.__name__.removesuffix('.__main__')} ")
    assert "`accelerate launch -m smoothify.evaluate" in text or "`accelerate launch -m smoothify.train" in text


def test_help_of_training_shows_no_noise() -> None:
    text = train.parser().format_help()
    assert "--smoothify" not in text
    assert "Path to a configuration file" not in text
    assert "--model.activation ACTIVATION" in text
