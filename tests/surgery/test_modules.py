"""Module activations: what becomes what, and that nothing else about a model changes."""

import copy
import json

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations, parametrize

import smoothify
from smoothify.errors import SmoothifyError, UnconvertedError, UnknownNameError, UnsupportedModelError
from smoothify.surgery import Rule, conversions, register_rule, replay_, unregister_rule

BECOMES = [
    (nn.ReLU(), "silu", "silu"),
    (nn.ReLU6(), "silu", "silu"),
    (nn.Threshold(0.0, 0.0), "silu", "silu"),
    (nn.LeakyReLU(0.25), "silu", "0.25·x + 0.75·silu"),
    (nn.PReLU(3), "silu", "a·x + (1 − a)·silu"),
    (nn.RReLU(0.25, 0.5), "silu", "a·x + (1 − a)·silu, a in [0.25, 0.5]"),
    (nn.ELU(1.5), "silu", "silu"),
    (nn.ELU(1.5), "celu", "celu(alpha=1.5)"),
    (nn.ELU(1.0), "silu", None),
    (nn.SELU(), "silu", "silu"),
    (nn.SELU(), "celu", "1.0507·celu(alpha=1.6732632423543772)"),
    (nn.Hardswish(), "gelu", "silu"),
    (nn.Hardswish(), {"hardswish": "gelu"}, "gelu"),
    (nn.Hardsigmoid(), "gelu", "sigmoid"),
    (nn.Hardtanh(), "gelu", "tanh"),
    (nn.Hardtanh(0.0, 6.0), "gelu", "gelu"),
    (nn.ReLU6(), {"relu": "mish"}, "mish"),
    (nn.GELU(), "silu", None),
    (nn.Softplus(), "silu", None),
    (nn.Softplus(threshold=1), "silu", "silu"),
]


@pytest.mark.parametrize(("module", "to", "spec"), BECOMES, ids=lambda value: str(value))
def test_what_each_function_becomes(module: nn.Module, to: object, spec: str | None) -> None:
    model = nn.Sequential(nn.Conv2d(3, 3, 1), copy.deepcopy(module))
    (site,) = smoothify.convert_(model, to).sites
    assert (site.path, site.becomes) == ("1", spec)
    assert site.now_smooth
    assert model(torch.randn(2, 3, 4, 4)).shape == (2, 3, 4, 4)


@pytest.mark.parametrize(
    "module", [nn.LeakyReLU(0.25), nn.PReLU(3), nn.RReLU(0.25, 0.5)], ids=lambda module: type(module).__name__
)
def test_sloped_rectifiers_keep_their_slope_and_become_the_original_for_a_rectifier(
    module: nn.Module,
) -> None:
    x = torch.randn(2, 3, 5)
    model = nn.Sequential(copy.deepcopy(module)).eval()
    expected = model(x)
    smoothify.convert_(model, "relu", strict=False)
    torch.testing.assert_close(model(x), expected)


@pytest.mark.parametrize("slopes", [1, 3])
def test_prelu_stays_in_the_precision_of_autocast(slopes: int) -> None:
    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.PReLU(slopes))
    smoothify.convert_(model)
    with torch.autocast("cpu", torch.bfloat16):
        assert model(torch.rand(2, 3, 4, 4)).dtype is torch.bfloat16


def test_prelu_keeps_its_learned_slope_under_the_same_key() -> None:
    model = nn.Sequential(nn.PReLU(3))
    weight = model[0].weight
    smoothify.convert_(model)
    assert model[0].weight is weight
    assert list(model.state_dict()) == ["0.weight"]
    assert type(model[0]).__name__ == "ParametricLeaky"


