"""Calls inside forward methods: every awkward model, every way of rewriting, nothing else changed."""

import copy
import io
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrize

import smoothify
from smoothify.errors import UnconvertedError, UnsupportedModelError
from smoothify.surgery import conversions, replay_

from . import awkward

IDENTITY = {
    name: name
    for name in (
        "relu",
        "relu6",
        "clamp",
        "leaky_relu",
        "prelu",
        "elu",
        "selu",
        "hardtanh",
        "hardswish",
        "hardsigmoid",
        "maximum",
    )
}
WAYS = {
    "Functional": {"graph"},
    "ReadsTraining": {"graph"},
    "OptionalMask": {"graph"},
    "Loop": {"graph"},
    "DataDependent": {"source"},
    "TypeDependent": {"source"},
    "Random": {"source"},
    "Helper": {"source"},
    "HelperInPlace": {"source"},
    "HelperOfHelper": {"source"},
    "RecursiveHelper": {"source"},
    "SuperInSource": {"source"},
    "NoGradBranch": {"source"},
    "AutocastInside": {"source"},
    "LambdaUnderVmap": {"source"},
    "Mangled": {"source"},
    "CalledByName": {"runtime"},
    "TwoPRelus": {"module"},
    "PartialAttribute": {"attribute"},
    "UnregisteredModule": {"attribute"},
}


def build(name: str) -> nn.Module:
    torch.manual_seed(0)
    return awkward.MODELS[name]()


def outputs(model: nn.Module, training: bool) -> tuple[torch.Tensor, ...]:
    torch.manual_seed(1)
    x = torch.randn(4, 6, requires_grad=True)
    y = model.train(training)(x)
    y.sum().backward()
    gradients = [tensor.grad for tensor in (x, *model.parameters()) if tensor.grad is not None]
    model.zero_grad()
    return y, *gradients


@pytest.mark.parametrize("name", awkward.MODELS)
def test_no_kink_is_left_and_the_way_is_the_expected_one(name: str) -> None:
    model = build(name)
    keys = list(model.state_dict())
    report = smoothify.convert_(model)
    assert report.smooth
    assert report.modes == ("train", "eval")
    assert list(model.state_dict()) == keys
    assert type(model).__name__ == type(build(name)).__name__
    assert isinstance(model, type(build(name)))
    if name in WAYS:
        assert {site.how for site in report.converted} == WAYS[name]
    assert not smoothify.inspect(model).remaining


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad=True")
@pytest.mark.parametrize("name", awkward.MODELS)
@pytest.mark.parametrize("training", [True, False])
def test_identity_surgery_changes_no_bit(name: str, training: bool) -> None:
    model = build(name)
    same = smoothify.convert(model, IDENTITY, replace=set(IDENTITY), strict=False)
    for expected, got in zip(outputs(model, training), outputs(same, training), strict=True):
        assert torch.equal(expected, got)


@pytest.mark.parametrize("name", [name for name in awkward.MODELS if name != "LambdaAttribute"])
def test_copies_and_pickles_compute_the_same(name: str) -> None:
    model = smoothify.convert(build(name))
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    others = (
        copy.deepcopy(model),
        pickle.loads(pickle.dumps(model)),
        torch.load(file, weights_only=False),
    )
    for other in others:
        assert type(other).__name__ == type(model).__name__
        for expected, got in zip(outputs(model, False), outputs(other, False), strict=True):
            assert torch.equal(expected, got)


def test_optional_arguments_take_the_way_that_bakes_nothing_in() -> None:
    model = build("OptionalMask")
    smooth = smoothify.convert(model)
    x, mask = torch.randn(4, 6), torch.rand(4, 6)
    expected = F.silu(model.linear(x))
    torch.testing.assert_close(smooth(x), expected)
    torch.testing.assert_close(smooth(x, mask), expected * mask)
    torch.testing.assert_close(smooth(x, scale=2.0, mask=mask), expected * 2 * mask)


def test_setting_an_attribute_that_the_trace_has_read_traces_anew() -> None:
    model = smoothify.convert(build("DropoutAfterRelu"))
    x = torch.randn(4, 6)
    model.p = 0.0
    torch.testing.assert_close(model(x), F.silu(model.linear(x)))
    assert not smoothify.inspect(model).remaining
    model.p = 1.0
    assert not model(x).any()


def test_hand_written_rectifiers_are_unverified_and_never_called_smooth() -> None:
    for cls in (awkward.HandWritten, awkward.Where):
        report = smoothify.convert_(cls())
        assert not report.verified
        assert [operation.name for operation in report.unverified] == ["gt"]
        assert "unverified" in str(report)


