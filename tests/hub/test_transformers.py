"""Repositories of transformers: loaded by its own class, converted on request, refused where harmful."""

from __future__ import annotations

import json
import logging.handlers
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from smoothify.errors import HubError
from smoothify.hub import from_pretrained
from tests.hub.hostile import JSON
from tests.hub.server import Hub

transformers = pytest.importorskip("transformers")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    config = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", num_labels=3
    )
    transformers.ResNetForImageClassification(config).save_pretrained(tmp_path / "out")
    return tmp_path / "out"


def test_a_classifier_is_loaded_as_itself_and_converted(folder: Path, hub: Hub, cache: Path) -> None:
    hub.put("they/resnet", {path.name: path.read_bytes() for path in folder.iterdir()})
    images = torch.rand(2, 3, 32, 32)
    expected = transformers.AutoModelForImageClassification.from_pretrained(folder).eval()
    loaded = from_pretrained("they/resnet", cache_dir=cache)
    assert type(loaded) is type(expected) and not loaded.training and loaded.config.num_labels == 3
    with torch.no_grad():
        assert torch.equal(loaded(images).logits, expected(images).logits)
    converted = from_pretrained("they/resnet", to="silu", cache_dir=cache)
    assert not any(isinstance(module, nn.ReLU) for module in converted.modules())


def test_a_timm_model_deeper_inside_is_refused_before_timm_hears_of_it(folder: Path) -> None:
    inside = {"model_type": "timm_wrapper", "architecture": "resnet18", "model_args": {"checkpoint_path": "/tmp/evil"}}
    outside = {"model_type": "shieldgemma2", "architectures": ["ShieldGemma2ForImageClassification"]}
    (folder / "config.json").write_text(json.dumps({**outside, "vision_config": inside}))
    with pytest.raises(HubError, match=r"vision_config.model_type is 'timm_wrapper': a timm model inside is refused"):
        from_pretrained(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architectures": ["ResNetModel"]}, "no image classifier"),
        ({"architectures": ["ResNetForImageClassification"] * 2}, "no image classifier"),
        ({"model_type": "no_such_model"}, "no image classifier"),
        ({"auto_map": {"AutoConfig": "evil.Config"}}, "auto_map would make transformers fetch or run"),
        ({"quantization_config": {"load_in_4bit": True}}, "quantization_config would make"),
        (
            {"use_timm_backbone": True, "backbone": "they/evil"},
            "backbone would make .*; use_timm_backbone would",
        ),
        ({"hidden_sizes": [8, 32]}, "mismatch"),
        ({"depths": [1, 2]}, "missing"),
        ({"hidden_act": "os.system"}, "cannot build"),
        ({"id2label": {"0": "a", "1": "b"}}, "mismatch"),
        ({"id2label": {"zero": "a"}}, "id2label"),
        ({"id2label": {"9" * 5000: "a"}}, "id2label"),
        ({"id2label": {"\u0663": "a"}}, "id2label"),
        (
            {
                "model_type": "timm_wrapper",
                "architectures": ["TimmWrapperForImageClassification"],
                "model_args": {"checkpoint_path": "/tmp/evil.pth"},
            },
            "a timm model inside one of transformers",
        ),
        ({"hidden_sizes": "8"}, "cannot build"),
    ],
    ids=str,
)
def test_hostile_changes_are_refused(change: dict[str, object], message: str, folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text()) | change
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(HubError, match=message):
        from_pretrained(folder)


def test_a_refused_repository_is_one_line(folder: Path) -> None:
    """transformers would report at length what it misses, before we refuse it."""
    config = json.loads((folder / "config.json").read_text()) | {"depths": [1, 2]}
    (folder / "config.json").write_text(json.dumps(config))
    said = logging.handlers.BufferingHandler(100)
    transformers.utils.logging.get_logger("transformers").addHandler(said)
    try:
        with pytest.raises(HubError, match="missing"):
            from_pretrained(folder)
    finally:
        transformers.utils.logging.get_logger("transformers").removeHandler(said)
    assert said.buffer == []


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.dictionaries(st.sampled_from(sorted(transformers.ResNetConfig().to_dict())), JSON, max_size=3))
def test_any_config_loads_or_is_refused(folder: Path, change: dict[str, object]) -> None:
    text = (folder / "config.json").read_text()
    (folder / "config.json").write_text(json.dumps(json.loads(text) | change))
    try:
        assert not from_pretrained(folder).training
    except HubError as error:
        assert len(str(error)) < 3000
    finally:
        (folder / "config.json").write_text(text)


def test_what_the_class_does_not_know_is_dropped_unread(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config |= {"_attn_implementation": "they/kernel", "attn_implementation": "they/kernel", "anything": [1]}
    (folder / "config.json").write_text(json.dumps(config))
    loaded = from_pretrained(folder)
    assert not hasattr(loaded.config, "anything") and loaded.config._attn_implementation != "they/kernel"


def test_configs_inside_a_config_fetch_and_run_nothing(tmp_path: Path) -> None:
    vision = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    vision |= {"image_size": 16, "patch_size": 8}
    text = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "vocab_size": 9}
    transformers.CLIPForImageClassification(
        transformers.CLIPConfig(vision_config=vision, text_config=text, projection_dim=8, num_labels=2)
    ).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    for harmless in ("_attn_implementation", "attn_implementation"):
        config["vision_config"][harmless] = "they/kernel"
    (tmp_path / "config.json").write_text(json.dumps(config))
    loaded = from_pretrained(tmp_path)
    assert loaded.config.vision_config._attn_implementation != "they/kernel"
    config["vision_config"]["auto_map"] = {"AutoConfig": "evil.Config"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(HubError, match=r"vision_config.auto_map would make transformers fetch or run"):
        from_pretrained(tmp_path)


def test_damaged_weights_are_refused(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4])
    with pytest.raises(HubError, match="not a whole safetensors file"):
        from_pretrained(folder)
