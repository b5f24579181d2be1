"""Classifiers of torchvision and transformers: saved, loaded as themselves, by their own library or loudly not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import nn

from smoothify import surgery
from smoothify.errors import HubError
from smoothify.hub import from_pretrained, push_folder, push_to_hub, save_pretrained
from smoothify.models import build
from tests.hub.server import Hub

# transformers' ResNet and RegNet keep a ReLU whatever their config's hidden_act says; its ViT does not.
TRANSFORMERS = (
    ("resnet", None, True),
    ("resnet", "silu", False),
    ("regnet", "smoothrelu", False),
    ("vit", "silu", True),
    ("vit", "smoothrelu", False),
)


def logits(model: nn.Module, size: int) -> torch.Tensor:
    with torch.no_grad():
        output: Any = model(torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(1)))
    found: torch.Tensor = getattr(output, "logits", output)
    return found


@pytest.mark.parametrize(
    ("name", "arguments", "to"),
    [
        ("shufflenet_v2_x0_5", {}, None),
        ("shufflenet_v2_x0_5", {}, "smoothrelu"),
        ("squeezenet1_1", {"dropout": 0.1}, "silu"),
        ("mobilenet_v3_small", {"reduced_tail": True}, "silu"),
        ("mnasnet0_5", {}, None),
    ],
)
def test_torchvision(name: str, arguments: dict[str, Any], to: str | None, hub: Hub, cache: Path) -> None:
    torch.manual_seed(0)
    model = torchvision.models.get_model(name, num_classes=3, **arguments).eval()
    if to is not None:
        surgery.convert_(model, to=to)
    push_to_hub(model, "me/x", architecture=name, model_args=arguments)
    loaded = from_pretrained("me/x", cache_dir=cache)
    assert type(loaded) is type(model) and torch.equal(logits(model, 64), logits(loaded, 64))
    with pytest.raises(RuntimeError, match=f"load_with_smoothify_{name}"):
        timm.create_model("hf-hub:me/x", pretrained=True, cache_dir=cache)
    again = save_pretrained(loaded, cache / "again")
    assert (again / "config.json").read_bytes() == hub.files("me/x")["config.json"], "it remembers what it is"
    push_folder(again, "me/again")


def test_a_torchvision_model_that_we_built_remembers_its_name(tmp_path: Path) -> None:
    model = build("torchvision/squeezenet1_1", num_classes=3, arguments={"dropout": 0.1})
    model.classifier[1] = nn.Conv2d(512, 4, 1)
    loaded: Any = from_pretrained(save_pretrained(model, tmp_path / "out"))
    assert (loaded.classifier[0].p, loaded.classifier[1].out_channels) == (0.1, 4), "and not how many classes it had"
    with pytest.raises(HubError, match="cannot be rebuilt"):
        save_pretrained(model, tmp_path / "other", architecture="squeezenet1_0")


@pytest.mark.parametrize("kind", ["torchvision", "resnet", "vit"])
def test_what_a_model_says_of_its_input_comes_back_with_it(kind: str, tmp_path: Path) -> None:
    model = build("torchvision/squeezenet1_1", num_classes=2) if kind == "torchvision" else classifier(kind)
    says = {"input_size": (3, 32, 32), "mean": (0.1, 0.2, 0.3), "crop_mode": "squash"}
    model.pretrained_cfg = {**says, "url": "https://evil", "mine": object()}  # type: ignore[assignment]
    folder = save_pretrained(model, tmp_path / "out")
    assert from_pretrained(folder).pretrained_cfg == says
    config = json.loads((folder / "config.json").read_text())
    assert ("pretrained_cfg" in config) == (kind == "torchvision"), "what has it on top is timm's to transformers"
    config.pop("pretrained_cfg", None)
    config["smoothify"].pop("pretrained_cfg", None)
    (folder / "config.json").write_text(json.dumps(config))
    assert not hasattr(from_pretrained(folder), "pretrained_cfg"), "a folder that was saved before it was kept"
    model.pretrained_cfg = {"mean": "grey"}  # type: ignore[assignment]
    with pytest.raises(HubError, match=r"pretrained_cfg.mean is 'grey', not a list"):
        save_pretrained(model, tmp_path / "no")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, r'do not remember their name; pass architecture="resnet18"'),
        ({"architecture": "shufflenet_v2_x05"}, "did you mean 'shufflenet_v2_x0_5'"),
        ({"architecture": "resnet18"}, "cannot be rebuilt"),
        ({"architecture": "shufflenet_v2_x0_5", "model_args": {"weights": "DEFAULT"}}, "may not hold weights"),
    ],
)
def test_torchvision_refusals(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    model = torchvision.models.get_model("shufflenet_v2_x0_5", num_classes=3)
    with pytest.raises(HubError, match=message):
        save_pretrained(model, tmp_path / "out", **options)
    assert list(tmp_path.iterdir()) == []


def classifier(kind: str) -> nn.Module:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    if kind == "resnet":
        config = transformers.ResNetConfig(
            embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", num_labels=3
        )
        model = transformers.ResNetForImageClassification(config)
    elif kind == "vit":
        config = transformers.ViTConfig(
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            image_size=32,
            patch_size=8,
            hidden_act="relu",
            id2label={0: "cat", 1: "dog"},
        )
        model = transformers.ViTForImageClassification(config)
    else:
        config = transformers.RegNetConfig(
            embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], groups_width=4, num_labels=3
        )
        model = transformers.RegNetForImageClassification(config)
    found: nn.Module = model.eval()
    return found


@pytest.mark.parametrize(("kind", "to", "native"), TRANSFORMERS)
def test_transformers(kind: str, to: str | None, native: bool, hub: Hub, cache: Path) -> None:
    model = classifier(kind)
    if to is not None:
        surgery.convert_(model, to=to)
    push_to_hub(model, "me/x")
    loaded = from_pretrained("me/x", cache_dir=cache)
    assert type(loaded) is type(model) and torch.equal(logits(model, 32), logits(loaded, 32))
    assert loaded.config.id2label == model.config.id2label
    indices = {label: index for index, label in model.config.id2label.items()}
    assert loaded.config.label2id == indices
    from transformers import AutoModel, AutoModelForImageClassification

    config = json.loads(hub.files("me/x")["config.json"])
    card = hub.files("me/x")["README.md"].decode()
    if not native:
        assert config["smoothify"]["native"] == [] and "needs smoothify" in card
        folder = save_pretrained(model, cache / "folder")
        for loader in (AutoModel, AutoModelForImageClassification, type(model)):
            for source in ("me/x", folder):
                with pytest.raises((OSError, ValueError, KeyError)):
                    loader.from_pretrained(source, cache_dir=cache)
        assert sorted(hub.files("me/x")) == ["README.md", "config.json", "smoothify.safetensors"]
    else:
        assert config["smoothify"]["native"] == ["transformers"]
        assert 'AutoModelForImageClassification.from_pretrained("me/x")' in card
        alone = AutoModelForImageClassification.from_pretrained("me/x", cache_dir=cache)
        assert torch.equal(logits(model, 32), logits(alone.eval(), 32)) and alone.config.label2id == indices


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architecture": "os_system"}, "no image classifier"),
        ({"host": "pickle"}, "smoothify.host is 'pickle'"),
        ({"host": "torchvision"}, "num_classes is None"),
        ({"model_args": {"model_type": "resnet"}}, "is missing"),
        ({"model_args": {"model_type": "os"}}, "no image classifier"),
        ({"model_args": {"model_type": "resnet", "auto_map": {"a": "b"}}}, "auto_map would make"),
        ({"weights_file": "../../evil"}, "holds no model.safetensors"),
        ({"weights_file": 7}, "holds no model.safetensors"),
        ({"pretrained_cfg": [1]}, "pretrained_cfg is "),
        ({"pretrained_cfg": {"mean": ["x"], "crop_pct": 1e9}}, r"cfg.mean\[0\] is 'x'.*crop_pct is 1000000000"),
        ({"pretrained_cfg": {"input_size": [3, 10**6, 1]}}, r"input_size\[1\] is 1000000, not a whole number"),
    ],
    ids=str,
)
def test_hostile_blocks(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    model = classifier("resnet")
    surgery.convert_(model, to="smoothrelu")
    folder = save_pretrained(model, tmp_path / "out")
    config = json.loads((folder / "config.json").read_text())
    config["smoothify"] |= change
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(HubError, match=message):
        from_pretrained(folder)
