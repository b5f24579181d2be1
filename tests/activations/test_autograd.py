"""Derivatives of every order and in every mode that autograd has, in x and in what is learned."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, jvp, vmap

from smoothify import activations
from smoothify.activations import functional
from smoothify.activations.paths import BLOCK, SMALL, kernel_path
from tests.activations.references import exact, grid

# torch's own forward-mode decompositions still use what torch deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:FutureWarning")


def points() -> Tensor:
    """Either side of every bend, and of SmoothReLU's series, but on no knot."""
    return torch.tensor([-2.3, -0.7, -0.011, -2e-3, 1.3e-3, 0.004, 0.31, 0.9, 2.1], dtype=torch.float64)


def as_function(name: str) -> tuple[Callable[..., Tensor], list[Tensor]]:
    module = activations.create(name).double()
    keys = [key for key, _ in module.named_parameters()]
    tensors = [parameter.detach().clone().requires_grad_() for parameter in module.parameters()]

    def function(x: Tensor, *parameters: Tensor) -> Tensor:
        return functional_call(module, dict(zip(keys, parameters, strict=True)), (x,))

    return function, tensors


def test_first_derivatives(name: str) -> None:
    function, parameters = as_function(name)
    batched = name not in ("elu", "celu")  # torch's in-place elu_ has no batching rule for forward mode
    inputs = (points().requires_grad_(), *parameters)
    assert torch.autograd.gradcheck(
        function,
        inputs,
        eps=1e-7,
        check_forward_ad=True,
        check_batched_grad=True,
        check_batched_forward_grad=batched,
    )


