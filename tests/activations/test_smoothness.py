"""The claimed smoothness order, found numerically: no jump below it, and a jump right above a finite one."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from smoothify import activations

SPECS = ["elu(alpha=1.4)", "celu(alpha=1.4)", "smelu(beta=0.3)", "smoothrelu(alpha=7)", "swish(beta=8)"]


def derivative(spec: str, order: int, x: Tensor) -> Tensor:
    module = activations.create(spec).double()
    x = x.clone().requires_grad_()
    y = module(x)
    for _ in range(order):
        if not y.requires_grad:
            return torch.zeros_like(x)
        (y,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    return y.detach()


def largest_jump(spec: str, order: int) -> float:
    """Halve each piece of [-3, 3] towards the greater difference down to 1e-11; what stays is a jump."""
    edges = torch.linspace(-3.0017, 3.0031, 601, dtype=torch.float64)
    low, high = edges[:-1], edges[1:]
    at_low, at_high = derivative(spec, order, low), derivative(spec, order, high)
    while (high - low).max() > 1e-11:
        middle = (low + high) / 2
        at_middle = derivative(spec, order, middle)
        left = (at_middle - at_low).abs() > (at_high - at_middle).abs()
        low, at_low = torch.where(left, low, middle), torch.where(left, at_low, at_middle)
        high, at_high = torch.where(left, middle, high), torch.where(left, at_middle, at_high)
    return float((at_high - at_low).abs().max())


@pytest.mark.parametrize("order", [0, 1, 2])
def test_derivatives_up_to_the_order_are_continuous(name: str, order: int) -> None:
    if order <= activations.smoothness(name):
        assert largest_jump(name, order) < 1e-6


@pytest.mark.parametrize("order", [1, 2, 3])
def test_derivatives_at_zero_are_their_limits(name: str, order: int) -> None:
    if order <= activations.smoothness(name):
        around, at = (derivative(name, order, torch.tensor(x, dtype=torch.float64)) for x in ([-1e-9, 1e-9], [0.0]))
        torch.testing.assert_close(around, at.expand(2), rtol=1e-6, atol=1e-6)


def test_the_derivative_after_a_finite_order_jumps(name: str) -> None:
    order = activations.smoothness(name)
    if order < math.inf:
        assert largest_jump(name, int(order) + 1) > 0.1


@pytest.mark.parametrize("spec", SPECS)
def test_other_parameters_keep_to_their_order(spec: str) -> None:
    order = activations.smoothness(spec)
    for below in range(min(int(min(order, 2)), 2) + 1):
        assert largest_jump(spec, below) < 1e-6
    if order < math.inf:
        assert largest_jump(spec, int(order) + 1) > 0.1


def test_the_papers_case_study() -> None:
    assert [activations.is_smooth(f"elu(alpha={alpha})") for alpha in (1.0, 1.2, 2.0)] == [True, False, False]
    assert all(activations.is_smooth(f"celu(alpha={alpha})") for alpha in (1.0, 1.2, 2.0))
    assert not activations.is_smooth("celu(alpha=0)"), "torch divides by alpha"
    assert [name for name in activations.names() if not activations.is_smooth(name)] == ["relu"]
