"""The kink finder: one ReLU among a hundred SiLUs, every smooth activation cleared, whole models."""

import pytest
import timm
import torch
from torch import nn

import smoothify
from smoothify import activations
from smoothify.errors import DataError, NonFiniteError, SmoothifyError, UnsupportedModelError

X = torch.linspace(-2, 2, 8)[None] ** 3


class Residual(nn.Module):
    def __init__(self, act: nn.Module) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 8), act)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.inner(x)


def deep(planted: int | None) -> nn.Module:
    torch.manual_seed(0)
    blocks = [Residual(nn.ReLU() if index == planted else nn.SiLU()) for index in range(101)]
    return nn.Sequential(*blocks, nn.Linear(8, 4))


@pytest.mark.parametrize("planted", [0, 50, 100])
def test_one_relu_among_a_hundred_silus_is_found(planted: int) -> None:
    kink = smoothify.find_kink(deep(planted), X, length=6.0)
    assert kink is not None
    assert kink.width < 1e-10
    assert "jumps by" in str(kink)


def test_a_hundred_silus_are_cleared() -> None:
    assert smoothify.find_kink(deep(None), X, length=6.0) is None


@pytest.mark.parametrize("name", [name for name in activations.names() if activations.is_smooth(name)])
def test_every_smooth_activation_is_cleared(name: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), activations.create(name), nn.Linear(6, 3))
    assert smoothify.find_kink(model, torch.zeros(1, 4), segments=2) is None


@pytest.mark.parametrize(
    "module", [nn.LeakyReLU(), nn.Hardswish(), nn.Hardsigmoid(), nn.ELU(1.5), nn.SELU(), nn.Softshrink()]
)
def test_every_kink_is_found_and_gone_after_conversion(module: nn.Module) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), module, nn.Linear(6, 3))
    x = torch.zeros(1, 4)
    assert smoothify.find_kink(model, x, length=4.0) is not None
    if not isinstance(module, nn.Softshrink):
        assert smoothify.find_kink(smoothify.convert(model), x, length=4.0) is None


class SquareRoot(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.sqrt()


def test_a_derivative_that_is_not_finite_is_an_error_and_no_kink() -> None:
    with pytest.raises(NonFiniteError, match="the derivative of this SquareRoot is NaN"):
        smoothify.find_kink(SquareRoot(), X)


class One(nn.Module):
    """One logit for each input, or as its ``reduce`` says."""

    def __init__(self, act: nn.Module, reduce: str = "squeeze") -> None:
        super().__init__()
        torch.manual_seed(0)
        self.features, self.head, self.reduce = nn.Sequential(nn.Linear(8, 16), act), nn.Linear(16, 1), reduce

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found = self.head(self.features(x))
        return {"squeeze": found.squeeze(1), "mean": found.mean(), "transposed": found.t()}[self.reduce]


def test_a_single_logit_without_a_dimension_of_its_own() -> None:
    assert smoothify.find_kink(One(nn.ReLU()), X, length=4.0) is not None
    assert smoothify.find_kink(One(nn.SiLU()), X, length=4.0) is None


@pytest.mark.parametrize(
    ("model", "x", "error", "message"),
    [
        (One(nn.SiLU(), "mean"), X, DataError, r"returns \(\) for 32 inputs; wrap it so"),
        (One(nn.SiLU(), "transposed"), X, DataError, r"returns \(1, 32\) for 32 inputs"),
        (nn.Embedding(4, 2), torch.zeros(1, 3, dtype=torch.int64), DataError, "holds torch.int64.*embedding"),
        (
            nn.Sequential(nn.Linear(8, 4), nn.BatchNorm1d(4, track_running_stats=False)),
            X,
            UnsupportedModelError,
            "1: BatchNorm1d without running statistics.*track_running_stats=True",
        ),
    ],
    ids=["mean", "transposed", "integers", "batch norm"],
)
def test_what_cannot_be_searched(model: nn.Module, x: torch.Tensor, error: type[SmoothifyError], message: str) -> None:
    with pytest.raises(error, match=message):
        smoothify.find_kink(model, x)


@pytest.mark.parametrize("name", ["test_resnet", "test_byobnet"])
def test_a_converted_model_is_cleared_and_its_original_is_not(name: str) -> None:
    torch.manual_seed(0)
    model = timm.create_model(name).eval()
    for module in model.modules():
        if isinstance(module, nn.MaxPool2d):
            module.__class__ = nn.AvgPool2d
            module.ceil_mode, module.count_include_pad, module.divisor_override = False, True, None
    x = torch.rand(1, 3, 16, 16)
    assert smoothify.find_kink(model, x, length=0.2, segments=1) is not None
    assert smoothify.find_kink(smoothify.convert(model), x, length=0.2, segments=1) is None