def test_second_derivatives(name: str) -> None:
    function, parameters = as_function(name)
    x = torch.cat([points(), torch.zeros(1).double()]) if activations.smoothness(name) >= 2 else points()
    inputs = (x.requires_grad_(), *parameters)
    assert torch.autograd.gradgradcheck(function, inputs, eps=1e-7, check_fwd_over_rev=True, check_rev_over_rev=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_second_derivatives_at_zero(name: str, dtype: torch.dtype) -> None:
    if activations.smoothness(name) < 2:
        pytest.skip("0 may be a knot")
    expected = exact(name)[2][grid() == 0][:1].to(dtype)
    module = activations.create(name).to(dtype).requires_grad_(False)
    x, one = torch.zeros(1, dtype=dtype, requires_grad=True), torch.ones(1, dtype=dtype)
    (slope,) = torch.autograd.grad(module(x), x, one, create_graph=True)
    torch.testing.assert_close(torch.autograd.grad(slope, x, one)[0], expected)
    torch.testing.assert_close(hessian(lambda v: module(v).sum())(x.detach())[0], expected)
    torch.testing.assert_close(jvp(grad(lambda v: module(v).sum()), (x.detach(),), (one,))[1], expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_second_derivatives_in_half_precision_are_numbers(name: str, dtype: torch.dtype) -> None:
    x = torch.linspace(-8, 8, 65).to(dtype).requires_grad_()
    (slope,) = torch.autograd.grad(activations.create(name).to(dtype)(x).sum(), x, create_graph=True)
    if slope.requires_grad:
        (second,) = torch.autograd.grad(slope.sum(), x)
        assert torch.isfinite(second).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_a_dead_smelu_has_no_second_derivative(dtype: torch.dtype) -> None:
    x = torch.tensor([-3, -1, 0, 0.5, 2], dtype=dtype, requires_grad=True)
    (slope,) = torch.autograd.grad(functional.smelu(x).sum(), x, create_graph=True)
    assert torch.autograd.grad(slope.sum(), x)[0].tolist() == pytest.approx([0, 0, 0.5, 0.5, 0], rel=1e-3)


def test_transforms_agree_with_plain_autograd(name: str) -> None:
    module = activations.create(name).double().requires_grad_(False)
    x = points()
    leaf = x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(module(leaf).sum(), leaf, create_graph=True)
    torch.testing.assert_close(jacrev(module)(x).diagonal(), expected.detach())
    torch.testing.assert_close(jacfwd(module)(x).diagonal(), expected.detach())
    torch.testing.assert_close(jvp(module, (x,), (torch.ones_like(x),))[1], expected.detach())
    torch.testing.assert_close(vmap(module, in_dims=1, out_dims=1)(x.reshape(3, 3)), module(x.reshape(3, 3)))
    if expected.requires_grad:
        (second,) = torch.autograd.grad(expected.sum(), leaf)
        torch.testing.assert_close(hessian(lambda v: module(v).sum())(x).diagonal(), second)


def test_batched_gradients_of_large_tensors_are_those_of_each(name: str) -> None:
    module = activations.create(name)
    x = torch.randn(SMALL, requires_grad=True)
    y, wanted = module(x), (x, *module.parameters())
    gradients = torch.randn(2, SMALL)
    expected = [torch.autograd.grad(y, wanted, each, retain_graph=True) for each in gradients]

    def pulled(gradient: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad(y, wanted, gradient, retain_graph=True)

    batched = torch.autograd.grad(y, wanted, gradients, retain_graph=True, is_grads_batched=True)
    for got in (batched, vmap(pulled)(gradients)):
        for together, apart in zip(got, zip(*expected, strict=True), strict=True):
            torch.testing.assert_close(together, torch.stack(apart), rtol=1e-4, atol=1e-4)


def test_a_second_forward_derivative_is_refused_where_torch_would_make_it_zero() -> None:
    x = torch.tensor([-1.0, 0.3])
    for derivative in (jacfwd(jacfwd(functional.smelu)), jacrev(jacfwd(jacfwd(functional.smelu)))):
        with pytest.raises(RuntimeError, match=r"use torch.func.hessian, or jacfwd of jacrev"):
            derivative(x)
    assert jacfwd(jacrev(functional.smelu))(x).any()


@pytest.mark.parametrize("ensemble", ["smoothrelu", "pssilu", "hermite"])
def test_an_ensemble_of_learned_activations_is_one_vmap(ensemble: str) -> None:
    members = [activations.create(ensemble).double() for _ in range(3)]
    with torch.no_grad():
        for count, member in enumerate(members):
            for parameter in member.parameters():
                parameter.mul_(1 + count / 10)
    stacked = {
        key: torch.stack([member.get_parameter(key).detach() for member in members]).requires_grad_()
        for key, _ in members[0].named_parameters()
    }
    x = points().reshape(3, 3)
    together = vmap(lambda state, v: functional_call(members[0], state, (v,)), in_dims=(0, None))(stacked, x)
    apart = torch.stack([member(x) for member in members])
    torch.testing.assert_close(together, apart)
    weights = torch.randn_like(apart)
    got = torch.autograd.grad((together * weights).sum(), list(stacked.values()))
    (apart * weights).sum().backward()
    for key, gradient in zip(stacked, got, strict=True):
        torch.testing.assert_close(gradient, torch.stack([member.get_parameter(key).grad for member in members]))


def test_alpha_per_channel_by_broadcasting() -> None:
    x = torch.randn(2, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    alpha = torch.tensor([5.0, 50.0, 500.0], dtype=torch.float64).reshape(3, 1, 1).requires_grad_()
    assert torch.autograd.gradcheck(functional.smoothrelu, (x, alpha))


@pytest.mark.parametrize("path", ["plain", "compiled"])
def test_learned_gradients_agree_with_float64(path: str) -> None:
    x = torch.randn(BLOCK + 17)
    gradient = torch.randn_like(x)
    with kernel_path(path):
        module = activations.create("smoothrelu")
        module(x).backward(gradient)
    exact = activations.create("smoothrelu").double()
    with kernel_path("plain"):
        exact(x.double()).backward(gradient.double())
    torch.testing.assert_close(module.root.grad.double(), exact.root.grad, rtol=1e-5, atol=0)


def test_alpha_stays_positive_under_any_step() -> None:
    module = activations.create("smoothrelu")
    for value in (0.0, -3.0, 1e-30):
        with torch.no_grad():
            module.root.fill_(value)
        y = module(torch.linspace(-1, 1, 5).requires_grad_())
        assert module.alpha > 0 and torch.isfinite(y).all()
        (gradient,) = torch.autograd.grad(y.sum(), module.root)
        assert torch.isfinite(gradient)


@pytest.mark.parametrize("value", [0.995, 1.0, 40.0])
def test_pssilu_stays_itself_under_any_step(value: float) -> None:
    module = activations.create("pssilu(beta=0.5)")
    with torch.no_grad():
        module.beta.fill_(value)
    x = torch.linspace(-40, 40, 5).requires_grad_()
    y = module(x)
    assert torch.isfinite(y).all() and y[-1] > 0, "far to the right it still rises"
    assert all(torch.isfinite(gradient).all() for gradient in torch.autograd.grad(y.sum(), (x, module.beta)))


def test_what_is_learned_is_listed_for_the_optimizer() -> None:
    model = nn.Sequential(
        nn.Linear(2, 2), activations.create("smoothrelu"), nn.Sequential(activations.create("pssilu"))
    )
    assert list(activations.learned_parameters(model)) == ["1.root", "2.0.alpha", "2.0.beta"]
