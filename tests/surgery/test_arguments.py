"""Activations whose arguments are no constants: drawn, learned as numbers, set later, or another function each time."""

import copy
import random
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import smoothify
from smoothify.errors import UnconvertedError

from .awkward import Plain

X = torch.linspace(-1, 1, 24).reshape(4, 6)


def leaky(y: Tensor, slope: float) -> Tensor:
    return slope * y + (1 - slope) * F.silu(y)


class Drawn(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(self.linear(x), random.uniform(0.1, 0.3) if self.training else 0.2)


def test_a_slope_that_is_drawn_has_no_kink() -> None:
    model = Drawn()
    assert smoothify.convert_(model, example_input=X).verified
    for training in (True, False):
        random.seed(1)
        got = model.train(training)(X)
        random.seed(1)
        torch.testing.assert_close(got, leaky(model.linear(X), random.uniform(0.1, 0.3) if training else 0.2))
    assert smoothify.inspect(model, example_input=X).smooth


class Learned(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(0.25))

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(self.linear(x), self.slope.item())


class Set(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.slope = 0.25

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(self.linear(x), self.slope)


class SetInPlace(Set):
    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu_(self.linear(x), self.slope)


class Held(Set):
    def __init__(self) -> None:
        super().__init__()
        self.activation = F.leaky_relu

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.linear(x), self.slope)


@pytest.mark.parametrize("cls", [Learned, Set, SetInPlace, Held])
@pytest.mark.parametrize("to", ["silu", "softplus"])
def test_a_slope_that_changes_later_has_no_kink(cls: type[nn.Module], to: str) -> None:
    model = cls()
    assert smoothify.convert_(model, to, example_input=X).verified
    for changed in (model, copy.deepcopy(model)):
        with torch.no_grad():
            changed.slope = nn.Parameter(torch.tensor(0.375)) if cls is Learned else 0.375
        y = changed.linear(X)
        torch.testing.assert_close(changed(X), 0.375 * y + 0.625 * getattr(F, to)(y))
        assert smoothify.inspect(changed, example_input=X).smooth


class Elu(Set):
    def forward(self, x: Tensor) -> Tensor:
        return F.elu(self.linear(x), 1.0 + self.slope)


def test_an_elu_of_another_alpha_becomes_what_the_first_one_did() -> None:
    model = smoothify.convert(Elu(), example_input=X)
    model.slope = 1.0
    torch.testing.assert_close(model(X), F.silu(model.linear(X)))


class TwoElus(Plain):
    def forward(self, x: Tensor) -> Tensor:
        elu = getattr(F, "elu" if len(x) else "relu")
        return elu(self.linear(x), 1.5) + elu(x)


def test_an_elu_that_is_smooth_is_left_alone_beside_one_that_is_not() -> None:
    model = smoothify.convert(TwoElus(), example_input=X)
    torch.testing.assert_close(model(X), F.silu(model.linear(X)) + F.elu(X))


class Bounds(Set):
    def forward(self, x: Tensor) -> Tensor:
        return F.rrelu(self.linear(x), 0.1, self.slope, training=self.training)


def test_a_range_of_slopes_that_changes_is_drawn_from() -> None:
    model = smoothify.convert(Bounds(), example_input=X)
    model.slope = 0.9
    y = model.linear(X)
    drawn = (model(X) - F.silu(y)) / (y - F.silu(y))
    assert drawn.min() >= 0.1 - 1e-4 and drawn.max() > 0.5
    torch.testing.assert_close(model.eval()(X), leaky(y, 0.5))


class EveryTimeAnother(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return next(FUNCTIONS)(self.linear(x))


def functions() -> Iterator[object]:
    yield from (F.relu, F.relu)
    while True:
        yield F.hardswish


FUNCTIONS = functions()


def test_what_runs_and_was_not_foreseen_is_refused() -> None:
    model = EveryTimeAnother()
    with pytest.raises(UnconvertedError, match=r"hardswish.*still runs after the conversion"):
        smoothify.convert_(model, example_input=X)
