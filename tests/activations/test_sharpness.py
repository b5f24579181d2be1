"""Sharpness moves an activation towards ReLU and back."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from smoothify import activations
from smoothify.activations import set_sharpness_, sharpness

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
