"""What the probe calls known, kept and unverified, and what it must leave alone."""

import warnings
from collections import UserDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from transformers import BatchEncoding

import smoothify
from smoothify.errors import SmoothifyError, UnverifiedWarning
from smoothify.surgery.probing.probe import ProbeError


class MaskOfShapes(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mask = x.new_zeros(x.shape[-1])
        return x * mask.masked_fill(mask != 0, -1.0)


class MaskOfValues(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mask = x.new_zeros(x.shape)
        mask[:, :2] = x[:, :2]
        return x * mask.masked_fill(mask != 0, -1.0)


class Pooled(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.max_pool1d(x[None], 2) + x.abs().amax() + x.sort(1).values[:, :1]


class LogitScale(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.logit_scale = nn.Parameter(torch.ones(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.logit_scale.clamp(min=0).abs().exp()


class TableOfBiases(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("table", torch.linspace(-1, 1, 8))
        self.mlp = nn.Sequential(nn.Linear(8, 8), nn.ReLU())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.mlp(self.table)


class Overflow(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.clamp(-1e4, 1e4) if not torch.isfinite(x).all() else F.relu(x)


CASES = {
    "a mask made of shapes": (MaskOfShapes, set(), set(), True),
    "a mask made of values": (MaskOfValues, set(), {"ne"}, False),
    "operations that are kept": (Pooled, {"max_pool2d_with_indices", "abs", "amax", "sort"}, set(), True),
    "a clamped parameter": (LogitScale, set(), set(), True),
    "a relu on a constant table": (TableOfBiases, set(), set(), True),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_kept_and_what_is_unverified(case: str) -> None:
    cls, kept, unverified, verified = CASES[case]
    model = cls()
    report = smoothify.convert_(model, example_input=torch.randn(4, 8))
    assert {operation.name for operation in report.operations} == kept
    assert {operation.name for operation in report.unverified} == unverified
    assert report.verified is verified
    assert all(site.now_smooth for site in report.sites)


def test_a_check_for_overflow_does_not_need_values() -> None:
    report = smoothify.convert_(Overflow(), example_input=torch.randn(4, 8))
    assert [(site.function, site.becomes) for site in report.converted] == [("relu", "silu")]


def test_nothing_of_a_model_moves() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout())
    calls: list[int] = []
    model[0].register_forward_hook(lambda *_: calls.append(1))
    model[1].eval()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    draw = torch.get_rng_state()
    smoothify.inspect(model)
    assert not calls
    assert [module.training for module in model] == [True, False, True, True]
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), draw)


def test_an_example_that_does_not_fit_says_what_the_model_said() -> None:
    with pytest.raises(ProbeError, match="forward failed in train mode: RuntimeError"):
        smoothify.inspect(nn.Linear(3, 3), example_input=torch.zeros(2, 4))
    assert issubclass(ProbeError, SmoothifyError)
    with pytest.raises(ProbeError, match=r"more than 1 value per channel .*; give example_input two images"):
        smoothify.inspect(nn.BatchNorm1d(3), example_input=torch.zeros(1, 3))


@pytest.mark.parametrize("example", [torch.zeros(2, 6), (torch.zeros(2, 6),), {"input": torch.zeros(2, 6)}])
def test_examples_may_be_a_tensor_a_tuple_or_a_mapping(example: object) -> None:
    assert smoothify.inspect(nn.Linear(6, 3), example_input=example).verified


def test_a_copy_that_no_run_has_proven_comes_with_a_warning() -> None:
    class Pair(nn.Module):
        def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
            return torch.relu(left + right)

    with pytest.warns(UnverifiedWarning, match=r"Pair: not verified: .*example_input="):
        smoothify.convert(Pair())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        smoothify.convert(Pair(), example_input=(torch.zeros(2, 3), torch.zeros(2, 3)))


class TakesABatch(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)

    def forward(self, batch: Any) -> torch.Tensor:
        h = self.linear(batch["x"] if hasattr(batch, "keys") else batch.x).clamp(min=0)
        return h * (h > 0)


@dataclass(frozen=True)
class Batch:
    x: torch.Tensor


@dataclass(slots=True)
class Slotted:
    x: torch.Tensor


class Uncopied(SimpleNamespace):
    def __deepcopy__(self, memo: object) -> "Uncopied":
        return self


BATCHES: dict[str, Callable[[torch.Tensor], Any]] = {
    "a dataclass": Batch,
    "slots": Slotted,
    "an object": lambda x: SimpleNamespace(x=x),
    "an object in a list": lambda x: Uncopied(x=x),
    "a mapping": lambda x: BatchEncoding({"x": x}),
    "a dict of dicts": lambda x: UserDict({"x": x}),
}


@pytest.mark.parametrize("batch", BATCHES)
def test_an_input_inside_an_object_is_followed(batch: str) -> None:
    x = torch.randn(4, 8)
    before = x.clone()
    report = smoothify.convert_(TakesABatch(), example_input=(BATCHES[batch](x),))
    assert [(site.function, site.becomes) for site in report.sites] == [("clamp(min=0)", "silu")]
    assert [operation.name for operation in report.unverified] == ["gt"] and not report.verified
    assert torch.equal(x, before)


def test_nothing_is_verified_where_no_input_was_found() -> None:
    class Samples(nn.Module):
        def forward(self, count: int) -> torch.Tensor:
            return torch.ones(count) * (torch.ones(count) > 0)

    report = smoothify.inspect(Samples(), example_input=(3,))
    assert not report.verified and "no tensor was found in the input" in report.verdict


class Logs(nn.Module):
    def __init__(self, read: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.linear, self.read = nn.Linear(8, 8), read

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.linear(x)
        self.read(h.detach())
        self.read(torch.arange(3))
        return F.relu(h)


READS: dict[str, Callable[[torch.Tensor], Any]] = {
    "numpy": lambda x: x.numpy(),
    "an array": np.asarray,
    "a list": lambda x: x.tolist(),
    "a number": lambda x: x.sum().item(),
}


@pytest.mark.parametrize("read", READS)
def test_values_that_leave_torch_are_those_of_real_tensors_and_not_verified(read: str) -> None:
    report = smoothify.convert_(Logs(READS[read]), example_input=torch.randn(4, 8))
    assert [site.function for site in report.converted] == ["relu"]
    assert [operation.name for operation in report.unverified] == ["_local_scalar_dense"]
    assert "numpy" not in vars(torch.Tensor) and "tolist" not in vars(torch.Tensor)


class InThreads(nn.Module):
    def __init__(self, through_modules: bool) -> None:
        super().__init__()
        self.linear, self.through_modules = nn.Linear(8, 8), through_modules

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        def work(h: torch.Tensor) -> torch.Tensor:
            return F.relu(self.linear(h) if self.through_modules else h)

        with ThreadPoolExecutor(1) as executor:
            (result,) = executor.map(work, [x])
        return x + result if self.through_modules else result


@pytest.mark.parametrize(
    ("through_modules", "why"), [(True, "in another thread"), (False, "nothing that was seen leads")]
)
def test_what_runs_in_another_thread_is_not_verified(through_modules: bool, why: str) -> None:
    with pytest.warns(UnverifiedWarning, match=why):
        smoothify.convert(InThreads(through_modules), example_input=torch.randn(4, 8))


class Asks(nn.Module):
    def __init__(self, asks: Callable[[torch.Tensor], bool]) -> None:
        super().__init__()
        self.linear, self.asks = nn.Linear(8, 8), asks

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.linear(x.mul_(2))
        return F.relu(h) if not self.training and self.asks(x) else F.gelu(h)


def asks_in_a_helper(x: torch.Tensor) -> bool:
    return torch.is_grad_enabled()


ASKED: dict[str, Callable[[torch.Tensor], bool]] = {
    "requires_grad": lambda x: x.requires_grad,
    "is_grad_enabled": lambda x: torch.is_grad_enabled(),
    "a helper": lambda x: asks_in_a_helper(x),
}


@pytest.mark.parametrize("asks", ASKED)
def test_the_way_that_a_model_takes_under_attack_is_run(asks: str) -> None:
    report = smoothify.convert_(Asks(ASKED[asks]), example_input=torch.randn(4, 8))
    assert [site.function for site in report.converted] == ["relu"] and report.verified
    assert [(site.function, site.becomes) for site in report.sites if site.smooth] == [("gelu", None)]
