"""Models by name, and the wrapper that feeds them pixels."""

from dataclasses import dataclass

import pytest
import torch
from torch import nn

from smoothify.errors import ConfigError, DataError, SmoothifyError, UnknownNameError, UnsupportedModelError
from smoothify.models import PRESETS, PixelClassifier, build, input_size


@dataclass
class Output:
    logits: torch.Tensor


class Returning(nn.Module):
    def __init__(self, wrap) -> None:
        super().__init__()
        self.wrap = wrap

    def forward(self, images: torch.Tensor):
        return self.wrap(images)


@pytest.mark.parametrize("name", PRESETS)
def test_preset_is_a_native_timm_model(name: str) -> None:
    """At full size and without memory: the meta device computes shapes only."""
    with torch.device("meta"):
        model = build(name, num_classes=7)
        images = torch.rand(2, *input_size(model))
    assert type(model).__module__.startswith("timm.models.")
    assert model(images).shape == (2, 7)
    assert not model.pretrained_cfg.get("url"), "nothing must point to weights that do not fit"


@pytest.mark.parametrize(
    ("name", "classes"), [("timm/resnet18", 5), ("resnet18", 5), ("torchvision/resnet18", 5), ("resnet10_28px", None)]
)
def test_build(name: str, classes: int | None) -> None:
    model = build(name, num_classes=classes)
    assert model.fc.out_features == (classes or 10 if name in PRESETS else 5)


@pytest.mark.parametrize("name", ["resnet10_28px", "timm/resnet18", "torchvision/resnet18", "torch.nn:Identity"])
def test_a_negative_number_of_classes_is_refused(name: str) -> None:
    for options in ({"num_classes": -1}, {"arguments": {"num_classes": -1}}):
        with pytest.raises(ConfigError, match=f"'{name}' cannot have num_classes=-1; give their number"):
            build(name, **options)


def test_pixels_are_normalised_once() -> None:
    images = torch.rand(2, 3, 4, 4)
    classifier = PixelClassifier(Returning(lambda x: x.flatten(1)), mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
    for channel, (mean, std) in enumerate(zip((0.1, 0.2, 0.3), (0.5, 0.6, 0.7), strict=True)):
        expected = (images[:, channel] - mean) / std
        assert torch.allclose(classifier(images).view(2, 3, 4, 4)[:, channel], expected)


@pytest.mark.parametrize("precision", [torch.float16, torch.bfloat16, torch.float64])
def test_a_host_in_another_precision(precision: torch.dtype) -> None:
    host = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten()).to(precision)
    host.pretrained_cfg = {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.4)}
    images = torch.rand(2, 3, 4, 4, requires_grad=True)
    for classifier in (
        PixelClassifier.from_host(host),
        PixelClassifier(host.float(), mean=[0.5], std=[0.2]).to(precision),
    ):
        logits = classifier(images)
        assert logits.dtype == precision
        (gradient,) = torch.autograd.grad(logits.sum(), images)
        assert gradient.dtype == torch.float32 and gradient.any()
        host.to(precision)
    assert PixelClassifier.from_host(host).mean.dtype == torch.float32, "0.485 is not rounded because weights are"


def test_a_host_on_another_device() -> None:
    with torch.device("meta"):
        host = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten())
    classifier = PixelClassifier(host, mean=[0.5] * 3, std=[0.2] * 3)
    assert classifier(torch.empty(2, 3, 4, 4, device="meta")).device.type == "meta"


def test_objects_with_logits_are_unwrapped() -> None:
    classifier = PixelClassifier(Returning(lambda x: Output(x.flatten(1))), mean=(0.0,), std=(1.0,))
    assert classifier(torch.rand(2, 1, 2, 2)).shape == (2, 4)


def test_normalisation_adds_no_key_and_moves_with_the_model() -> None:
    classifier = PixelClassifier(nn.Flatten(), mean=(0.0,), std=(1.0,))
    assert classifier.state_dict() == {}
    assert classifier.to("meta").mean.device.type == "meta"


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: build("resnt50"), UnknownNameError, "'resnet50'"),
        (lambda: build("torchvision/resnt50"), UnknownNameError, "'resnet50'"),
        (lambda: build("tim/resnet50"), UnknownNameError, "model source"),
        (lambda: build("keras/resnet50"), ConfigError, "no such folder, and 'keras' is no library"),
        (lambda: build("transformers/vitt"), UnknownNameError, "'vit'"),
        (lambda: build("transformers/vit", pretrained=True), ConfigError, "has no weights"),
        (lambda: build("transformers/vit", arguments={"hiden_size": 8}), UnknownNameError, "'hidden_size'"),
        (lambda: build("transformers/./missing"), ConfigError, "./missing"),
        (lambda: build("resnet10_28px", pretrained=True), ConfigError, "no published weights"),
        (lambda: build("resnet18", arguments={"depth": 3}), ConfigError, "depth"),
        (lambda: build("torchvision/resnet18", arguments={"depth": 3}), ConfigError, "depth"),
        (lambda: PixelClassifier(nn.Flatten(), mean=(0.0,), std=(1.0, 1.0)), UnsupportedModelError, "one per channel"),
        (lambda: PixelClassifier(nn.Flatten(), mean=(0.0,), std=(0.0,)), UnsupportedModelError, "positive"),
        (lambda: PixelClassifier.from_host(nn.Flatten()), UnsupportedModelError, "mean=..., std=..."),
        (lambda: input_size(nn.Flatten()), SmoothifyError, "input size"),
        (
            lambda: PixelClassifier(nn.Flatten(), mean=(0.0,), std=(1.0,))(torch.zeros(2, 1, 2, 2, dtype=torch.uint8)),
            DataError,
            "images / 255",
        ),
        (
            lambda: PixelClassifier(nn.Flatten(), mean=(0.0,), std=(1.0,))(torch.ones(2, 1, 2, 2, dtype=torch.int64)),
            DataError,
            "images of torch.int64 are no floats in [0, 1]",
        ),
        (
            lambda: PixelClassifier(Returning(lambda x: x), mean=(0.0,), std=(1.0,))(torch.rand(2, 1, 2, 2)),
            UnsupportedModelError,
            "shape (2, 1, 2, 2)",
        ),
        (
            lambda: PixelClassifier(Returning(lambda x: (x, x)), mean=(0.0,), std=(1.0,))(torch.rand(2, 1, 2, 2)),
            UnsupportedModelError,
            "tuple",
        ),
    ],
)
def test_bad_input(make, error, words) -> None:
    with pytest.raises(error) as raised:
        make()
    assert words in str(raised.value)