class TwoParents(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.act = nn.ReLU(inplace=True)
        self.same = self.act
        self.inner = nn.Sequential(nn.Linear(4, 4), self.act)
        self.listed = [self.act]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.listed[0](self.same(self.inner(x)) + 1)


def test_one_instance_under_several_names_stays_one_instance() -> None:
    model = TwoParents()
    (site,) = smoothify.convert_(model).sites
    assert (site.path, site.aliases) == ("act", ("same", "inner.1"))
    assert model.act is model.same is model.inner[1] is model.listed[0]
    assert isinstance(model.act, nn.SiLU)
    assert model.act.inplace


def test_a_root_that_is_itself_an_activation() -> None:
    model = nn.ReLU()
    report = smoothify.convert_(model)
    assert report.sites[0].path == ""
    assert isinstance(model, nn.SiLU)
    assert conversions(model)[0]["sites"] == {"": "silu"}
    assert isinstance(smoothify.convert(nn.ReLU()), nn.SiLU)


class Named(nn.ReLU):
    """A subclass that changes nothing about the function."""

    def __init__(self) -> None:
        super().__init__()
        self.label = "kept"
        self.register_buffer("seen", torch.zeros(1))


class Noisy(nn.ReLU):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sin(x)


def test_a_subclass_follows_its_base_and_keeps_what_is_its_own() -> None:
    model = nn.Sequential(Named())
    smoothify.convert_(model)
    assert isinstance(model[0], nn.SiLU)
    assert model[0].label == "kept"
    assert list(model.state_dict()) == ["0.seen"]


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.act = Noisy()

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return self.act(x + y)


def test_a_subclass_with_its_own_forward_is_never_guessed_but_an_execution_can_decide() -> None:
    report = smoothify.inspect(TwoInputs())
    assert [site.smooth for site in report.sites] == [None]
    assert not report.verified
    assert "forward of its own" in report.sites[0].note
    model = TwoInputs()
    smoothify.convert_(model)
    assert type(model.act) is Noisy
    proven = smoothify.inspect(model, example_input=(torch.zeros(2, 3), torch.zeros(2, 3)))
    assert [site.smooth for site in proven.sites] == [True]
    assert proven.verified


def test_hooks_flags_and_attributes_survive() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
    seen: list[str] = []
    model[1].register_forward_pre_hook(lambda *_: seen.append("pre"))
    handle = model[1].register_forward_hook(lambda *_: seen.append("post"))
    model[1].register_full_backward_hook(lambda *_: seen.append("backward"))
    model[1].tag = "mine"
    model[1].eval()
    smoothify.convert_(model)
    model(torch.randn(2, 3, requires_grad=True)).sum().backward()
    assert seen == ["pre", "post", "backward"]
    assert not model[1].training
    assert model.training
    assert model[1].tag == "mine"
    handle.remove()
    model(torch.randn(2, 3))
    assert seen[3:] == ["pre"]


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_new_parameters_follow_dtype_and_frozen_parameters_stay_frozen(dtype: torch.dtype) -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3)).to(dtype)
    model[0].requires_grad_(False)
    smoothify.convert_(model, lambda: nn.PReLU(), strict=False)
    assert model[1].weight.dtype == dtype
    assert [p.requires_grad for p in model.parameters()] == [False, False, True, True, True]
    assert model(torch.randn(2, 3, dtype=dtype)).dtype == dtype


def test_new_parameters_follow_the_device() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU()).to("meta")
    smoothify.convert_(model, lambda: nn.PReLU(), strict=False)
    assert model[1].weight.device.type == "meta"


def test_parametrized_and_weight_normed_neighbours_are_untouched() -> None:
    model = nn.Sequential(parametrizations.weight_norm(nn.Linear(3, 3)), nn.ReLU())
    keys, before = list(model.state_dict()), model[0](torch.ones(1, 3))
    smoothify.convert_(model)
    assert list(model.state_dict()) == keys
    assert parametrize.is_parametrized(model[0])
    assert torch.equal(model[0](torch.ones(1, 3)), before)


class Doubled(nn.Module):
    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return 2 * weight


