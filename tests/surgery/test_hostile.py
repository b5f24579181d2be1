"""Models that work against surgery: nothing may go unseen; what cannot be done is said, and everything put back."""

import copy
import importlib
import warnings
from types import MethodType

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import smoothify
from smoothify.errors import UnconvertedError, UnsupportedModelError, UnverifiedWarning
from smoothify.surgery.rules.base import Rule, register_rule, unregister_rule

from . import awkward

X = torch.linspace(-1, 1, 24).reshape(4, 6)


@pytest.mark.parametrize("bound", [True, False])
@pytest.mark.parametrize("inner", [True, False])
def test_a_forward_that_somebody_put_on_an_instance_is_seen_and_redirected(bound: bool, inner: bool) -> None:
    foreign = awkward.with_foreign_forward(bound)
    model = nn.Sequential(foreign) if inner else foreign
    assert [site.path for site in smoothify.inspect(model, example_input=X).remaining] == ["0" if inner else ""]
    report = smoothify.convert_(model, example_input=X)
    assert [(site.path, site.how) for site in report.converted] == [("0" if inner else "", "runtime")]
    assert report.verified
    assert torch.equal(model(X), F.silu(foreign.linear(X)))
    compiled = torch.compile(model, backend="eager")
    assert torch.equal(compiled(X), model(X))


@pytest.mark.parametrize("cls", [nn.ReLU, nn.SiLU, nn.GELU])
def test_an_activation_with_a_forward_of_its_own_is_not_taken_for_its_class(cls: type[nn.Module]) -> None:
    model = nn.Sequential(nn.Linear(6, 6), cls())
    model[1].forward = MethodType(lambda module, x: F.relu(x) * 1.5, model[1])
    assert [site.smooth for site in smoothify.inspect(model, example_input=X).sites if site.kind == "call"] == [False]
    assert smoothify.convert_(model, example_input=X).verified
    torch.testing.assert_close(model(X), F.silu(model[0](X)) * 1.5)


