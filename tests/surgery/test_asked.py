"""Forwards that ask what an activation is: where it is another one, they may do something else."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import smoothify
from smoothify.errors import UnconvertedError

X = torch.linspace(-1, 1, 24).reshape(4, 6)
ACTIVATIONS = (nn.ReLU, nn.ELU)


class Features(nn.Module):
    wanted = nn.ReLU

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU(inplace=True))
        self.kind: object = nn.ReLU
        self.head = F.relu

    def forward(self, x: Tensor) -> list[Tensor]:
        features = []
        for layer in self.layers:
            x = layer(x)
            if self.is_wanted(layer):
                features.append(x)
        return features

    def is_wanted(self, layer: nn.Module) -> bool:
        return isinstance(layer, nn.ReLU)


class OfSeveral(Features):
    def is_wanted(self, layer: nn.Module) -> bool:
        return isinstance(layer, ACTIVATIONS)


class OfTheAttribute(Features):
    def is_wanted(self, layer: nn.Module) -> bool:
        return type(layer) is self.kind


class ByName(Features):
    def is_wanted(self, layer: nn.Module) -> bool:
        return "relu" in str(layer).lower()


class InAHelper(Features):
    @staticmethod
    def is_wanted(layer: nn.Module) -> bool:
        return helper(layer)


def helper(layer: nn.Module) -> bool:
    return isinstance(layer, nn.ReLU)


class ByFunction(Features):
    def forward(self, x: Tensor) -> Tensor:
        x = self.head(self.layers[0](x))
        return x * 2 if self.head is F.relu else x


@pytest.mark.parametrize("cls", [Features, OfSeveral, OfTheAttribute, ByName, InAHelper, ByFunction])
def test_a_forward_that_does_something_else_without_what_it_asks_for_is_refused(cls: type[Features]) -> None:
    model = cls()
    expected = model(X)
    with pytest.raises(UnconvertedError, match="asks which class, name or function an activation is"):
        smoothify.convert_(model, example_input=X)
    torch.testing.assert_close(model(X), expected)


def test_a_forward_that_asks_and_does_the_same_is_converted() -> None:
    class Asks(Features):
        def is_wanted(self, layer: nn.Module) -> bool:
            return isinstance(layer, (nn.ReLU, nn.SiLU))

    model = Asks()
    before = copy.deepcopy(model)
    assert smoothify.convert_(model, example_input=X).verified
    assert len(model(X)) == len(before(X)) == 2
    assert smoothify.convert(before, {"relu": "relu"}, strict=False, example_input=X)(X)