def test_a_parametrized_prelu_stays_parametrized() -> None:
    model = nn.Sequential(nn.PReLU(3))
    parametrize.register_parametrization(model[0], "weight", Doubled())
    keys, x = list(model.state_dict()), -torch.ones(1, 3)
    expected = model(x)
    smoothify.convert_(model, "relu", strict=False)
    assert list(model.state_dict()) == keys
    torch.testing.assert_close(model(x), expected)
    assert parametrize.is_parametrized(model[0])


def test_the_copy_is_converted_and_the_original_is_not() -> None:
    model = TwoParents()
    converted = smoothify.convert(model)
    assert isinstance(model.act, nn.ReLU)
    assert isinstance(converted, TwoParents)
    assert converted.act is converted.same


def test_only_exclude_and_replace() -> None:
    def fresh() -> nn.Module:
        return nn.Sequential(nn.ReLU(), nn.Sequential(nn.ReLU(), nn.GELU()), nn.LeakyReLU())

    def changed(**choice: object) -> list[str]:
        return [site.path for site in smoothify.convert_(fresh(), **choice).converted]

    assert changed() == ["0", "1.0", "2"]
    assert changed(only="1.*") == ["1.0"]
    assert changed(exclude=["0", "1.*"]) == ["2"]
    assert changed(only="1") == ["1.0"]
    assert changed(exclude="1") == ["0", "2"]
    assert changed(exclude=[]) == ["0", "1.0", "2"]
    with pytest.raises(ValueError, match="only= is empty"):
        changed(only=[])
    assert changed(replace="all") == ["0", "1.0", "1.1", "2"]
    assert changed(replace={"gelu"}, strict=False) == ["1.1"]
    with pytest.raises(ValueError, match="only='layer9' matches no module of this Sequential"):
        changed(only="layer9")
    with pytest.raises(UnknownNameError, match="did you mean 'relu'"):
        changed(replace={"rellu"})
    with pytest.raises(UnknownNameError, match="did you mean 'silu'"):
        changed(to="sillu")
    with pytest.raises(TypeError, match="a spec such as 'silu'"):
        changed(to=nn.SiLU())
    with pytest.raises(TypeError, match="not a function of tensors"):
        changed(to=F.silu)


def test_what_cannot_be_made_smooth_is_one_error_and_changes_nothing() -> None:
    model = nn.Sequential(nn.ReLU(), nn.Hardtanh(-2.0, 2.0), nn.Softshrink())
    with pytest.raises(UnconvertedError, match=r"(?s)2 activations.*1: hardtanh.*2: softshrink.*strict=False"):
        smoothify.convert_(model)
    assert isinstance(model[0], nn.ReLU)
    assert not conversions(model)
    report = smoothify.convert_(model, strict=False)
    assert [site.path for site in report.remaining] == ["1", "2"]


def test_a_failing_factory_leaves_the_model_as_it_was() -> None:
    built: list[nn.Module] = []

    def second_fails() -> nn.Module:
        if built:
            raise RuntimeError("no more")
        built.append(nn.SiLU())
        return built[0]

    model = nn.Sequential(nn.ReLU(), nn.ReLU())
    with pytest.raises(RuntimeError, match="no more"):
        smoothify.convert_(model, second_fails)
    assert all(isinstance(layer, nn.ReLU) for layer in model)


def test_a_non_smooth_baseline_needs_strict_false_and_says_so() -> None:
    model = nn.Sequential(nn.SiLU())
    with pytest.raises(UnconvertedError, match="becomes relu, which is not smooth"):
        smoothify.convert_(model, "relu", replace="all")
    report = smoothify.convert_(model, "relu", replace="all", strict=False)
    assert not report.smooth
    assert "1 not smooth" in str(report)


