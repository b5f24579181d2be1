"""What RobustBench is given: the module against the interface that it documents, the entry against its own files."""

import json

import pytest
import torch
from torch import nn

import smoothify
from smoothify.errors import ConfigError, DataError, UnknownNameError, UnsupportedModelError
from smoothify.evaluation import RobustAccuracy, leaderboard_entry
from smoothify.models import PixelClassifier, build

PAPER = {
    "name": "Smooth Adversarial Training",
    "authors": "Cihang Xie, Mingxing Tan, Boqing Gong, Alan Yuille, Quoc V. Le",
    "link": "https://arxiv.org/abs/2006.14536",
    "venue": "N/A",
    "architecture": "ResNet-50",
    "additional_data": False,
}
# An entry as the leaderboard has it: model_info/imagenet/Linf/Xu2024MIMIR_Swin-L.json of RobustBench's repository.
THEIRS = """{
  "link": "https://arxiv.org/abs/2312.04960",
  "name": "MIMIR: Masked Image Modeling for Mutual Information-based Adversarial Robustness",
  "authors": "Xiaoyun Xu, Shujian Yu, Zhuoran Liu, Stjepan Picek",
  "additional_data": false,
  "number_forward_passes": 1,
  "dataset": "imagenet",
  "venue": "arXiv, Dec 2023",
  "architecture": "Swin-L",
  "eps": "4/255",
  "clean_acc": "78.62",
  "reported": "59.68",
  "autoattack_acc": "59.68",
  "unreliable": false
}"""


def host() -> nn.Module:
    torch.manual_seed(0)
    return build("resnet10_28px", num_classes=10).train()


def result(**changed: object) -> RobustAccuracy:
    values = {"attack": "AutoAttack", "norm": "linf", "epsilon": 4 / 255, "images": 5000, **changed}
    images, right, robust = (
        values.pop(name, share) for name, share in (("images", 0), ("right", 400), ("robust", 200))
    )
    verdicts = (tuple(index < count for index in range(images)) for count in (right, robust))
    clean_correct, robust_correct = verdicts
    return RobustAccuracy(step_size=None, seed=0, clean_correct=clean_correct, robust_correct=robust_correct, **values)


def test_module_normalises_inside_and_leaves_the_model_alone() -> None:
    model = host()
    measured = smoothify.as_robustbench(model)
    images = torch.rand(3, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    expected = PixelClassifier.from_host(host()).eval()(images)
    assert torch.equal(measured(images), expected)
    assert torch.equal(smoothify.as_robustbench(PixelClassifier.from_host(model))(images), expected)
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert not measured.training
    assert not any(parameter.requires_grad for parameter in measured.parameters())


def test_logits_may_be_written_into_and_gradients_are_contiguous() -> None:
    """Square writes -inf into the logits; AutoAttack's DLR loss views the gradient."""

    class Cached(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.logits = nn.Parameter(torch.arange(4.0))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.logits.expand(len(images), 4)

    cached = smoothify.as_robustbench(PixelClassifier(Cached(), mean=[0.0], std=[1.0]))
    with torch.no_grad():
        cached(torch.rand(2, 1, 4, 4))[0, 0] = -torch.inf
        assert torch.equal(cached(torch.rand(1, 1, 4, 4)), torch.arange(4.0)[None])

    convolution = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    last = smoothify.as_robustbench(PixelClassifier(convolution, mean=[0.0] * 3, std=[1.0] * 3))
    last.to(memory_format=torch.channels_last)
    images = torch.rand(2, 3, 8, 8).contiguous(memory_format=torch.channels_last).requires_grad_()
    (gradient,) = torch.autograd.grad(last(images).sum(), images)
    gradient.view(2, -1)


def test_images_outside_the_unit_interval_are_refused() -> None:
    with pytest.raises(DataError, match=r"images in \[nan, nan\]; give them in \[0, 1\]"):
        smoothify.as_robustbench(host())(torch.full((1, 1, 28, 28), torch.nan))
    with pytest.raises(DataError, match=r"images in \[-1, 2\]; give them in \[0, 1\]"):
        smoothify.as_robustbench(host())(torch.tensor([-1.0, 2.0]).repeat(392).view(1, 1, 28, 28))


def test_a_host_without_a_normalisation_is_refused() -> None:
    with pytest.raises(UnsupportedModelError, match="does not say how its input is normalised"):
        smoothify.as_robustbench(nn.Linear(2, 2))


def test_entry_is_of_the_leaderboards_form() -> None:
    """Same fields in the same order, of the same types; the same content where the same was measured."""
    theirs, measured = json.loads(THEIRS), result(right=3931, robust=2984)
    facts = ("link", "name", "authors", "venue", "architecture", "additional_data")
    written = leaderboard_entry(measured, dataset="imagenet", **{name: theirs[name] for name in facts})
    assert json.dumps(written, indent=2) == THEIRS
    assert leaderboard_entry(result(norm="l2", epsilon=0.5, images=10_000), dataset="cifar10", **PAPER)["eps"] == "0.5"


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"attack": "PGD-200"}, "the attack is PGD-200, not AutoAttack"),
        ({"epsilon": 8 / 255}, "epsilon is 8/255, not 4/255"),
        ({"images": 1000}, "the number of images is 1000, not 5000"),
        ({"attack": "PGD-5", "images": 10}, "not AutoAttack; the number of images is 10"),
        ({"split_images": 50_000}, "the images are from a split of 50000; measure the leaderboard's 5000 alone"),
        ({"surrogate": "silu"}, "the attack saw gradients of silu, not the model's"),
        ({"through": ""}, "the images were found on another model, not on the model"),
        ({"caveats": ("deterministic: logits differ",)}, "deterministic: logits differ"),
    ],
)
def test_no_entry_for_what_the_leaderboard_is_not_about(changed: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match="no entry for the imagenet linf leaderboard: ") as refused:
        leaderboard_entry(result(**changed), dataset="imagenet", **PAPER)
    assert words in str(refused.value)


def test_unknown_leaderboard_names_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'imagenet linf'"):
        leaderboard_entry(result(), dataset="imagnet", **PAPER)
