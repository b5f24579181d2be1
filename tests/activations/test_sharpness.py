"""Sharpness moves an activation towards ReLU and back."""

from __future__ import annotations

from collections import OrderedDict
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import smoothify
from smoothify import activations, surgery
from smoothify.activations import geometric, set_sharpness_, sharpness
from smoothify.errors import UnsupportedModelError

DISTANCE = {"swish": 0.27846, "parametric_softplus": 0.69315}


def test_which_entries_have_one(name: str) -> None:
    module = activations.create(name)
    assert (sharpness(module) is not None) == (activations.get(name).sharpness is not None)
    assert set_sharpness_(module, 3.0) == (name in DISTANCE)


@pytest.mark.parametrize("spec", DISTANCE)
@pytest.mark.parametrize("value", [1.0, 10.0, 1e3])
def test_the_distance_to_relu_falls_as_its_inverse(spec: str, value: float) -> None:
    module = activations.create(spec)
    assert set_sharpness_(module, value)
    x = torch.linspace(-4 / value, 4 / value, 8001, dtype=torch.float64)
    greatest = (module(x) - torch.relu(x)).abs().max().item()
    assert greatest == pytest.approx(DISTANCE[spec] / value, rel=1e-3)
    assert activations.create(activations.describe(module))(x).equal(module(x))


@pytest.mark.parametrize("value", [0.0, -1.0, float("inf"), float("nan")])
def test_it_stays_positive(value: float) -> None:
    with pytest.raises(ValueError, match="give a number above 0"):
        set_sharpness_(nn.SiLU(), value)


def test_annealing_reaches_calls_and_composites_as_well_as_modules() -> None:
    class Calls(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return F.leaky_relu(F.relu(x) - 1, 0.1)

    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), Calls())
    x = torch.randn(5, 3)
    kinked = model(x)
    smoothify.convert_(model, to="parametric_softplus(alpha=1e6)", example_input=x)
    torch.testing.assert_close(model(x), kinked, atol=1e-5, rtol=0)
    assert smoothify.anneal_(model, 10.0) == 3
    linear = model[0](x)
    inner = F.softplus(F.softplus(linear, 10), 10) - 1
    torch.testing.assert_close(model(x), 0.1 * inner + 0.9 * F.softplus(inner, 10))
    with pytest.raises(UnsupportedModelError, match="no activation of Sequential has a sharpness"):
        smoothify.anneal_(nn.Sequential(nn.GELU()), 10.0)
    with pytest.raises(ValueError, match="not positive"):
        smoothify.anneal_(model, 0.0)


def test_the_geometric_schedule_stays_between_its_ends() -> None:
    shares = [geometric(share / 8, start=400, end=4) for share in range(9)]
    assert (shares[0], shares[-1]) == (400, pytest.approx(4))
    assert all(a / b == pytest.approx(100 ** (1 / 8)) for a, b in pairwise(shares))
    assert (geometric(-1, start=400, end=4), geometric(2, start=400, end=4)) == (400, shares[-1])


HOLDERS = {
    "list": lambda: [F.relu],
    "dict": lambda: {0: F.relu},
    "ordered": lambda: OrderedDict({0: F.relu}),
    "nested": lambda: {0: [{"name": (F.relu, 1)}]},
    "module in a tuple": lambda: (nn.ReLU(),),
    "module in a set": lambda: {nn.ReLU()},
    "module in a dict": lambda: {0: nn.Sequential(nn.ReLU())},
}


class Holds(nn.Module):
    def __init__(self, held: Any) -> None:
        super().__init__()
        self.linear, self.held = nn.Linear(4, 4), held

    def forward(self, x: Tensor) -> Tensor:
        function = self.held
        while not callable(function):
            function = next(iter(function.values() if isinstance(function, dict) else function))
        return function(self.linear(x))


@pytest.mark.parametrize("holder", HOLDERS)
def test_annealing_reaches_what_containers_hold(holder: str) -> None:
    x = torch.randn(3, 4)
    model = smoothify.convert(Holds(HOLDERS[holder]()), "swish(beta=1000)", example_input=x)
    assert smoothify.anneal_(model, 1.0) == 1
    torch.testing.assert_close(model(x), F.silu(model.linear(x)))
    assert surgery.conversions(model)[0]["to"] == "swish"


@pytest.mark.parametrize("to", ["swish(beta=1000)", {"relu": "parametric_softplus(alpha=1000)"}])
def test_an_annealed_model_is_saved_as_it_is(to: str | dict[str, str], tmp_path: Path) -> None:
    model = smoothify.convert(
        timm.create_model("test_resnet", num_classes=3), to=to, example_input=torch.rand(1, 3, 64, 64)
    )
    smoothify.anneal_(model, 3.5)
    smoothify.save_pretrained(model, tmp_path / "model")
    loaded = smoothify.from_pretrained(tmp_path / "model")
    assert {sharpness(module) for module in loaded.modules()} == {3.5, None}


def test_so_is_one_whose_leaky_relus_became_smooth(tmp_path: Path) -> None:
    model = timm.create_model("test_resnet", num_classes=3, act_layer="leaky_relu")
    smoothify.convert_(model, to="swish(beta=1000)", example_input=torch.rand(1, 3, 64, 64))
    smoothify.anneal_(model, 3.5)
    assert set(surgery.conversions(model)[0]["sites"].values()) == {"0.01·x + 0.99·swish(beta=3.5)"}
    smoothify.save_pretrained(model, tmp_path / "model")
    assert smoothify.from_pretrained(tmp_path / "model")
