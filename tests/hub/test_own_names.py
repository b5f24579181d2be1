"""Models with activations and rules of their author's own: what is said about them, and that nothing is imported."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import timm
import torch
from torch import nn

import smoothify
from smoothify.activations import Activation, catalogue, register_activation
from smoothify.errors import HubError
from smoothify.hub import from_pretrained, push_folder, save_pretrained
from smoothify.surgery import Rule, conversions, register_rule, unregister_rule


class OwnGate(nn.SiLU):
    pass


class Kink(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * (x > 0)


class Kinked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.pretrained_cfg = {"input_size": (1, 8, 8), "mean": (0.5,), "std": (0.25,)}
        self.layers = nn.Sequential(nn.Flatten(), Kink(), nn.Linear(64, 3))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layers(images)


@pytest.fixture
def saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model with an activation of own_gates.py, which this process then knows nothing of."""
    monkeypatch.setattr(OwnGate, "__module__", "own_gates")
    register_activation(Activation("own_gate", "x", "here", OwnGate, nn.functional.silu, 2))
    model = timm.create_model("test_resnet", num_classes=10)
    smoothify.convert_(model, to={"relu": "own_gate"})
    folder = save_pretrained(model.eval(), tmp_path / "saved")
    assert isinstance(from_pretrained(folder).act1, OwnGate)
    monkeypatch.delitem(catalogue._ENTRIES, "own_gate")
    return folder


def test_the_card_and_the_error_name_the_module(saved: Path) -> None:
    card = (saved / "README.md").read_text(encoding="utf-8")
    assert "import own_gates\nimport smoothify\n" in card
    assert "Its author's own `own_gates` has to be imported first" in card
    for load in (from_pretrained, lambda folder: push_folder(folder, "me/x")):
        with pytest.raises(
            HubError, match="'own_gate', no activation of the catalogue; its author's own own_gates"
        ) as error:
            load(saved)
        assert "`import own_gates` first (--imports own_gates)" in str(error.value)


def test_what_a_repository_names_is_not_imported(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_gates.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(HubError, match="never imported"):
        from_pretrained(saved)
    assert "own_gates" not in sys.modules


@pytest.mark.parametrize("imports", ["own_gates", ["os; evil"], ["a" * 200], [1], [["os"]], ["x"] * 33])
def test_names_of_modules_are_checked(saved: Path, imports: object) -> None:
    file = saved / "config.json"
    described = json.loads(file.read_text(encoding="utf-8"))
    described["smoothify"]["conversions"][0]["imports"] = imports
    file.write_text(json.dumps(described), encoding="utf-8")
    with pytest.raises(HubError, match=r"conversions\[0\]\.imports"):
        from_pretrained(saved)


def test_a_rule_of_ones_own_is_named_too(tmp_path: Path) -> None:
    def becomes(found, to):
        return to.make(found)

    becomes.__module__ = "own_rules"
    rule = register_rule(Rule("kink", becomes, modules=(Kink,)))
    model = smoothify.convert(Kinked(), to="silu")
    assert conversions(model)[0]["imports"] == ["own_rules"]
    folder = save_pretrained(model, tmp_path / "saved", architecture=Kinked)
    unregister_rule("kink")
    with pytest.raises(HubError, match=r"layers\.1: recorded silu, now None; its author's own own_rules brought that"):
        from_pretrained(folder, architecture=Kinked)
    register_rule(rule)
    assert isinstance(from_pretrained(folder, architecture=Kinked).layers[1], nn.SiLU)


def test_what_everybody_has_is_not_named() -> None:
    assert conversions(smoothify.convert(nn.Sequential(nn.ReLU6()), to="smelu"))[0]["imports"] == []
