"""Models of torchvision and transformers: their input, their weights, another head."""

import json
from pathlib import Path

import pytest
import torch

from smoothify.errors import ConfigError
from smoothify.models import PixelClassifier, build, input_size

SMALL_VIT = {
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 1,
    "intermediate_size": 8,
    "image_size": 32,
    "patch_size": 8,
}


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    model = build("transformers/vit", num_classes=3, arguments=SMALL_VIT)
    model.save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"image_mean": [0.5] * 3, "image_std": [0.25] * 3}))
    return tmp_path


def test_transformers_repository_with_its_weights(repository: Path) -> None:
    model = build(f"transformers/{repository}", num_classes=3, pretrained=True).eval()
    assert input_size(model) == (3, 32, 32)
    images = torch.rand(2, 3, 32, 32)
    logits = PixelClassifier.from_host(model)(images)
    assert torch.equal(logits, model((images - 0.5) / 0.25).logits)


def test_transformers_repository_with_another_head(repository: Path) -> None:
    model = build(f"transformers/{repository}", num_classes=3, pretrained=True)
    other = build(f"transformers/{repository}", num_classes=5, pretrained=True)
    assert other(torch.rand(2, 3, 32, 32)).logits.shape == (2, 5)
    assert torch.equal(
        other.vit.embeddings.patch_embeddings.projection.weight, model.vit.embeddings.patch_embeddings.projection.weight
    )


def test_transformers_repository_without_its_weights(repository: Path) -> None:
    trained = build(f"transformers/{repository}", num_classes=3, pretrained=True)
    fresh = build(f"transformers/{repository}", num_classes=3)
    assert not torch.equal(fresh.classifier.weight, trained.classifier.weight)


def test_torchvision_weights_under_another_head(monkeypatch: pytest.MonkeyPatch) -> None:
    import torchvision

    published = torchvision.models.resnet18().state_dict()
    monkeypatch.setattr(torchvision.models.ResNet18_Weights, "get_state_dict", lambda *_, **__: dict(published))
    model = build("torchvision/resnet18", num_classes=5, pretrained=True)
    assert model.fc.out_features == 5
    assert torch.equal(model.layer4[1].conv2.weight, published["layer4.1.conv2.weight"])
    assert PixelClassifier.from_host(model).mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
    assert input_size(model) == (3, 224, 224)
    published["layer1.0.conv1.weight"] = torch.zeros(1)
    with pytest.raises(ConfigError, match=r"do not fit \['fc', 'layer1.0.conv1'\]"):
        build("torchvision/resnet18", num_classes=5, pretrained=True)


def test_torchvision_says_how_its_pictures_were_cropped() -> None:
    described = build("torchvision/resnet50").pretrained_cfg
    assert (described["crop_pct"], described["interpolation"]) == (224 / 232, "bilinear")


@pytest.mark.parametrize(
    ("processor", "expected"),
    [
        ({"size": {"height": 32, "width": 32}, "resample": 2}, (1.0, "squash", "bilinear")),
        ({"size": {"shortest_edge": 40}, "crop_size": {"height": 32}, "resample": 3}, (0.8, None, "bicubic")),
        ({"size": {"shortest_edge": 32}, "crop_pct": 0.9, "resample": 3}, (0.9, None, "bicubic")),
        ({"size": {"shortest_edge": 40}, "crop_size": {"height": 32}, "do_center_crop": False}, (None, None, None)),
        ({}, (None, None, None)),
    ],
)  # fmt: skip
def test_transformers_says_how_its_pictures_were_cropped(repository: Path, processor: dict, expected: tuple) -> None:
    (repository / "preprocessor_config.json").write_text(json.dumps(processor))
    described = build(f"transformers/{repository}", num_classes=3).pretrained_cfg
    assert tuple(described.get(name) for name in ("crop_pct", "crop_mode", "interpolation")) == expected