@pytest.mark.filterwarnings("ignore:.*torch.jit.*deprecated")
def test_wrapped_and_scripted_models_are_refused_with_the_remedy() -> None:
    scripted = torch.jit.trace(nn.ReLU(), torch.zeros(1))
    with pytest.raises(UnsupportedModelError, match=r"ScriptModule.*convert the eager model"):
        smoothify.inspect(scripted)
    with pytest.raises(UnsupportedModelError, match="'0' is a ScriptModule"):
        smoothify.convert_(nn.Sequential(scripted))
    with pytest.raises(UnsupportedModelError, match=r"DataParallel.*convert first, wrap later"):
        smoothify.convert_(nn.DataParallel(nn.ReLU()))
    compiled = torch.compile(nn.Sequential(nn.ReLU()))
    assert isinstance(smoothify.convert(compiled)[0], nn.SiLU)


def test_reports_are_tables_and_json() -> None:
    report = smoothify.inspect(nn.Sequential(*[nn.ReLU() for _ in range(3)], nn.GELU()))
    assert json.loads(json.dumps(report.to_dict()))["sites"][0]["function"] == "relu"
    assert not report.verified
    assert "* ×3" in str(report)
    assert "not smooth" in str(report)


def test_the_record_replays_on_a_fresh_original_and_survives_a_copy() -> None:
    def fresh() -> nn.Module:
        return nn.Sequential(nn.ReLU(), nn.LeakyReLU(), nn.ReLU6())

    model = fresh()
    smoothify.convert_(model, only="0", strict=False)
    smoothify.convert_(model, {"relu": "mish"})
    record = conversions(copy.deepcopy(model))
    assert json.loads(json.dumps(record)) == list(record)
    again = fresh()
    replay_(again, record)
    assert [type(layer) for layer in again] == [type(layer) for layer in model]
    assert conversions(again) == record
    with pytest.raises(UnconvertedError, match="does not convert as recorded"):
        replay_(nn.Sequential(nn.ReLU(), nn.ReLU(), nn.ReLU6()), record)
    smoothify.convert_(again, nn.GELU, replace="all")
    with pytest.raises(UnconvertedError, match="converted with a factory"):
        replay_(fresh(), conversions(again))


def test_converting_a_smooth_model_changes_and_records_nothing() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.GELU())
    before = dict(model[1].__dict__)
    assert not smoothify.convert_(model).applied
    assert model[1].__dict__ == before
    assert conversions(model) == ()


class Ramp(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * (x > 0)


def test_a_rule_that_builds_no_module_is_told() -> None:
    register_rule(Rule("ramp", lambda found, to: 3, modules=(Ramp,), original=lambda found: "ramp"))  # type: ignore[arg-type, return-value]
    try:
        for to, where in (("silu", "becomes returned int"), ({"ramp": "ramp"}, "original returned str")):
            with pytest.raises(SmoothifyError, match=rf"rule 'ramp': {where}; let it return a torch.nn.Module"):
                smoothify.convert(nn.Sequential(Ramp()), to)
    finally:
        unregister_rule("ramp")


def test_a_registered_rule_is_used_and_overwrites_nothing() -> None:
    rule = register_rule(Rule("ramp", lambda found, to: to.make(found), modules=(Ramp,)))
    try:
        assert isinstance(smoothify.convert(nn.Sequential(Ramp()))[0], nn.SiLU)
        with pytest.raises(ValueError, match="exists already"):
            register_rule(rule)
        with pytest.raises(ValueError, match="belongs to 'relu'"):
            register_rule(Rule("mine", lambda found, to: None, modules=(nn.ReLU,)))
    finally:
        unregister_rule("ramp")
    for name in ("ramp", "squareplus"):  # the second is an activation without a rule of its own
        with pytest.raises(UnknownNameError, match=f"unknown rule '{name}'"):
            unregister_rule(name)


@pytest.mark.parametrize("spec", ["parametric_softplus", "smoothrelu", "smelu", "celu(alpha=1.4)", "swish(beta=2)"])
def test_inspect_sees_what_conversion_put_there(spec: str) -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.LeakyReLU(0.2))
    smoothify.convert_(model, to=spec)
    sites = smoothify.inspect(model).sites
    assert [site.path for site in sites] == ["1", "2.activation"]
    assert all(site.smooth for site in sites)
    assert {site.function for site in sites} == {spec}
