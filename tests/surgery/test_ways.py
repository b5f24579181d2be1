"""Ways through a model that no run has shown: the fused encoder layer, and what checkpoint runs again."""

import functools
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint
from torch.utils.checkpoint import checkpoint as once_more

import smoothify
from smoothify.errors import SmoothifyError, UnconvertedError

from .awkward import Plain

X = torch.linspace(-1, 1, 24).reshape(4, 6)


@pytest.mark.parametrize("activation", [F.relu, nn.ReLU()])
@pytest.mark.parametrize("example", [None, torch.zeros(5, 8)])  # neither takes the fused path
def test_the_fused_path_is_closed_though_no_run_took_it(
    activation: Callable[[Tensor], Tensor], example: Tensor | None
) -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, activation=activation).eval()
    smoothify.convert_(layer, example_input=example)
    x = torch.randn(2, 5, 8, requires_grad=True)
    with torch.no_grad():
        fast = layer(x)
    torch.testing.assert_close(fast, layer(x))
    untouched = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, activation="gelu")
    smoothify.convert_(nn.Sequential(untouched, nn.ReLU()), example_input=example)
    assert untouched.activation_relu_or_gelu == 2


class ByName(Plain):
    """Its call can only be redirected: neither a trace nor the text tells what it is."""

    def forward(self, x: Tensor) -> Tensor:
        return self.again(lambda y: getattr(self.linear(y), "relu" if len(y) else "tanh")(), x)

    def again(self, body: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        raise NotImplementedError


def in_a_helper(body: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    return checkpoint(body, x, use_reentrant=False)


class Helped(ByName):
    again = staticmethod(in_a_helper)


class Partial(ByName):
    again = staticmethod(functools.partial(checkpoint, use_reentrant=False))


class Renamed(Plain):
    on = False

    def forward(self, x: Tensor) -> Tensor:
        def body(y: Tensor) -> Tensor:
            return getattr(self.linear(y), "relu" if len(y) else "tanh")()

        return once_more(body, x, use_reentrant=False) if self.on else body(x)


@pytest.mark.parametrize("cls", [Helped, Partial, Renamed])
def test_a_redirected_call_that_checkpoint_would_run_again_is_refused(cls: type[nn.Module]) -> None:
    model = cls()
    with pytest.raises(UnconvertedError, match="uses checkpoint"):
        smoothify.convert_(model, example_input=X)
    torch.testing.assert_close(model(X), F.relu(model.linear(X)))


class Inner(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return checkpoint(self.body, x, use_reentrant=False)

    def body(self, x: Tensor) -> Tensor:
        return getattr(self.linear(x), "relu" if len(x) else "tanh")()


def test_a_method_that_checkpoint_runs_again_as_a_whole_may_be_redirected() -> None:
    model = Inner()
    assert [site.how for site in smoothify.convert_(model, example_input=X).converted] == ["runtime"]
    x = X.clone().requires_grad_()
    got, expected = (torch.autograd.grad(y.sum(), x)[0] for y in (model(x), F.silu(model.linear(x))))
    torch.testing.assert_close(got, expected)


class Function(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.function = F.relu

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.linear(x))


def test_a_function_in_an_attribute_becomes_what_learns_or_follows_the_mode() -> None:
    learned = smoothify.convert(Function(), "pssilu", example_input=X)
    assert {"smoothify_0.alpha", "smoothify_0.beta"} < set(learned.state_dict())
    dropping = smoothify.convert(Function(), lambda: nn.Sequential(nn.SiLU(), nn.Dropout(0.5)), example_input=X)
    torch.testing.assert_close(dropping.eval()(X), F.silu(dropping.linear(X)))
    assert not torch.equal(dropping.train()(X), dropping(X))


class Branches(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return torch.cond(x.sum() > 0, lambda y: F.relu(self.linear(y)), lambda y: self.linear(y).sin(), (x,))


def test_what_torch_runs_out_of_sight_is_unverified() -> None:
    if not hasattr(TorchDispatchMode, "supports_higher_order_operators"):  # torch 2.8 lets no mode past it
        with pytest.raises(SmoothifyError, match="HOP cond"):
            smoothify.inspect(Branches(), example_input=X)
        return
    report = smoothify.inspect(Branches(), example_input=X)
    assert not report.verified and "cond" in {operation.name for operation in report.unverified}
