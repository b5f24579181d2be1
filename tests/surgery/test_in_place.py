"""In-place activations: what was written over its input stays so, unless nobody can tell."""

import copy
import functools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import smoothify
from smoothify.surgery.rules.composites import InPlace

X = torch.linspace(-2, 2, 24).reshape(4, 6)


class Body(nn.Module):
    """Two linear layers, and something that is done in place between them."""

    def __init__(self, act: object = None) -> None:
        super().__init__()
        self.linear, self.last, self.act = nn.Linear(6, 6), nn.Linear(6, 6), act


class Dropped(Body):
    def forward(self, x: Tensor) -> Tensor:
        x = self.linear(x)
        self.act(x)
        return self.last(x)


class Residual(Body):
    def forward(self, x: Tensor) -> Tensor:
        x = self.linear(x)
        return self.last(self.act(x)) + x


class ResidualCall(Body):
    def forward(self, x: Tensor) -> Tensor:
        x = self.linear(x)
        y = F.relu(x, inplace=True)
        return self.last(y) + x


class ResidualBranch(Body):
    def forward(self, x: Tensor) -> Tensor:
        x = self.linear(x)
        y = F.relu(x, inplace=x.shape[0] > 0)
        return self.last(y) + x if y.shape[0] else y


class Slice(Body):
    def forward(self, x: Tensor) -> Tensor:
        x = self.linear(x)
        x[:, :2].relu_()
        return x


class View(Body):
    def forward(self, x: Tensor) -> Tensor:
        x = self.linear(x)
        x.view(-1).relu_()
        return x


class Kept(Body):
    def forward(self, x: Tensor) -> Tensor:
        self.seen = self.linear(x)
        return self.last(self.act(self.seen))


class Both(Body):
    def forward(self, x: Tensor) -> Tensor:
        x = self.linear(x)
        y = F.relu(self.last(x), inplace=True)
        return F.relu(x) + x + y


class Chained(Body):
    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.act(self.linear(x)))


def relu() -> nn.Module:
    return nn.ReLU(inplace=True)


MODELS = {
    "dropped": lambda: Dropped(relu()),
    "residual": lambda: Residual(relu()),
    "a function": lambda: Dropped(F.relu_),
    "a partial": lambda: Residual(functools.partial(F.relu, inplace=True)),
    "a call": ResidualCall,
    "a call in a branch": ResidualBranch,
    "a slice": Slice,
    "a view": View,
    "an attribute": lambda: Kept(relu()),
    "in place and not": Both,
}


@pytest.mark.parametrize("name", MODELS)
def test_a_target_without_an_in_place_form_does_what_one_with_it_does(name: str) -> None:
    model = MODELS[name]()
    with_form, without = (smoothify.convert(model, to, example_input=X) for to in ("silu", "swish"))
    copied = copy.deepcopy(without)
    torch.testing.assert_close(without(X), with_form(X))
    torch.testing.assert_close(getattr(without, "seen", None), getattr(with_form, "seen", None))
    torch.testing.assert_close(copied(X), without(X))
    inputs = X.clone().requires_grad_()
    without(inputs).sum().backward()
    (expected,) = torch.autograd.grad(with_form(inputs).sum(), inputs)
    torch.testing.assert_close(inputs.grad, expected)
    assert not [site for site in smoothify.inspect(without, example_input=X).sites if not site.smooth]


def test_in_place_and_not_do_not_share_an_activation() -> None:
    model = Both()
    smooth = smoothify.convert(model, "silu", example_input=X)
    x = model.linear(X)
    torch.testing.assert_close(smooth(X), F.silu(x) + x + F.silu(model.last(x)))


def test_where_nobody_reads_the_input_nothing_is_copied() -> None:
    model = Chained(relu())
    assert type(smoothify.convert(model, "gelu", example_input=X).act) is nn.GELU
    resnet = pytest.importorskip("timm").create_model("test_resnet")
    activations = [m for m in smoothify.convert(resnet, "gelu").modules() if isinstance(m, (nn.GELU, InPlace))]
    assert activations and all(type(activation) is nn.GELU for activation in activations)


def test_torchvision_blocks_copy_nothing() -> None:
    models = pytest.importorskip("torchvision.models")
    smooth = smoothify.convert(models.resnet18(), "gelu")
    assert not [module for module in smooth.modules() if isinstance(module, InPlace)]


def test_without_a_run_that_shows_it_the_input_is_written_over() -> None:
    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.act = relu()

        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            self.act(x)
            return x + y

    model = Pair()
    smoothify.convert_(model, "gelu")
    torch.testing.assert_close(model(X.clone(), X), F.gelu(X) + X)
    assert smoothify.inspect(model, example_input=(X, X)).verified


def test_a_shared_learned_activation_writes_over_its_input_at_every_call() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear, self.act = nn.Linear(6, 6), relu()

        def forward(self, x: Tensor) -> Tensor:
            x = self.linear(x)
            self.act(x)
            y = self.linear(x)
            self.act(y)
            return y

    model = Twice()
    smooth = smoothify.convert(model, "smoothrelu", example_input=X)
    assert len([key for key in smooth.state_dict() if key.endswith("root")]) == 2
    torch.testing.assert_close(smooth(X), model(X), atol=0.2, rtol=0)
    assert (smooth(X) >= 0).all()
