"""What a probe must leave as it was: all that a forward keeps, counts or draws, wherever it is kept."""

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor

import smoothify
from smoothify.errors import UnverifiedWarning
from smoothify.surgery.probing.probe import ProbeError

from . import keeps
from .awkward import Plain

X = torch.linspace(-2, 2, 24).reshape(4, 6)

FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "a dict": lambda x: keeps.by_key(x),
    "a dict in a dict": lambda x: keeps.nested(x),
    "a list": lambda x: keeps.in_a_list(x),
    "a variable": lambda x: keeps.in_a_variable(x),
    "a default": lambda x: keeps.in_a_default(x),
    "the function": lambda x: keeps.in_the_function(x),
    "a function of a function": lambda x: keeps.through_another(x),
    "an lru_cache": lambda x: x + keeps.grid(x.shape[-1]),
    "a class": lambda x: keeps.Table.ones(x),
}


class Calls(Plain):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.linear(self.function(x)))


class OfTheClass(Plain):
    cache: ClassVar[dict[str, Tensor]] = {}

    def forward(self, x: Tensor) -> Tensor:
        if "ones" not in self.cache:
            self.cache["ones"] = torch.ones(6)
        return F.relu(self.linear(x) * self.cache["ones"])


@pytest.mark.parametrize("where", [*FUNCTIONS, "the model's class"])
def test_no_tensor_of_a_probe_stays_where_a_forward_keeps_its_own(where: str) -> None:
    model = Calls(FUNCTIONS[where]) if where in FUNCTIONS else OfTheClass()
    assert smoothify.inspect(model, example_input=X).modes
    assert type(model(X)) is Tensor
    assert type(smoothify.convert(model, example_input=X)(X)) is Tensor


@dataclass
class State:
    count: int = 0
    ones: Tensor | None = None


@pytest.mark.parametrize("build", [State, lambda: SimpleNamespace(count=0, ones=None)])
def test_the_state_that_a_model_keeps_in_an_object_does_not_move(build: Callable[[], Any]) -> None:
    class Keeps(Plain):
        def __init__(self) -> None:
            super().__init__()
            self.state, self.history = build(), deque(maxlen=3)

        def forward(self, x: Tensor) -> Tensor:
            self.state.count += 1
            if self.state.ones is None:
                self.state.ones = torch.ones(6)
            self.history.append(x)
            return F.relu(self.linear(x) * self.state.ones)

    model = Keeps()
    smoothify.inspect(model, example_input=X)
    assert (model.state.count, model.state.ones, len(model.history)) == (0, None, 0)
    smooth = smoothify.convert(model, example_input=X)
    assert torch.equal(smooth(X), F.silu(smooth.linear(X)))
    assert smooth.state.count == 1 and smooth.history.maxlen == 3


HIDDEN: list[Any] = []


class KeepsUnseen(Plain):
    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.linear(x))
        vars(type(self))["forward"].__globals__["HID" + "DEN"].append(y)
        return y


def test_a_tensor_that_stays_where_nobody_looks_is_an_error() -> None:
    with pytest.raises(ProbeError, match=r"KeepsUnseen.*keeps tensors of the probe in a list"):
        smoothify.inspect(KeepsUnseen(), example_input=X)
    assert isinstance(HIDDEN.pop(), FakeTensor)
    HIDDEN.clear()


class Draws(Plain):
    """Decays its weights, draws from every generator, and needs values if it is told to."""

    def __init__(self, needs_values: bool) -> None:
        super().__init__()
        self.needs_values, self.count = needs_values, numpy.zeros(())
        self.generator, self.python = torch.Generator().manual_seed(0), random.Random(0)

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            self.linear.weight.mul_(0.9)
        self.count += 1
        x = x * random.random() * self.python.random() + numpy.random.rand()
        x = x + torch.rand(x.shape) + torch.rand(x.shape, generator=self.generator)
        if self.needs_values and x.sum().item() > 0:
            x = x * 2
        return F.relu(self.linear(x))


@pytest.mark.parametrize("needs_values", [True, False])
def test_no_weight_moves_and_nothing_is_drawn(needs_values: bool) -> None:
    model = Draws(needs_values)

    def state() -> list[Any]:
        own = [model.generator.get_state().tolist(), model.python.getstate(), float(model.count)]
        weight = model.linear.weight.tolist()
        return [weight, *own, random.getstate(), repr(numpy.random.get_state()), torch.get_rng_state().tolist()]

    before = state()
    smoothify.inspect(model, example_input=X)
    assert state() == before


class Closes(nn.Module):
    """A function closes over the modules, where no copy of the model reaches."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.norm, self.activation = nn.Linear(6, 6), nn.BatchNorm1d(6), nn.ReLU()
        self.function = lambda x: self.activation(self.norm(self.linear(x)))
        self.calls: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


@pytest.mark.parametrize("needs_values", [True, False])
def test_modules_that_a_closure_holds_do_not_move(needs_values: bool) -> None:
    class MayAsk(Closes):
        def forward(self, x: Tensor) -> Tensor:
            return self.function(x * 2 if needs_values and x.sum().item() > 0 else x)

    model, calls = MayAsk(), []
    model.norm.register_forward_hook(lambda *_: calls.append(1))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    smoothify.inspect(model, example_input=X)
    with pytest.warns(UnverifiedWarning, match="calls a Linear that is no module of this model"):
        smoothify.convert(model, example_input=X)
    assert not calls
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_in_place_a_closure_over_the_model_is_converted_with_it() -> None:
    model = Closes()
    assert smoothify.convert_(model, example_input=X).verified
    assert torch.equal(model.eval()(X), F.silu(model.norm(model.linear(X))))


def test_a_module_that_a_forward_makes_is_no_stranger() -> None:
    class Slices(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6))

        def forward(self, x: Tensor) -> Tensor:
            return nn.Tanh()(self.layers[:2](x))

    assert smoothify.inspect(Slices(), example_input=X).verified


def test_what_an_object_holds_of_the_model_is_copied_with_it() -> None:
    class Runner:
        def __init__(self, model: nn.Module) -> None:
            self.model = model

        def run(self, x: Tensor) -> Tensor:
            return self.model.activation(self.model.norm(self.model.linear(x)))

    class Runs(Closes):
        def __init__(self) -> None:
            super().__init__()
            self.runner = Runner(self)

        def forward(self, x: Tensor) -> Tensor:
            return self.runner.run(x)

    model = Runs()
    smooth = smoothify.convert(model, example_input=X)
    assert int(model.norm.num_batches_tracked) == 0
    assert torch.equal(smooth.eval()(X), F.silu(smooth.norm(smooth.linear(X))))
