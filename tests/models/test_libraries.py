"""Models of torchvision and transformers: their input, their weights, another head."""

import json
import re
import sys
from pathlib import Path

import pytest
import torch
from torchvision.models import get_model

from smoothify.errors import ConfigError
from smoothify.hub.hosts import torchvision as torchvision_host
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


def download(monkeypatch: pytest.MonkeyPatch, published: dict[str, torch.Tensor]) -> None:
    """Weights as torchvision would get them from its server; plain dicts, as those of old files, have no versions."""
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", lambda *_, **__: dict(published))


def test_torchvision_weights_under_another_head(monkeypatch: pytest.MonkeyPatch) -> None:
    published = get_model("resnet18").state_dict()
    download(monkeypatch, published)
    model = build("torchvision/resnet18", num_classes=5, pretrained=True)
    assert model.fc.out_features == 5
    assert torch.equal(model.layer4[1].conv2.weight, published["layer4.1.conv2.weight"])
    assert PixelClassifier.from_host(model).mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
    assert input_size(model) == (3, 224, 224)
    download(monkeypatch, published | {"layer1.0.conv1.weight": torch.zeros(1)})
    with pytest.raises(ConfigError, match=r"for ResNet: size mismatch for layer1\.0\.conv1\.weight"):
        build("torchvision/resnet18", num_classes=5, pretrained=True)
    with pytest.raises(ConfigError, match="unexpected keyword argument 'width'"):
        build("torchvision/resnet18", pretrained=True, arguments={"width": 5})


def test_torchvision_weights_with_keys_of_old(monkeypatch: pytest.MonkeyPatch) -> None:
    """DenseNet's are from before dots were forbidden in names and before batch norms counted their batches."""
    trained = get_model("densenet121").state_dict()
    old = {
        re.sub(r"(denselayer\d+\.(?:norm|conv))([12])", r"\1.\2", key): value
        for key, value in trained.items()
        if "num_batches" not in key
    }
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    download(monkeypatch, old)
    model = build("torchvision/densenet121", num_classes=3, pretrained=True)
    assert model.classifier.out_features == 3
    key = "features.denseblock4.denselayer16.conv2.weight"
    assert torch.equal(model.state_dict()[key], trained[key])


@pytest.mark.filterwarnings("ignore:The default weight initialization:FutureWarning")
@pytest.mark.parametrize("classes", [None, 3])
def test_googlenets_input_is_transformed_where_its_weights_ask_for_it(
    monkeypatch: pytest.MonkeyPatch, classes: int | None
) -> None:
    """Their training took images in [-1, 1]; the module turns what is normalised as usual into that."""
    published = build("torchvision/googlenet").state_dict()
    download(monkeypatch, published)
    theirs, ours = (
        get_model("googlenet", weights="DEFAULT").eval(),
        build("torchvision/googlenet", num_classes=classes, pretrained=True).eval(),
    )
    assert ours.transform_input
    assert not build("torchvision/googlenet", num_classes=3, arguments={"aux_logits": False}).transform_input
    images = torch.rand(1, 3, 32, 32)
    if classes is None:
        assert torch.equal(ours(images), theirs(images))
        return
    theirs.fc = ours.fc
    assert torch.equal(ours(images), theirs(images))
    described = torchvision_host.describe(ours, "googlenet", {})
    assert described.model_args == {"transform_input": True, "aux_logits": False}
    rebuilt = torchvision_host.build(described).eval()
    rebuilt.load_state_dict(ours.state_dict())
    assert torch.equal(rebuilt(images), ours(images)), "it can be saved and loaded"


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


def test_what_is_not_installed_or_not_reached_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise OSError("<urlopen error [Errno -2] Name or service not known>")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", unreachable)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", unreachable)
    with pytest.raises(ConfigError, match=r"weights of 'resnet18' cannot be had \(<urlopen .*load them once with a"):
        build("torchvision/resnet18", pretrained=True)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ConfigError, match=r"'transformers/resnet' needs transformers; pip install transformers"):
        build("transformers/resnet")