def test_functional_call_compile_and_export_agree_with_eager() -> None:
    model = smoothify.convert(build("ReadsTraining")).eval()
    x = torch.randn(4, 6)
    state = {name: value * 2 for name, value in model.state_dict().items()}
    doubled = copy.deepcopy(model)
    doubled.load_state_dict(state)
    assert torch.equal(torch.func.functional_call(model, state, (x,)), doubled(x))
    exported = torch.export.export(model, (x,)).module()
    torch.testing.assert_close(exported(x), model(x))


@pytest.mark.parametrize(
    "name", ["ReadsTraining", "DataDependent", "Helper", "HelperInPlace", "Mangled", "ClampMinInPlace", "OptionalMask"]
)
def test_compiled_agrees_with_eager_for_every_way(name: str) -> None:
    model = smoothify.convert(build(name))
    torch._dynamo.reset()
    graph = name in ("ReadsTraining", "ClampMinInPlace", "OptionalMask")
    compiled = torch.compile(model, backend="eager", fullgraph=graph)
    x = torch.randn(4, 6)
    for training in (True, False):
        model.train(training)
        torch.testing.assert_close(compiled(x), model(x))


@pytest.mark.filterwarnings("ignore:.*torch.jit.*deprecated")
def test_jit_trace_takes_a_converted_model() -> None:
    model = smoothify.convert(build("Functional")).eval()
    x = torch.randn(4, 6)
    traced = torch.jit.trace(model, x)
    torch.testing.assert_close(traced(x), model(x))


def test_a_record_of_calls_replays_and_learned_calls_get_one_activation_each() -> None:
    model = awkward.CifarBlock(functional=True)
    smoothify.convert_(model, "smoothrelu")
    learned = [key for key in model.state_dict() if key.startswith("smoothify_")]
    assert len(learned) == 2
    again = awkward.CifarBlock(functional=True)
    replay_(again, conversions(model))
    again.load_state_dict(model.state_dict())
    x = torch.randn(2, 6)
    assert torch.equal(again(x), model(x))


def test_a_model_converted_twice_works_and_travels() -> None:
    model = build("HardSwish")
    smoothify.convert_(model, replace={"hardswish"}, strict=False)
    report = smoothify.convert_(model)
    assert {site.function for site in report.converted} == {"hardsigmoid", "relu6"}
    other = pickle.loads(pickle.dumps(model))
    x = torch.randn(4, 6)
    expected = F.silu(model.linear(x)) * torch.sigmoid(x) + F.silu(x)
    torch.testing.assert_close(model(x), expected)
    torch.testing.assert_close(other(x), expected)


class Everywhere(nn.Module):
    """A shape that changes a rectifier into something that no rule knows."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.hardshrink(F.relu(x))


def test_a_call_without_a_rule_is_an_error_and_everything_is_put_back() -> None:
    model = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), Everywhere())
    with pytest.raises(UnconvertedError, match=r"2 at test_calls.py:\d+: hardshrink"):
        smoothify.convert_(model)
    assert isinstance(model[1], nn.ReLU)
    assert "forward" not in vars(type(model[2])) or type(model[2]) is Everywhere
    report = smoothify.convert_(model, strict=False)
    assert [site.function for site in report.remaining] == ["hardshrink"]


def test_only_globs_reach_calls() -> None:
    model = nn.Sequential(awkward.Functional(), awkward.Functional())
    report = smoothify.convert_(model, only="1")
    assert [site.path for site in report.converted] == ["1"]
    assert [site.path for site in report.remaining] == ["0"]
    assert type(model[0]) is awkward.Functional


def test_the_fused_encoder_layer_runs_what_it_is_told() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    model = nn.Sequential(layer).eval()
    x = torch.randn(2, 5, 8)
    report = smoothify.convert_(model, example_input=x)
    assert report.smooth
    assert layer.activation_relu_or_gelu == 0
    with torch.no_grad():
        fast = model(x)
    torch.testing.assert_close(fast, model(x))
    gelu = nn.Sequential(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, activation="gelu"))
    assert not smoothify.convert_(gelu, example_input=x).applied


class Blocks(nn.Module):
    """Two blocks that share one activation across parents, each calling it twice."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = awkward.CifarBlock(False), awkward.CifarBlock(False)
        self.b.relu = self.a.relu

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.b(self.a(x))


