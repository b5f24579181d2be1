"""A rewritten forward does what the original does besides computing, and asks anew what a trace would keep."""

import copy
import dataclasses
import os
import pickle
from enum import Enum

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import smoothify
from smoothify.errors import UnsupportedModelError
from smoothify.surgery.rewriting import augmented
from smoothify.surgery.rewriting.generated import RECIPE

from .awkward import Plain

X = torch.linspace(-1, 1, 24).reshape(4, 6)


class AddsInPlace(Plain):
    def forward(self, x: Tensor) -> Tensor:
        y = self.linear(x)
        same = y
        y += x
        return F.relu(y) + same


class Multiplies(Plain):
    def forward(self, x: Tensor) -> Tensor:
        y = self.linear(x)
        held, count = [y], x.shape[0]
        before = count
        count *= 2
        y *= count / before
        y **= 2
        return F.relu(y) - held[0] * before


class AddsToABuffer(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("steps", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        steps = self.steps
        steps += 1
        return F.relu(self.linear(x)) * self.steps


class ClampsItsWeight(Plain):
    def forward(self, x: Tensor) -> Tensor:
        self.linear.weight.data = torch.renorm(self.linear.weight.data, 2, 0, 0.5)
        return F.relu(self.linear(x))


class AsksASet(Plain):
    def forward(self, x: Tensor) -> Tensor:
        y = self.linear(x)
        return F.relu(y * 0.5 if x.ndim in {2, 3} else y)


class AsksByName(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.by_size = nn.ModuleDict({"6": nn.Linear(6, 6)})

    def forward(self, x: Tensor) -> Tensor:
        size = str(x.shape[-1])
        return F.relu(self.by_size[size](x) if size in self.by_size else self.linear(x))


class AsksByFormat(AsksByName):
    def forward(self, x: Tensor) -> Tensor:
        size = f"{x.shape[-1]}"
        return F.relu(self.by_size[size](x) if size in self.by_size else self.linear(x))


class LooksUp(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.four = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu({4: self.four}.get(x.shape[0], self.linear)(x))


class IsTheSame(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.nothing = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.linear(x))
        z = self.nothing(y)
        return z + y if z is y else z


class Seeds(Plain):
    def forward(self, x: Tensor) -> Tensor:
        torch.manual_seed(7)
        return F.relu(self.linear(x + torch.randn_like(x)))


class HooksItself(Plain):
    def forward(self, x: Tensor) -> Tensor:
        seen: dict[str, Tensor] = {}
        handle = self.linear.register_forward_hook(lambda module, inputs, output: seen.update(twice=output * 2))
        y = F.relu(self.linear(x))
        handle.remove()
        return seen.get("twice", y) + y


class InPlaceAtTimes(Plain):
    def forward(self, x: Tensor) -> Tensor:
        if len(x) == 0:
            return x
        y = self.linear(x)
        return F.relu(y, inplace=not self.training) + y


class InPlaceTheSecondTime(Plain):
    def forward(self, x: Tensor) -> Tensor:
        for turn in range(3):
            y = self.linear(x)
            x = F.relu(y, inplace=turn == 1) + y
        return x


ALL = [AddsInPlace, Multiplies, AddsToABuffer, ClampsItsWeight, AsksASet, AsksByName, AsksByFormat, LooksUp, IsTheSame]
ALL += [Seeds, HooksItself, InPlaceAtTimes, InPlaceTheSecondTime]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("cls", ALL)
def test_calls_that_stay_what_they_are_change_nothing(cls: type[nn.Module], training: bool) -> None:
    model = cls()
    converted = smoothify.convert(model, {"relu": "relu"}, strict=False, example_input=X)
    assert hasattr(type(converted), RECIPE), "its call was rewritten"
    for _ in range(2):  # what is kept from one call to the next is kept alike
        torch.manual_seed(5)
        expected = copy.deepcopy(model).train(training)(X.clone())
        torch.manual_seed(5)
        assert torch.equal(copy.deepcopy(converted).train(training)(X.clone()), expected)


def test_an_augmented_assignment_stays_in_the_graph() -> None:
    """The residual block that everybody writes: ``out += shortcut``, then ``F.relu(out)``."""
    converted = smoothify.convert(AddsInPlace(), "silu", example_input=X)
    (method,) = getattr(type(converted), RECIPE).methods
    assert method.how == "graph" and "augmented_iadd" in method.code.text
    again = pickle.loads(pickle.dumps(converted))
    assert torch.equal(again(X), converted(X))
    for function in augmented.ALL:
        assert pickle.loads(pickle.dumps(function)) is function


class HasAnArgumentOfThatName(Plain):
    def forward(self, x: Tensor, otherwise: bool = False) -> Tensor:
        return F.relu(self.linear(x)) * (2 if otherwise else 1)


def test_an_argument_may_be_called_otherwise() -> None:
    model = HasAnArgumentOfThatName()
    converted = smoothify.convert(model, {"relu": "relu"}, strict=False, example_input=X)
    (method,) = getattr(type(converted), RECIPE).methods
    assert method.how == "graph" and torch.equal(converted(X, otherwise=True), model(X, otherwise=True))


class SetsOfTheInput(Plain):
    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.linear(x))
        y.tag = "logits"
        return y


class Last:
    seen: Tensor | None = None


class SetsOfAClass(Plain):
    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.linear(x))
        Last.seen = y
        return y


class SetsByName(Plain):
    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.linear(x))
        setattr(Last, "seen", y)  # noqa: B010  # as models do
        return y


def test_what_a_forward_sets_is_set() -> None:
    assert smoothify.convert(SetsOfTheInput(), "silu", example_input=X)(X).tag == "logits"
    for cls in (SetsOfAClass, SetsByName):
        Last.seen = None
        converted = smoothify.convert(cls(), "silu", example_input=X)
        assert Last.seen is None, "nothing of the conversion is left"
        result = converted(X)
        assert Last.seen is result


class FreezesItsNorm(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(6)

    def forward(self, x: Tensor) -> Tensor:
        self.norm.eval()
        self.linear.requires_grad_(False)
        return F.relu(self.norm(self.linear(x)))


def test_a_norm_that_the_forward_freezes_is_frozen_there_and_not_before() -> None:
    model = FreezesItsNorm().train()
    converted = smoothify.convert(model, {"relu": "relu"}, strict=False, example_input=X)
    for one in (model, converted):
        assert one.norm.training and one.linear.weight.requires_grad
    torch.testing.assert_close(converted(X), model(X), rtol=0, atol=0)
    assert not converted.norm.training and not converted.linear.weight.requires_grad
    assert torch.equal(converted.norm.running_mean, torch.zeros(6))


@dataclasses.dataclass
class Doubled:
    value: Tensor

    def __post_init__(self) -> None:
        self.value = self.value * 2


class ReturnsDoubled(Plain):
    def forward(self, x: Tensor) -> Doubled:
        return Doubled(F.relu(self.linear(x)))


def test_a_dataclass_is_made_once() -> None:
    model = ReturnsDoubled()
    converted = smoothify.convert(model, {"relu": "relu"}, strict=False, example_input=X)
    assert torch.equal(converted(X).value, model(X).value)


@torch.inference_mode()
def teacher(x: Tensor) -> Tensor:
    return F.relu(x)


class Teaches(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return teacher(self.linear(x))


def test_a_mode_around_a_helper_stays() -> None:
    converted = smoothify.convert(Teaches(), "silu", example_input=X)
    result = converted(X)
    assert result.is_inference() and not result.requires_grad


class AsksTheEnvironment(Plain):
    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.linear(x))
        return y * 2 if os.environ.get("SMOOTHIFY_TEST_TWICE") else y


def test_the_environment_is_asked_at_every_call(monkeypatch: pytest.MonkeyPatch) -> None:
    model = AsksTheEnvironment()
    converted = smoothify.convert(model, {"relu": "relu"}, strict=False, example_input=X)
    monkeypatch.setenv("SMOOTHIFY_TEST_TWICE", "1")
    assert torch.equal(converted(X), model(X))


class DrawsInNumpy(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.linear(x)) * float(np.random.rand())


def test_a_conversion_leaves_the_next_draws_what_they_were() -> None:
    for model in (DrawsInNumpy(), Seeds()):
        torch.manual_seed(3)
        np.random.seed(3)
        smoothify.convert(model, "silu", example_input=X)
        drawn = torch.rand(1), np.random.rand()
        torch.manual_seed(3)
        np.random.seed(3)
        assert drawn == (torch.rand(1), np.random.rand())


class AsksWhichChild(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.skip: nn.Module = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.linear(x))
        return y if isinstance(self.skip, nn.Identity) else y + self.skip(x)


class HasAChildTwice(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 6)
        self.layers = nn.ModuleList([self.first])

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.layers[0](x))


def test_a_child_that_is_replaced_afterwards_is_heeded() -> None:
    torch.manual_seed(0)
    new = nn.Linear(6, 6)
    asks, twice = AsksWhichChild(), HasAChildTwice()
    for model in (asks, twice):
        converted = smoothify.convert(model, {"relu": "relu"}, strict=False, example_input=X)
        for one in (model, converted):
            if isinstance(one, AsksWhichChild):
                one.skip = new
            else:
                one.layers[0] = new
        assert torch.equal(converted(X), model(X))


class BuildsItsLayer(Plain):
    def forward(self, x: Tensor) -> Tensor:
        if not hasattr(self, "act"):
            self.act = nn.ReLU()
        return self.act(self.linear(x))


def test_a_layer_that_the_first_forward_builds_is_asked_for() -> None:
    model = BuildsItsLayer()
    for look in (smoothify.inspect, smoothify.convert):
        with pytest.raises(
            UnsupportedModelError, match=r"act \(ReLU\): the forward .* builds it .* run the model once"
        ):
            look(model, example_input=X)
    model(X)
    assert smoothify.find_kink(smoothify.convert(model, "silu", example_input=X), X) is None


class Scaled(nn.ReLU):
    def __call__(self, x: Tensor) -> Tensor:
        return 1.5 * super().__call__(x)


def test_a_subclass_that_is_called_in_a_way_of_its_own_keeps_it() -> None:
    model = nn.Sequential(nn.Linear(6, 6), Scaled())
    converted = smoothify.convert(model, "silu", example_input=X)
    assert torch.equal(converted(X), 1.5 * F.silu(model[0](X)))


class IsAStaircase(Plain):
    def forward(self, x: Tensor) -> Tensor:
        y = self.linear(x)
        steps = torch.zeros_like(y, dtype=torch.int32)
        steps.copy_(y * 4)
        return y + steps.float() / 4


def test_what_is_copied_into_whole_numbers_is_no_longer_smooth() -> None:
    report = smoothify.inspect(IsAStaircase(), example_input=X)
    assert [operation.name for operation in report.operations] == ["copy"]


def test_a_conversion_within_autocast() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        report = smoothify.inspect(smoothify.convert(AddsInPlace(), "silu", example_input=X), example_input=X)
        assert torch.is_autocast_enabled("cpu")
    assert report.verified


class Sometimes(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.enabled = True

    def forward(self, x: Tensor) -> Tensor | None:
        return self.linear(x) if self.enabled else None


class AsksWhatAChildReturns(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.aux = Sometimes()

    def forward(self, x: Tensor) -> Tensor:
        y, other = F.relu(self.linear(x)), self.aux(x)
        return y if other is None else y + other


class AsksWhoseGradient(Plain):
    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.linear(x))
        return y * 2 if y.grad_fn is None else y


class Matches(Plain):
    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.linear(x))
        match x.shape:
            case (_, _):
                return y * 2
            case _:
                return y * 3


def test_what_is_asked_of_anything_but_an_argument_is_asked_again() -> None:
    for cls in (AsksWhatAChildReturns, AsksWhoseGradient, Matches):
        model = cls()
        converted = smoothify.convert(model, {"relu": "relu"}, strict=False, example_input=X)
        for one in (model, converted):
            if isinstance(one, AsksWhatAChildReturns):
                one.aux.enabled = False
        assert torch.equal(converted(X), model(X))
        with torch.no_grad():
            assert torch.equal(converted(X), model(X))


class Twofold(nn.Linear):
    def __call__(self, x: Tensor) -> Tensor:
        return 2 * super().__call__(x)


class HasATwofoldChild(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.linear = Twofold(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.linear(x))


class Encodes(Plain):
    def encode(self, x: Tensor) -> Tensor:
        return self.linear(x)


class EncodesThrice(Plain):
    def encode(self, x: Tensor) -> Tensor:
        return self.linear(x) * 3


class HasAnEncoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder: nn.Module = Encodes()

    def pool(self, x: Tensor) -> Tensor:
        return x

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(F.relu(self.encoder.encode(x)))


def test_a_child_is_called_in_its_own_way_and_a_method_is_the_newest_one() -> None:
    model = HasATwofoldChild()
    converted = smoothify.convert(model, {"relu": "relu"}, strict=False, example_input=X)
    assert torch.equal(converted(X), model(X))
    model, other = HasAnEncoder(), EncodesThrice()
    converted = smoothify.convert(model, {"relu": "relu"}, strict=False, example_input=X)
    for one in (model, converted):
        one.encoder = other
        one.pool = lambda x: x + 1
    assert torch.equal(converted(X), model(X))


class InInferenceMode(Plain):
    @torch.inference_mode()
    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.linear(x))


def test_a_mode_around_the_forward_stays() -> None:
    assert smoothify.convert(InInferenceMode(), "silu", example_input=X)(X).is_inference()


class TwoCalls(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.second = nn.Linear(6, 6)

    def forward(self, x: Tensor, scale: float | None = None) -> Tensor:
        y = F.relu(self.linear(x))
        y = F.relu(self.second(y))
        return y if scale is None else y * scale


def test_calls_that_learn_are_told_apart_whatever_the_arguments() -> None:
    converted = smoothify.convert(TwoCalls(), "pssilu", example_input=X)
    assert len([name for name, _ in converted.named_parameters() if name.endswith("alpha")]) == 2
    with torch.no_grad():
        converted.get_parameter("smoothify_1.alpha").fill_(5)
    assert torch.equal(converted(X), converted(X, 1.0))


class Teacher(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.linear(x))


class HasATeacher(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.teacher = [Teacher()]

    def forward(self, x: Tensor) -> Tensor:
        global LAST
        LAST = x  # so that calls can only be redirected
        return F.relu(self.linear(x)) - self.teacher[0](x)


LAST: Tensor | None = None


def test_a_module_in_a_list_that_is_left_out_is_not_redirected() -> None:
    model = HasATeacher()
    converted = smoothify.convert(model, "silu", exclude="teacher[[]0]", strict=False, example_input=X)
    (method,) = getattr(type(converted), RECIPE).methods
    assert method.how == "runtime"
    assert torch.equal(converted(X), F.silu(model.linear(X)) - model.teacher[0](X))


class HasAProperty(Plain):
    @property
    def hidden(self) -> Tensor:
        return F.relu(self.linear(X))

    def forward(self, x: Tensor) -> Tensor:
        return self.hidden + x


def test_a_property_stays_one() -> None:
    converted = smoothify.convert(HasAProperty(), "silu", strict=False, example_input=X)
    assert torch.equal(converted(X), F.silu(converted.linear(X)) + X)


def warming() -> object:
    steps = 0

    def warm(x: Tensor) -> Tensor:
        nonlocal steps
        steps += 1
        return x * steps

    return warm


class WarmsUp(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.warm = warming()

    def forward(self, x: Tensor) -> Tensor:
        return self.warm(F.relu(self.linear(x)))


def test_a_variable_of_the_function_around_goes_on() -> None:
    converted = smoothify.convert(WarmsUp(), "silu", example_input=X)
    first, second = converted(X), converted(X)
    assert not torch.equal(first, second) and bool(first.any())


class IsInPlaceAsSet(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.inplace = True

    def forward(self, x: Tensor) -> Tensor:
        y = self.linear(x)
        return F.relu(y, inplace=self.inplace) + y


def test_in_place_is_asked_at_every_call() -> None:
    model = IsInPlaceAsSet()
    converted = smoothify.convert(model, {"relu": "relu"}, strict=False, example_input=X)
    for inplace in (True, False, True):
        model.inplace = converted.inplace = inplace
        assert torch.equal(converted(X), model(X))


class Kind(int, Enum):
    HALF = 2


class HasAnEnum(Plain):
    def forward(self, x: Tensor, kind: Kind = Kind.HALF) -> dict[Kind, Tensor]:
        return {kind: F.relu(self.linear(x)) / kind.value}


def test_enums_are_passed_on() -> None:
    model = HasAnEnum()
    converted = smoothify.convert(model, {"relu": "relu"}, strict=False, example_input=X)
    assert torch.equal(converted(X)[Kind.HALF], model(X)[Kind.HALF])


class AsksForItsSettings(Plain):
    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.linear(x))
        if torch.are_deterministic_algorithms_enabled():
            y = y * 2
        return y


class GoesThroughItsNames(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleDict({"a": nn.Linear(6, 6), "b": nn.Linear(6, 6)})

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.linear(x))
        for name, part in self.parts.items():
            x = part(x) * len(name)
        return x


def test_settings_and_names_are_asked_at_every_call() -> None:
    model = AsksForItsSettings()
    converted = smoothify.convert(model, {"relu": "relu"}, strict=False, example_input=X)
    torch.use_deterministic_algorithms(True)
    try:
        assert torch.equal(converted(X), model(X))
    finally:
        torch.use_deterministic_algorithms(False)
    named = GoesThroughItsNames()
    converted = smoothify.convert(named, {"relu": "relu"}, strict=False, example_input=X)
    for one in (named, converted):
        one.parts["ccc"] = one.parts.pop("a")
    assert torch.equal(converted(X), named(X))


class KnowsItsSize(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.size = 0

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.linear(x)).reshape(self.size, -1)


def test_an_attribute_that_is_set_at_every_call_costs_one_rewriting() -> None:
    """As Swin's blocks are told their image's height."""
    model = KnowsItsSize()
    model.size = 4
    converted = smoothify.convert(model, "silu", example_input=X)
    converted.size = 4
    (method,) = getattr(type(converted), RECIPE).methods
    assert method.how == "graph", "it is what it was"
    converted.size = 2
    (method,) = getattr(type(converted), RECIPE).methods
    assert method.how == "source" and converted(X).shape == (2, 12)
    rewritten = type(converted)
    converted.size = 8
    assert type(converted) is rewritten and converted(X).shape == (8, 3)


class TwoCallsToRedirect(TwoCalls):
    def forward(self, x: Tensor, scale: float | None = None) -> Tensor:
        global LAST
        LAST = x  # so that calls can only be redirected
        y = F.relu(self.linear(x))
        return F.relu(self.second(y))


def test_calls_that_share_what_they_learn_are_named() -> None:
    report = smoothify.convert_(TwoCallsToRedirect(), "pssilu", example_input=X)
    assert [site.how for site in report.sites] == ["runtime"] * 2
    assert [site.note for site in report.sites] == ["2 calls that are redirected share what it learns"] * 2
