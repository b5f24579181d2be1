"""Modules that run whatever they hold: no activation of a rewritten call may become one more of their children."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import smoothify
from smoothify.errors import UnconvertedError
from smoothify.surgery import conversions, replay_

X = torch.linspace(-1, 1, 24).reshape(4, 6)


def shared() -> nn.Sequential:
    activation = nn.ReLU()
    return nn.Sequential(nn.Linear(6, 6), activation, nn.Linear(6, 6), activation, nn.Linear(6, 2))


def two() -> nn.Sequential:
    activation = nn.ReLU()
    return nn.Sequential(nn.Sequential(nn.Linear(6, 6), activation), nn.Sequential(nn.Linear(6, 2), activation))


@pytest.mark.parametrize(("build", "paths"), [(shared, ["1", "3"]), (two, ["0.1", "1.1"])])
def test_an_activation_that_a_container_holds_twice_becomes_two(build: type[nn.Module], paths: list[str]) -> None:
    original = build()
    model = copy.deepcopy(original)
    report = smoothify.convert_(model, "smoothrelu(alpha=100000)", example_input=X)
    assert report.verified and [site.path for site in report.sites] == paths
    torch.testing.assert_close(model(X), original(X), atol=1e-3, rtol=0)
    assert len({id(model.get_submodule(path)) for path in paths}) == 2
    assert [name for name, _ in model.named_children()] == [name for name in original._modules if name.isdigit()]
    model(X).sum().backward()
    assert all(model.get_parameter(f"{path}.root").grad is not None for path in paths)
    again = copy.deepcopy(original)
    replay_(again, conversions(model))
    assert list(again.state_dict()) == list(model.state_dict())


class GoesThrough(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.children():
            x = layer(F.relu(x))
        return x


class Rectified(nn.Sequential):
    def forward(self, x: Tensor) -> Tensor:
        return F.relu(super().forward(x)) - 0.5


class Unknown(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.softplus(x)


@pytest.mark.parametrize("build", [GoesThrough, lambda: Rectified(nn.Linear(6, 6), nn.Linear(6, 6))])
def test_a_forward_that_goes_through_its_own_children_is_refused_a_registered_activation(
    build: type[nn.Module],
) -> None:
    model = build()
    original = copy.deepcopy(model)
    for to in ("smoothrelu", Unknown):
        with pytest.raises(UnconvertedError, match="goes through its own children"):
            smoothify.convert_(model, to, example_input=X)
        assert type(model) is type(original) and list(model._modules) == list(original._modules)
    smoothify.convert_(model, "silu", example_input=X)
    assert not torch.equal(model(X), original(X)) and list(model._modules) == list(original._modules)
