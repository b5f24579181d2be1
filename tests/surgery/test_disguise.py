"""Rectifiers that go by another name, operations that are smooth for some arguments only, and what is said of them."""

import threading
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import smoothify
from smoothify.errors import UnconvertedError, UnverifiedWarning

from .awkward import Functional, Plain

X = torch.linspace(-1, 1, 24).reshape(4, 6)
ZERO, ONES = torch.zeros(()), torch.ones(6, dtype=torch.bool)


class Zeros(Plain):
    def forward(self, x: Tensor) -> Tensor:
        x = self.linear(x)
        return torch.maximum(x, torch.zeros_like(x))


class Reversed(Plain):
    def forward(self, x: Tensor) -> Tensor:
        x = self.linear(x)
        return torch.max(x.new_zeros(6), x)


class Constant(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return torch.max(self.linear(x), torch.tensor(0.0))


class Global(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return torch.max(self.linear(x), ZERO)


@pytest.mark.parametrize("cls", [Zeros, Reversed, Constant, Global])
def test_the_maximum_with_zero_is_a_relu(cls: type[nn.Module]) -> None:
    model = cls()
    assert [site.function for site in smoothify.inspect(model, example_input=X).remaining] == ["maximum"]
    assert smoothify.convert_(model, example_input=X).verified
    torch.testing.assert_close(model(X), F.silu(model.linear(X)))


class AtLeast(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return torch.maximum(self.linear(x), torch.full((6,), 1e-6))


class Filled(Plain):
    def forward(self, x: Tensor) -> Tensor:
        bound = torch.zeros(6)
        bound[0] = float(x.shape[0])
        return torch.maximum(self.linear(x), bound)


def test_the_maximum_with_another_constant_is_none_and_with_an_unknown_one_unverified() -> None:
    report = smoothify.inspect(AtLeast(), example_input=X)
    assert report.verified and [operation.name for operation in report.operations] == ["maximum"]
    assert [operation.name for operation in smoothify.inspect(Filled(), example_input=X).unverified] == ["maximum"]


class Clamped(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x).clamp(min=torch.tensor(0.0))


class Absolute(Plain):
    def forward(self, x: Tensor) -> Tensor:
        x = self.linear(x)
        return (x + x.abs()) / 2


class Positive(Plain):
    def forward(self, x: Tensor) -> Tensor:
        x = self.linear(x)
        return x - x.clamp(max=0)


class Smaller(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return -torch.minimum(-self.linear(x), torch.zeros(()))


class Slope(Plain):
    def forward(self, x: Tensor) -> Tensor:
        x = self.linear(x)
        return F.relu(x) + 0.1 * (x - x.abs())


class Boxed(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return self.toolbox(x)

    def toolbox(self, x: Tensor) -> Tensor:
        return self.linear(x).clamp(min=0)


def test_rectifiers_that_cannot_be_rewritten_are_refused_and_a_name_exempts_nothing() -> None:
    for cls in (Clamped, Absolute, Positive, Smaller, Slope):
        with pytest.raises(UnconvertedError, match="still runs after the conversion"):
            smoothify.convert_(cls(), example_input=X)
        assert smoothify.inspect(cls(), example_input=X).remaining
    assert [site.function for site in smoothify.convert_(Boxed(), example_input=X).converted] == ["clamp(min=0)"]


class Unbounded(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return torch.fmax(self.linear(x), torch.zeros(())) + self.linear(x).clamp(0, float("inf"))


class Pooled(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return F.lp_pool1d(self.linear(x), 2.0, 2)  # takes a ReLU of |x|


def test_a_clamp_without_an_upper_bound_and_fmax_are_relus_and_the_relu_of_an_absolute_is_none() -> None:
    model = Unbounded()
    assert smoothify.convert_(model, example_input=X).verified
    torch.testing.assert_close(model(X), 2 * F.silu(model.linear(X)))
    report = smoothify.convert_(Pooled(), example_input=X)
    assert not report.applied and {operation.name for operation in report.operations} == {"sign", "abs"}


class Bounds(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.linspace(-1, 1, 6))

    def forward(self, x: Tensor) -> Tensor:
        x = self.linear(x).clamp(min=0)
        return x * self.scale.clamp(min=0)


class OneLine(Bounds):
    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x).clamp(min=0) * self.scale.clamp(min=0)


class Redirected(Bounds):
    def forward(self, x: Tensor) -> Tensor:
        x = getattr(self.linear(x), "clamp" if len(x) else "relu")(min=0)
        return x * self.scale.clamp(min=0)


def test_a_clamp_of_something_else_than_activations_stays_or_the_model_is_refused() -> None:
    model = Bounds()
    assert smoothify.convert_(model, example_input=X).verified
    torch.testing.assert_close(model(X), F.silu(model.linear(X)) * model.scale.clamp(min=0))
    for cls in (OneLine, Redirected):
        model = cls()
        with pytest.raises(UnconvertedError, match=r"a clamp of something else.*exclude="):
            smoothify.convert_(model, example_input=X)
        torch.testing.assert_close(model(X), F.relu(model.linear(X)) * model.scale.clamp(min=0))


class Steps(Plain):
    def forward(self, x: Tensor) -> Tensor:
        x = self.linear(x)
        return x - x.long()


class Masks(Plain):
    def forward(self, x: Tensor) -> Tensor:
        x = self.linear(x)
        return x * x.bool()


def test_a_cast_to_whole_numbers_is_no_smooth_operation() -> None:
    assert [operation.name for operation in smoothify.inspect(Steps(), example_input=X).operations] == ["_to_copy"]
    assert [operation.name for operation in smoothify.inspect(Masks(), example_input=X).unverified] == ["_to_copy"]


class Masked(Plain):
    def forward(self, x: Tensor) -> Tensor:
        x = self.linear(x)
        return x * (x > 0)


def test_what_nobody_knows_to_be_smooth_comes_with_a_warning_that_says_why() -> None:
    with pytest.warns(UnverifiedWarning, match=r"Masked: \(the model itself\) at test_disguise.py:\d+: gt"):
        smoothify.convert(Masked(), example_input=X)
    hooked = Functional()
    hooked.linear.register_forward_hook(lambda module, args, output: F.relu(output))
    with pytest.warns(UnverifiedWarning, match="the forward hooks of linear were not run"):
        smooth = smoothify.convert(hooked, example_input=X)
    assert not smoothify.inspect(smooth, example_input=X).verified
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        smoothify.convert(nn.Sequential(nn.ReLU(), nn.ReLU()), only="0", example_input=X)


def test_hooks_that_torch_puts_on_weights_leave_no_doubt() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        linear = torch.nn.utils.spectral_norm(nn.Linear(6, 6))
    assert smoothify.inspect(nn.Sequential(linear, nn.SiLU()), example_input=X).verified


JUDGED = {
    "a norm": (lambda x: torch.linalg.vector_norm(x, dim=1), True),
    "the sum of magnitudes": (lambda x: torch.linalg.vector_norm(x, ord=1, dim=1), False),
    "the largest magnitude": (lambda x: torch.norm(x, p=float("inf"), dim=1), False),
    "distances": (lambda x: torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist"), True),
    "distances along the axes": (lambda x: torch.cdist(x, x, p=1), False),
    "a sum of parts": (lambda x: x.scatter_reduce(1, torch.zeros(4, 6, dtype=torch.int64), x, "sum"), True),
    "a maximum of parts": (lambda x: x.scatter_reduce(1, torch.zeros(4, 6, dtype=torch.int64), x, "amax"), False),
    "a logit": (lambda x: torch.logit(x.sigmoid()), True),
    "a clamped logit": (lambda x: torch.logit(x.sigmoid(), eps=1e-3), False),
    "a quotient": (lambda x: x.div(0.25), True),
    "a quotient that is rounded": (lambda x: torch.div(x, 0.25, rounding_mode="floor"), False),
    "one that is rounded in place": (lambda x: x.clone().div_(0.25, rounding_mode="trunc"), False),
    "a view of complex numbers": (lambda x: x.view(torch.complex64).view(torch.float32), True),
    "a sum in double precision": (lambda x: x.sum(dtype=torch.float64), True),
    "a sum of whole numbers": (lambda x: x * x.sum(dtype=torch.int64), False),
    "a product of whole numbers": (lambda x: x * x.prod(1, keepdim=True, dtype=torch.int64), False),
    "sums of whole numbers": (lambda x: x * x.cumsum(1, dtype=torch.int32), False),
    "products of whole numbers": (lambda x: x * x.cumprod(1, dtype=torch.int32), False),
    "a sum into whole numbers": (lambda x: x * torch.sum(x, 0, out=torch.zeros(6, dtype=torch.int64)), False),
    "numbers": (lambda x: torch.zeros(6).fill_(x.sum()), True),
    "whole numbers": (lambda x: x * torch.zeros(6, dtype=torch.int64).fill_(x.sum()), False),
    "some whole numbers": (lambda x: x * torch.zeros(6, dtype=torch.int64).masked_fill_(ONES, x.sum()), False),
    "draws": (lambda x: x * torch.empty_like(x).bernoulli_(0.5), True),
    "draws by the input": (lambda x: x * torch.bernoulli(x.sigmoid()), False),
    "a smooth loss": (lambda x: torch._C._nn.smooth_l1_loss(x, 0 * x), True),
    "a loss with a kink": (lambda x: torch._C._nn.smooth_l1_loss(x, 0 * x, beta=0.0), False),
}


class Runs(nn.Module):
    def __init__(self, function: object) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


@pytest.mark.parametrize("name", JUDGED)
def test_some_operations_are_judged_by_their_arguments(name: str) -> None:
    function, smooth = JUDGED[name]
    report = smoothify.inspect(Runs(function), example_input=X)
    assert (not report.operations) is smooth
    assert not report.unverified


@pytest.mark.parametrize("sign", [lambda x: x.view(torch.int32) >> 31, lambda x: x.view(torch.uint8)[:, 3::4] >> 7])
def test_the_bits_of_a_number_are_no_smooth_function_of_it(sign: object) -> None:
    report = smoothify.inspect(Runs(lambda x: x * (1 + sign(x.contiguous()))), example_input=X)
    assert [operation.name for operation in report.unverified] == ["view"] and not report.verified


def test_conversions_in_several_threads_put_torch_back() -> None:
    before = nn.Module.__call__, vars(torch.autograd.Function)["apply"], nn.Module.__setattr__
    errors: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(5):
                smoothify.convert(Functional(), example_input=X)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert before == (nn.Module.__call__, vars(torch.autograd.Function)["apply"], nn.Module.__setattr__)
    assert "__getattribute__" not in vars(nn.Module)


def test_a_probe_seeds_no_other_device(monkeypatch: pytest.MonkeyPatch) -> None:
    seeded: list[int] = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    smoothify.inspect(Functional(), example_input=X)
    assert not seeded


def test_a_float_model_that_is_prepared_for_quantisation_is_converted() -> None:
    class Prepared(Plain):
        def __init__(self) -> None:
            super().__init__()
            self.sum = torch.ao.nn.quantized.FloatFunctional()

        def forward(self, x: Tensor) -> Tensor:
            return self.sum.add(F.relu(self.linear(x)), x)

    assert smoothify.convert_(Prepared(), example_input=X).verified


KEPT = {
    "leaky": (lambda x: torch.maximum(x, 0.2 * x), "maximum"),
    "the half of x and |x|": (lambda x: 0.5 * x + 0.5 * x.abs(), "abs"),
    "an interval": (lambda x: x.clamp(-1, 1), "clamp"),
    "a maximum of two": (lambda x: torch.stack([x, torch.zeros_like(x)]).amax(0), "amax"),
    "a long length": (lambda x: x / x.norm(dim=1, keepdim=True).clamp_min(1.0), "clamp_min"),
}


@pytest.mark.parametrize("name", KEPT)
def test_a_kink_that_is_kept_comes_with_a_warning_and_is_named_in_the_verdict(name: str) -> None:
    function, operation = KEPT[name]
    with pytest.warns(UnverifiedWarning, match=rf"Runs: .*: {operation}, which is not smooth and was kept"):
        smooth = smoothify.convert(Runs(function), example_input=X)
    assert smoothify.inspect(smooth, example_input=X).verdict.endswith(f"; kept, and not smooth: {operation}")


QUIET = {
    "max pooling": lambda x: F.max_pool1d(x, 2),
    "a direction": lambda x: F.normalize(x, dim=1),
    "a clamp that is no kink on the way": lambda x: x * torch.ones(6).clamp(0, 1),
}


@pytest.mark.parametrize("name", QUIET)
def test_what_the_paper_keeps_and_what_keeps_a_length_from_zero_comes_without_a_warning(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        smooth = smoothify.convert(Runs(QUIET[name]), example_input=X)
    assert smoothify.inspect(smooth, example_input=X).verdict.endswith("path is known")