def test_a_shared_learnable_activation_becomes_one_for_each_call() -> None:
    torch.manual_seed(0)
    for model, calls in ((awkward.CifarBlock(False), 2), (Blocks(), 4)):
        original = copy.deepcopy(model)
        report = smoothify.convert_(model, "smoothrelu")
        assert report.smooth
        learned = {id(p) for p in model.parameters()} - {id(m) for m in original.parameters()}
        assert len(learned) - len(list(original.parameters())) == calls
        x = torch.randn(4, 6)
        torch.testing.assert_close(model(x), original(x), atol=0.2, rtol=0)
        model(x).sum().backward()
        assert all(parameter.grad is not None for parameter in model.parameters())
        again = copy.deepcopy(original)
        replay_(again, conversions(model))
        assert list(again.state_dict()) == list(model.state_dict())


@pytest.mark.parametrize("name", ["BasicBlock", "Bottleneck"])
def test_torchvision_blocks_learn_one_activation_for_each_call(name: str) -> None:
    resnet = pytest.importorskip("torchvision.models.resnet")
    block = getattr(resnet, name)(8 * (4 if name == "Bottleneck" else 1), 8)
    calls = {"BasicBlock": 2, "Bottleneck": 3}[name]
    before = len(list(block.parameters()))
    smoothify.convert_(block, "smoothrelu", example_input=torch.randn(2, 32 if calls == 3 else 8, 4, 4))
    assert len(list(block.parameters())) == before + calls
    assert [name for name, _ in block.named_children()][-calls + 1 :] == [
        f"smoothify_{number}" for number in range(calls - 1)
    ]


def test_a_rewritten_module_trains_under_ddp(tmp_path: Path) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        model = smoothify.convert(build("DropoutAfterRelu"), "smoothrelu")
        wrapped = nn.parallel.DistributedDataParallel(model)
        wrapped(torch.randn(4, 6)).sum().backward()
        assert all(parameter.grad is not None for parameter in model.parameters())
        with pytest.raises(UnsupportedModelError, match="DistributedDataParallel"):
            smoothify.convert_(wrapped)
    finally:
        torch.distributed.destroy_process_group()


def test_a_compiled_child_is_converted_inside_and_runs_compiled() -> None:
    torch._dynamo.reset()
    child = torch.compile(awkward.Functional(), backend="eager")
    model = nn.Sequential(nn.Linear(6, 6), child, nn.ReLU())
    x = torch.randn(4, 6)
    with torch.no_grad():  # of a tensor that is no leaf, dynamo reads .grad and torch warns
        model(x)
    report = smoothify.convert_(model)
    assert report.verified
    assert {site.path for site in report.converted} == {"1._orig_mod", "2"}
    with torch.no_grad():
        torch.testing.assert_close(model(x), F.silu(F.silu(child.linear(model[0](x)))))


class Temperature(awkward.Plain):
    def forward(self, x: torch.Tensor, temperature: float = 1.0, times: int = 2) -> torch.Tensor:
        return F.relu(self.linear(x)) / temperature * times


def test_a_tensor_in_the_place_of_a_default_is_used_and_learned() -> None:
    model = Temperature()
    smooth = smoothify.convert(model)
    x, learned = torch.randn(4, 6), torch.tensor(1.0, requires_grad=True)
    smooth(x, learned).sum().backward()
    expected = F.silu(model.linear(x)) * 2
    torch.testing.assert_close(learned.grad, -expected.sum())
    torch.testing.assert_close(smooth(x, torch.ones(6)), expected)
    torch.testing.assert_close(smooth(x, times=torch.tensor(2)), expected)


class SharedByAnother(nn.Module):
    def __init__(this) -> None:  # noqa: N805  # what this is about
        super().__init__()
        this.linear, this.act = nn.Linear(6, 6), nn.ReLU()

    def forward(this, x: torch.Tensor) -> torch.Tensor:  # noqa: N805  # as above
        return this.act(this.linear(this.act(x)))


def test_whatever_a_method_calls_its_module_a_shared_activation_is_split() -> None:
    model = SharedByAnother()
    for example in (torch.randn(4, 6), None):
        smooth = smoothify.convert(model, "smoothrelu", example_input=example)
        assert [key for key in smooth.state_dict() if key.endswith("root")] == ["act.root", "smoothify_0.root"]
        torch.testing.assert_close(smooth(torch.ones(4, 6)), model(torch.ones(4, 6)), atol=0.2, rtol=0)


class RandomSlope(awkward.Plain):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.rrelu(self.linear(x), training=self.training) + F.rrelu(x)


class RandomSlopeBranch(awkward.Plain):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.rrelu(self.linear(x), 0.2, 0.4, training=self.training) if x.shape[0] else x