class Whole(nn.Module):
    """A rule knows the whole, so that nothing inside it is looked at."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = type("Inner", (nn.ReLU,), {"forward": lambda module, x: F.hardshrink(x)})()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x)


def test_what_was_not_looked_into_is_not_called_smooth() -> None:
    register_rule(Rule("whole", becomes=lambda found, to: to.make(found), modules=(Whole,)))
    try:
        sites = smoothify.inspect(nn.Sequential(Whole()), example_input=X).sites
    finally:
        unregister_rule("whole")
    assert {site.path: site.smooth for site in sites} == {"0": False, "0.inner": None}


def test_a_forward_on_an_instance_comes_back_where_conversion_fails() -> None:
    foreign = awkward.with_foreign_forward(True)
    model = nn.Sequential(foreign, nn.Softshrink())
    forward = foreign.forward
    with pytest.raises(UnconvertedError, match="softshrink"):
        smoothify.convert_(model, example_input=X)
    assert foreign.forward is forward


def test_a_function_with_its_own_backward_is_reported_and_left_alone() -> None:
    model = awkward.CallsOwnBackward()
    with pytest.raises(UnconvertedError, match="whose backward is its own"):
        smoothify.convert_(model)
    report = smoothify.convert_(model, strict=False)
    assert not report.converted
    assert [site.function for site in report.remaining] == ["clamp(min=0)"]


def test_a_model_that_would_not_run_any_more_is_put_back() -> None:
    model = awkward.AsksItsType()
    for strict in (True, False):
        with pytest.raises(UnconvertedError, match="runs as it is, and not with its calls rewritten"):
            smoothify.convert_(model, strict=strict)
    assert type(model) is awkward.AsksItsType
    assert model(X).shape == (4, 6)


def test_a_generator_is_run_to_its_end() -> None:
    class Yields(awkward.Plain):
        def forward(self, x: torch.Tensor):  # a generator of tensors
            yield F.relu(self.linear(x))

    model = Yields()
    report = smoothify.convert_(model, example_input=X)
    assert [site.function for site in report.converted] == ["relu"]
    assert torch.equal(next(model(X)), F.silu(model.linear(X)))


def test_attributes_outside_dict_are_there_in_the_probe() -> None:
    model = awkward.Slotted()
    smoothify.convert_(model)
    assert torch.equal(model(X), F.silu(model.linear(X)) * 3)


def test_hooks_are_not_run_and_the_report_says_so() -> None:
    model = nn.Sequential(nn.Linear(6, 6), nn.ReLU())
    model[0].register_forward_hook(lambda module, args, output: F.relu(output))
    assert "the forward hooks of 0 were not run" in str(smoothify.convert_(model))


def test_a_hook_on_a_module_that_is_held_unregistered_is_said_too() -> None:
    model = awkward.Plain()
    model.held = [nn.Tanh()]
    model.held[0].register_forward_hook(lambda module, args, output: F.relu(output))
    model.forward = MethodType(lambda module, x: module.held[0](module.linear(x)), model)
    report = smoothify.inspect(model, example_input=X)
    assert not report.verified and "the forward hooks of held[0] were not run" in report.verdict


@pytest.mark.parametrize("frozen", [False, True])
def test_a_forward_that_keeps_the_weights_of_the_original_in_a_copy_is_doubted(frozen: bool) -> None:
    model = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 2)).requires_grad_(not frozen)
    model[0].forward = lambda x, original=model[0].forward: F.relu(original(x))
    with pytest.warns(UnverifiedWarning, match="computes with a weight that is none of this model"):
        copied = smoothify.convert(model, example_input=X)
    assert not smoothify.inspect(copied, example_input=X).verified
    assert smoothify.convert_(model, example_input=X).verified


def test_quantised_and_lazy_models_are_refused_with_the_remedy() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantised = torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(6, 6), nn.ReLU()), {nn.Linear})
    with pytest.raises(UnsupportedModelError, match=r"'0' is quantised .*convert the float model first"):
        smoothify.convert_(quantised)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        lazy = nn.Sequential(nn.LazyLinear(6), nn.ReLU())
    with pytest.raises(UnsupportedModelError, match=r"'0' is lazy .*run it once"):
        smoothify.inspect(lazy)


def test_a_copy_and_its_original_share_nothing_afterwards() -> None:
    model = awkward.Functional()
    smooth = smoothify.convert(model)
    other = copy.deepcopy(smooth)
    with torch.no_grad():
        smooth.linear.weight.zero_()
    assert torch.equal(other(X), F.silu(model.linear(X)))
    assert torch.equal(model(X), F.relu(model.linear(X)))


def test_the_wrappers_are_known_by_the_names_that_torch_gives_them() -> None:
    from smoothify.surgery.recognition.edges import WRAPPERS

    for name in WRAPPERS:
        module, _, attribute = name.rpartition(".")
        wrapper = getattr(importlib.import_module(module), attribute)
        assert f"{wrapper.__module__}.{wrapper.__qualname__}" == name


class Wraps(nn.Module):
    """Complex numbers, a dictionary as the result, and a parameter that two sites share."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 6)
        self.second.weight = self.first.weight

    def __getattr__(self, name: str) -> object:
        return "anything" if name == "unknown" else super().__getattr__(name)

    @property
    def relu(self) -> object:
        return F.relu

    def forward(self, x: torch.Tensor) -> dict[str, object]:
        z = torch.complex(self.relu(self.first(x)), self.relu(self.second(x)))
        return {"logits": z.real * z.imag, "name": self.unknown}


def test_properties_complex_numbers_and_results_of_any_kind() -> None:
    model = Wraps()
    report = smoothify.convert_(model, example_input=X)
    assert report.verified
    expected = F.silu(model.first(X)) * F.silu(model.second(X))
    torch.testing.assert_close(model(X)["logits"], expected)
