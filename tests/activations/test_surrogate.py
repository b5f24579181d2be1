"""ReLU forward, another derivative backward, for whichever pass asks for it."""

from __future__ import annotations

import copy
import io

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from smoothify import activations
from smoothify.activations import SurrogateGradients, refuse_without_relu, surrogate_gradients
from smoothify.errors import SmoothifyError, SpecError, UnknownNameError, UnsupportedModelError

SOFTPLUS = "parametric_softplus"

CALLS = {
    "module": nn.ReLU(),
    "module in place": nn.ReLU(inplace=True),
    "function": F.relu,
    "function in place": lambda x: F.relu(x, inplace=True),
    "torch": torch.relu,
    "torch in place": torch.relu_,
    "method": Tensor.relu,
    "method in place": Tensor.relu_,
    "keyword": lambda x: F.relu(input=x),
}


def slopes(function, x: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[no-untyped-def]
    leaf = x.clone().requires_grad_()
    y = function(leaf * 1)
    return y.detach(), torch.autograd.grad(y.sum(), leaf)[0]


@pytest.mark.parametrize("call", CALLS)
def test_value_of_relu_and_slope_of_eq_3(call: str) -> None:
    x = torch.linspace(-1, 1, 21)
    with surrogate_gradients(SOFTPLUS):
        value, slope = slopes(CALLS[call], x)
    assert torch.equal(value, torch.relu(x))
    torch.testing.assert_close(slope, torch.sigmoid(10 * x))
    assert torch.equal(slopes(CALLS[call], x)[1], (x > 0).float())


def test_any_entry_can_be_the_surrogate(name: str) -> None:
    x = torch.linspace(-2, 2, 9)
    with surrogate_gradients(name):
        value, slope = slopes(torch.relu, x)
    assert torch.equal(value, torch.relu(x))
    torch.testing.assert_close(slope, slopes(activations.create(name), x)[1])


def test_in_place_really_writes_in_place() -> None:
    x = torch.linspace(-1, 1, 5).requires_grad_() * 1
    with surrogate_gradients("silu"):
        y = F.relu(x, inplace=True)
    assert y is x and (x >= 0).all()


def test_the_four_rows_of_table_1_are_four_configurations() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2), nn.ReLU(inplace=True), nn.Linear(2, 1))
    x = torch.randn(5, 3, requires_grad=True)

    def gradients(configuration: SurrogateGradients) -> tuple[Tensor, Tensor]:
        with configuration.during("attacker"):
            (attack,) = torch.autograd.grad(model(x).sum(), x)
        with configuration.during("optimizer"):
            (update,) = torch.autograd.grad(model(x).sum(), model[0].weight)
        return attack, update

    plain_attack, plain_update = gradients(SurrogateGradients())
    both_attack, both_update = gradients(SurrogateGradients(SOFTPLUS, SOFTPLUS))
    assert not torch.equal(plain_attack, both_attack) and not torch.equal(plain_update, both_update)
    attack, update = gradients(SurrogateGradients(attacker=SOFTPLUS))
    assert torch.equal(attack, both_attack) and torch.equal(update, plain_update)
    attack, update = gradients(SurrogateGradients(optimizer=SOFTPLUS))
    assert torch.equal(attack, plain_attack) and torch.equal(update, both_update)


def test_nothing_is_left_in_the_model() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU())
    before = copy.deepcopy(model.state_dict())
    with surrogate_gradients(SOFTPLUS):
        model(torch.randn(2, 3)).sum().backward()
    buffer = io.BytesIO()
    torch.save(model, buffer)
    assert b"smoothify" not in buffer.getvalue()
    assert list(model.state_dict()) == list(before) and type(model[1]) is nn.ReLU
    program = torch.export.export(model, (torch.randn(2, 3),))
    assert "relu" in str(program.graph) and "exp" not in str(program.graph)


def test_forward_inside_backward_outside() -> None:
    x = torch.tensor([0.1], requires_grad=True)
    with surrogate_gradients(SOFTPLUS):
        y = torch.relu(x)
    assert torch.autograd.grad(y, x)[0] == torch.sigmoid(torch.tensor([1.0]))


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:FutureWarning")
def test_higher_orders_and_transforms() -> None:
    x = torch.tensor([-0.3, 0.2, 0.4], dtype=torch.float64, requires_grad=True)
    with surrogate_gradients(SOFTPLUS):
        (first,) = torch.autograd.grad(torch.relu(x).sum(), x, create_graph=True)
        (second,) = torch.autograd.grad(first.sum(), x)
        wanted = torch.sigmoid(10 * x)
        torch.testing.assert_close(second, 10 * wanted * (1 - wanted))
        torch.testing.assert_close(torch.func.jacrev(torch.relu)(x.detach()).diagonal(), wanted.detach())
        torch.testing.assert_close(
            torch.func.jvp(torch.relu, (x.detach(),), (torch.ones(3).double(),))[1], wanted.detach()
        )
        y = F.relu(x * 1, inplace=True)
        (first,) = torch.autograd.grad(y.sum(), x, retain_graph=True)
        with pytest.raises(NotImplementedError, match="inplace=False"):
            torch.autograd.grad(y.sum(), x, create_graph=True)


@pytest.mark.parametrize("inplace", [False, True])
def test_compiled_models_see_it(inplace: bool) -> None:
    torch.compiler.reset()
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(inplace=inplace), nn.Linear(4, 1))
    compiled = torch.compile(model, backend="aot_eager")
    x = torch.randn(6, 3, requires_grad=True)
    for spec in (None, SOFTPLUS, None):
        with surrogate_gradients(spec):
            wanted = torch.autograd.grad(model(x).sum(), x)
            torch.testing.assert_close(torch.autograd.grad(compiled(x).sum(), x), wanted)


def test_wrong_specs_are_refused_when_configured() -> None:
    with pytest.raises(UnknownNameError, match="did you mean"):
        SurrogateGradients(attacker="softplusx")
    with pytest.raises(SpecError):
        SurrogateGradients(optimizer="celu(beta=1)")


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("reentrant", [False, True])
def test_what_a_checkpoint_would_run_again_as_a_plain_relu_is_refused(inplace: bool, reentrant: bool) -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(inplace), nn.Linear(4, 1))
    images = torch.randn(5, 3, requires_grad=True)
    with surrogate_gradients(SOFTPLUS), pytest.raises(SmoothifyError, match="turn checkpointing off"):
        checkpoint(model, images, use_reentrant=reentrant)
    checkpoint(model, images, use_reentrant=reentrant).sum().backward()


def test_a_checkpointed_model_is_evaluated_under_a_surrogate() -> None:
    model, images = nn.Sequential(nn.Linear(3, 4), nn.ReLU()), torch.randn(5, 3)
    with torch.no_grad(), surrogate_gradients(SOFTPLUS):
        assert torch.equal(checkpoint(model, images, use_reentrant=False), model(images))


@pytest.mark.parametrize("compiled", [False, True])
def test_a_model_without_a_relu_is_told(compiled: bool) -> None:
    def model(activation: nn.Module) -> nn.Module:
        built = nn.Sequential(nn.Linear(3, 4), activation)
        return torch.compile(built, backend="eager") if compiled else built

    refuse_without_relu(model(nn.ReLU()), torch.randn(1, 3), SOFTPLUS)
    for activation in (nn.ReLU6(), activations.create("silu")):
        with pytest.raises(UnsupportedModelError, match="runs no ReLU; leave it out"):
            refuse_without_relu(model(activation), torch.randn(1, 3), SOFTPLUS)