@pytest.mark.parametrize("cls", [RandomSlope, RandomSlopeBranch])
@pytest.mark.parametrize("built_in", [True, False])
def test_a_random_slope_is_drawn_in_training_only(cls: type[nn.Module], built_in: bool) -> None:
    model = smoothify.convert(cls().train(built_in))
    assert not smoothify.inspect(model).remaining
    x = torch.randn(4, 6)
    assert not torch.equal(model.train()(x), model(x))
    assert torch.equal(model.eval()(x), model(x))
    slope = 0.3 if cls is RandomSlopeBranch else (1 / 8 + 1 / 3) / 2
    smooth = [slope * y + (1 - slope) * F.silu(y) for y in (model.linear(x), x)]
    torch.testing.assert_close(model(x), smooth[0] if cls is RandomSlopeBranch else sum(smooth))


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.tensor(1.5))
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.dropout(x * torch.sigmoid(self.scale * x))


class Wavering(Scaled):
    def __init__(self) -> None:
        super().__init__()
        del self.scale
        self.scale = 1.5


@pytest.mark.parametrize("factory", [Scaled, Wavering])
def test_what_a_factory_builds_for_a_call_follows_its_model(factory: type[nn.Module]) -> None:
    model = smoothify.convert(build("Functional"), factory, strict=False)
    assert ("smoothify_0.scale" in model.state_dict()) is (factory is Scaled)
    x = torch.randn(4, 6, dtype=torch.float64)
    model.double().eval()
    y = model.linear(x)
    torch.testing.assert_close(model(x), y * torch.sigmoid(1.5 * y))


class NonNegative(nn.Module):
    """Its weight is non-negative by an activation; the data passes another one."""

    def __init__(self, how: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.how, self.kept = how, []
        self.weight = nn.Parameter(torch.randn(6, 6))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.how == "source":
            self.kept.append(1)
        if self.how == "overwritten":
            with torch.no_grad():
                return F.relu(self.weight.detach().copy_(x[:1].expand(6, 6)))
        if self.how == "one line":
            return F.linear(F.relu(x), F.relu(self.weight))
        weight = F.relu(self.weight.t())
        return F.relu(F.linear(x, weight))


class NonNegativeRedirected(NonNegative):
    """Its ``forward`` sets a global variable, so that neither its graph nor its source is rewritten."""

    def __init__(self) -> None:
        super().__init__("runtime")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        global LATEST
        LATEST = type(self).__name__
        weight = F.relu(self.weight)
        return F.relu(F.linear(x, weight))


@pytest.mark.parametrize("how", ["graph", "source"])
def test_an_activation_of_a_weight_alone_is_left_and_reported(how: str) -> None:
    model, x = NonNegative(how), torch.randn(3, 6)
    assert not smoothify.inspect(model, example_input=x).smooth
    report = smoothify.convert_(model, example_input=x)
    assert report.verified and "kept: a function of a weight alone" in str(report)
    assert [(site.how, site.becomes) for site in report.converted] == [(how, "silu")]
    torch.testing.assert_close(model(x), F.silu(F.linear(x, F.relu(model.weight.t()))))
    again = smoothify.inspect(model, example_input=x)
    assert again.smooth and [site.function for site in again.sites if site.note.startswith("kept")] == ["relu"]
    assert smoothify.find_kink(model, x[:1], length=6.0) is None


@pytest.mark.parametrize("build", [lambda: NonNegative("one line"), NonNegativeRedirected], ids=["line", "runtime"])
def test_an_activation_of_a_weight_that_cannot_be_told_from_others_is_refused(build: Callable[[], nn.Module]) -> None:
    model, x = build(), torch.randn(3, 6)
    assert not smoothify.inspect(model, example_input=x).smooth
    before = model(x)
    with pytest.raises(UnconvertedError, match=r"a function of a weight alone, cannot be told .* give it a line"):
        smoothify.convert_(model, example_input=x)
    assert torch.equal(model(x), before)


def test_a_parameter_that_the_input_was_written_over_is_no_weight_alone() -> None:
    model, x = NonNegative("overwritten"), torch.randn(3, 6)
    assert not smoothify.inspect(model, example_input=x).smooth
    report = smoothify.convert_(model, example_input=x)
    assert report.smooth and report.converted and "kept" not in str(report)


def test_activations_that_parametrize_a_weight_are_left_where_they_do_nothing_else() -> None:
    positive, shared = nn.Sequential(nn.ReLU(), nn.Softplus()), nn.ReLU()
    model = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6), shared)
    parametrize.register_parametrization(model[0], "weight", positive)
    parametrize.register_parametrization(model[1], "weight", shared)
    report = smoothify.convert_(model, "mish", replace="all", example_input=torch.randn(3, 6))
    assert report.verified and [site.path for site in report.converted] == ["1.parametrizations.weight.0"]
    assert isinstance(positive[0], nn.ReLU) and isinstance(positive[1], nn.Softplus)
    assert isinstance(shared, smoothify.activations.Mish) and bool((model[0].weight >= 0).all())
