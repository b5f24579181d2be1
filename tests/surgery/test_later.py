"""What happens to a model after its conversion: other arguments, other children, new instances, registers."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import smoothify
from smoothify.errors import UnconvertedError, UnsupportedModelError

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


class MayScale(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.add_module("after", None)
        self.register_parameter("scale", None)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.linear(x))
        if self.after is not None:
            x = self.after(x)
        return x if self.scale is None else x * self.scale


LATER = {
    "add_module": lambda model: model.add_module("after", nn.Tanh()),
    "_modules": lambda model: model._modules.update(after=nn.Tanh()),
    "register_parameter": lambda model: model.register_parameter("scale", nn.Parameter(torch.tensor(3.0))),
    "setattr": lambda model: setattr(model, "scale", nn.Parameter(torch.tensor(3.0))),
}


@pytest.mark.parametrize("way", LATER)
def test_what_was_none_and_comes_by_any_way_is_run(way: str) -> None:
    model = MayScale()
    assert smoothify.convert_(model).sites[0].how == "graph"
    before = model(X)
    LATER[way](model)
    torch.testing.assert_close(model(X), before * 3 if model.scale is not None else before.tanh())


class Deleted(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.after = None

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.linear(x))
        return x if self.after is None else self.after(x)


def test_an_attribute_that_is_deleted_and_comes_as_a_child_is_run() -> None:
    model = Deleted()
    smoothify.convert_(model)
    before = model(X)
    del model.after
    model.add_module("after", nn.Tanh())
    torch.testing.assert_close(model(X), before.tanh())


class OfANeighbour(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 6, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.linear(x))
        return x if self.linear.bias is None else x * 2


def test_a_parameter_that_comes_to_a_child_is_seen() -> None:
    model = OfANeighbour()
    smoothify.convert_(model)
    model.linear.bias = nn.Parameter(torch.zeros(6))
    torch.testing.assert_close(model(X), 2 * F.silu(model.linear(X)))


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


class MayBeScaled(Plain):
    """Called with an argument that is None by default: the graph does not cover it."""

    def __init__(self) -> None:
        super().__init__()
        self.activation = nn.ReLU()

    def forward(self, x: Tensor, scale: Tensor | None = None) -> Tensor:
        x = F.relu(self.linear(self.activation(x)))
        return self.activation(F.relu(x if scale is None else x * scale))


class Scaling(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.block = MayBeScaled()

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x, torch.ones(()))


def test_a_graph_that_the_model_passes_by_is_not_what_is_kept() -> None:
    model = Scaling()
    report = smoothify.convert_(model, "smoothrelu", example_input=X)
    shared, *calls = report.converted
    assert "shared by 2 calls" in shared.note and {site.how for site in calls} == {"source"}
    model(X).sum().backward()
    learned = {name: p.grad for name, p in model.named_parameters() if name.endswith("root")}
    assert len(learned) == 3 and all(grad is not None for grad in learned.values())
    torch.testing.assert_close(model(X), model.block(X))


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
    torch.testing.assert_close(model(X, negative_slope=0.5), 0.5 * y + 0.5 * F.silu(y))


class IntoAnother(Plain):
    def forward(self, x: Tensor) -> Tensor:
        result = torch.empty_like(x)
        torch.clamp(self.linear(x).detach(), min=0, out=result)
        return result


def test_a_call_that_writes_into_another_tensor_is_refused() -> None:
    with pytest.raises(UnconvertedError, match="still runs after the conversion"):
        smoothify.convert(IntoAnother(), example_input=X)


class Keeps(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[str, list[Tensor]] = {}

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.linear(x))
        self.kept["features"] = [y]
        return y


class Buffered(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("last", None)

    def forward(self, x: Tensor) -> Tensor:
        self.last = F.relu(self.linear(x))
        return self.last


def normed() -> nn.Module:
    with pytest.warns(FutureWarning, match="weight_norm"):
        return nn.Sequential(nn.utils.weight_norm(nn.Linear(6, 6)), nn.ReLU())


@pytest.mark.parametrize(("build", "path"), [(Keeps, "kept"), (Buffered, "last"), (normed, "0.weight")])
def test_a_tensor_that_is_kept_with_its_graph_is_named_with_what_to_do(build: Any, path: str) -> None:
    model = build()
    model(X)
    with pytest.raises(UnsupportedModelError, match=rf"^{path} of this .* under torch.no_grad\(\), or .* convert_"):
        smoothify.convert(model, example_input=X)
    assert smoothify.find_kink(model, X, length=6.0) is not None  # whose copy is not trained
    with torch.no_grad():
        model(X)
    assert smoothify.inspect(smoothify.convert(model, example_input=X), example_input=X).smooth
    model(X)
    assert smoothify.convert_(model, example_input=X).verified
    assert smoothify.find_kink(model, X, length=6.0) is None
