"""What happens to a model after its conversion: other arguments, other children, new instances, registers."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import smoothify
from smoothify.errors import UnconvertedError

from .awkward import Functional, Loop, Plain

X = torch.linspace(-1, 1, 24).reshape(4, 6)


class NoneOrTrue(Plain):
    def forward(self, x: Tensor, factor: Any) -> Tensor:
        y = F.relu(self.linear(x))
        if factor is None or factor is True:
            return y * 3
        return y * factor


@pytest.mark.parametrize("other", [None, True])
def test_an_argument_that_is_no_tensor_any_more_takes_its_own_way(other: bool | None) -> None:
    model = NoneOrTrue()
    report = smoothify.convert_(model, example_input=(X, X))
    assert [site.how for site in report.converted] == ["graph"]
    torch.testing.assert_close(model(X, other), 3 * F.silu(model.linear(X)))
    torch.testing.assert_close(model(X, X), X * F.silu(model.linear(X)))


def test_layers_that_are_added_or_taken_away_are_run_or_not() -> None:
    model = Loop()
    assert [site.how for site in smoothify.convert_(model).converted] == ["graph"]
    for change in (lambda: model.layers.append(nn.Linear(6, 6)), lambda: model.layers.__delitem__(slice(0, 2))):
        change()
        expected = X
        for layer in model.layers:
            expected = F.silu(layer(expected))
        torch.testing.assert_close(model(X), expected)


class Optional(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.shortcut = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.linear(x))
        return y if self.shortcut is None else y + self.shortcut(x)


@pytest.mark.parametrize("at_first", [True, False])
def test_a_child_that_is_taken_away_or_comes_is_noticed(at_first: bool) -> None:
    model = Optional()
    shortcut = model.shortcut
    if not at_first:
        model.shortcut = None
    assert [site.how for site in smoothify.convert_(model).converted] == ["graph"]
    for child in (None, shortcut, None):
        model.shortcut = child
        expected = F.silu(model.linear(X)) + (child(X) if child else 0)
        torch.testing.assert_close(model(X), expected)


class Twice(Optional):
    def __init__(self) -> None:
        super().__init__()
        self.activation, self.p = nn.ReLU(), 0.0

    def forward(self, x: Tensor) -> Tensor:
        y = self.activation(F.dropout(self.activation(self.linear(x)), self.p, self.training))
        return y if self.shortcut is None else y + self.shortcut(x)


def test_a_shared_activation_that_was_split_stays_so() -> None:
    model = Twice()
    smoothify.convert_(model, "pssilu", example_input=X)
    nn.init.constant_(model.get_parameter("smoothify_0.alpha"), 2.5)
    expected = model(X)
    model.p = 0.5
    torch.testing.assert_close(model.eval()(X), expected)
    shortcut, model.shortcut = model.shortcut(X), None
    torch.testing.assert_close(model(X) + shortcut, expected)


activation = "a variable of this module, called as an attribute is"


class Wavering(Twice):
    def forward(self, x: Tensor) -> Tensor:
        y = self.activation(self.activation(self.linear(x)))
        return y if len(x) > 1 else y * 2


def test_a_shared_activation_that_stays_shared_is_noted() -> None:
    (site,) = smoothify.convert_(Wavering(), "pssilu", example_input=X).converted
    assert "one learned activation is shared by 2 calls" in site.note


class Auxiliary(Plain):
    def forward(self, x: Tensor) -> Tensor | None:
        return self.linear(x) if self.training else None


class WithAuxiliary(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.auxiliary = Auxiliary()

    def forward(self, x: Tensor) -> Any:
        y = F.relu(self.linear(x))
        other = self.auxiliary(x)
        return y if other is None else (y, other)


def test_a_child_that_returns_nothing_in_eval_mode_is_asked() -> None:
    model = WithAuxiliary()
    assert smoothify.convert_(model, example_input=X).verified
    assert isinstance(model(X), tuple)
    torch.testing.assert_close(model.eval()(X), F.silu(model.linear(X)))


class Named(Plain):
    def run(self, x: Tensor) -> Tensor:
        return F.relu(self.linear(x))

    forward = run


def test_one_method_under_two_names_is_rewritten_under_both() -> None:
    model = smoothify.convert(Named(), example_input=X)
    torch.testing.assert_close(model(X), F.silu(model.linear(X)))
    torch.testing.assert_close(model.run(X), F.silu(model.linear(X)))


class Clones(Functional):
    def __init__(self, width: int = 6) -> None:
        super().__init__()
        self.width = width

    def clone(self) -> "Clones":
        return type(self)(self.width)


def test_an_instance_that_its_class_makes_anew_is_an_original() -> None:
    model = smoothify.convert(Clones())
    made = model.clone()
    assert type(made) is Clones
    torch.testing.assert_close(made(X), F.relu(made.linear(X)))
    assert not smoothify.inspect(model).remaining


class Registered(Plain):
    known: tuple[type, ...] = ()

    def __init_subclass__(cls, *, key: str) -> None:
        Registered.known = (*Registered.known, cls)


class Entry(Registered, key="entry"):
    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.linear(x))


def test_a_register_of_subclasses_hears_nothing_of_a_conversion() -> None:
    model = smoothify.convert(Entry(), example_input=X)
    assert isinstance(model, Entry) and Registered.known == (Entry,)
    torch.testing.assert_close(model(X), F.silu(model.linear(X)))


class Unpacks(Plain):
    def forward(self, x: Tensor, **options: Any) -> Tensor:
        return F.leaky_relu(self.linear(x), **options)


def test_arguments_that_are_unpacked_are_read_at_every_call() -> None:
    model = smoothify.convert(Unpacks(), example_input=X)
    y = model.linear(X)
    torch.testing.assert_close(model(X), 0.01 * y + 0.99 * F.silu(y))
    torch.testing.assert_close(model(X, negative_slope=0.5), F.leaky_relu(y, 0.5))


class IntoAnother(Plain):
    def forward(self, x: Tensor) -> Tensor:
        result = torch.empty_like(x)
        torch.clamp(self.linear(x).detach(), min=0, out=result)
        return result


def test_a_call_that_writes_into_another_tensor_is_refused() -> None:
    with pytest.raises(UnconvertedError, match="still runs after the conversion"):
        smoothify.convert(IntoAnother(), example_input=X)
