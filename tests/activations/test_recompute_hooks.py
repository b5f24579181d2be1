"""A model that recomputes by itself: the same gradients wherever it is used, and out of the way elsewhere."""

from __future__ import annotations

import copy
import io
import threading
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import smoothify
from smoothify.activations import recompute_, recompute_hooks
from smoothify.errors import UnsupportedModelError


class Called(nn.Module):
    """A ReLU module, a function call and a residual between convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = (nn.Conv2d(3, 3, 3, padding=1) for _ in range(3))
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.first(x))
        z = F.relu(self.second(y) + y)
        if z.shape[0] == 13:
            raise ValueError("no batch of 13")
        return self.third(z)


def pair(to: str = "silu") -> tuple[nn.Module, nn.Module]:
    """The same network converted without and with recomputation."""
    torch.manual_seed(0)
    model = Called()
    x = torch.randn(1, 3, 4, 4)
    plain = smoothify.convert(model, to=to, example_input=x)
    return plain, smoothify.convert(model, to=to, example_input=x, recompute=True)


def gradients(model: nn.Module, x: Tensor, run: Callable[[nn.Module, Tensor], Tensor] | None = None) -> list[Tensor]:
    leaf = x.clone().requires_grad_()
    y = run(model, leaf) if run is not None else model(leaf)
    return list(torch.autograd.grad(y.float().square().sum(), [leaf, *model.parameters()]))


def kept(model: nn.Module, x: Tensor) -> int:
    """How many tensors of the input's shape die with the graph."""
    made: list[object] = []

    def note(module: nn.Module, arguments: object, output: Tensor) -> None:
        made.append(output.untyped_storage()._weak_ref())

    slots = (value for value in vars(model).values() if isinstance(value, nn.Module))  # of converted calls
    handles = [module.register_forward_hook(note) for module in (*model.children(), *slots)]
    y = model(x).sum()
    alive = sum(not torch.UntypedStorage._expired(reference) for reference in made)
    for handle in handles:
        handle.remove()
    assert y.requires_grad
    return alive


@pytest.mark.parametrize("to", ["silu", "smoothrelu"])
def test_the_same_gradients_in_less_memory(to: str) -> None:
    plain, frugal = pair(to)
    x = torch.randn(2, 3, 8, 8)
    assert all(map(torch.equal, gradients(frugal, x), gradients(plain, x)))
    assert kept(plain, x) - kept(frugal, x) == 2  # the module's output and the call's


def _under_autocast(model: nn.Module, x: Tensor) -> Tensor:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return model(x)


WAYS: dict[str, Callable[[nn.Module, Tensor], Tensor]] = {
    "autocast": _under_autocast,
    "checkpoint": lambda model, x: checkpoint(model, x, use_reentrant=False),
    "compiled": lambda model, x: torch.compile(model, backend="aot_eager", fullgraph=True)(x),
    "wrapped": lambda model, x: nn.Sequential(model)(x),
}


@pytest.mark.parametrize("way", WAYS)
def test_in_whatever_way_it_runs(way: str) -> None:
    torch.compiler.reset()
    plain, frugal = pair()
    x = torch.randn(2, 3, 8, 8)
    for got, expected in zip(gradients(frugal, x, WAYS[way]), gradients(plain, x, WAYS[way]), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-6)
    assert recompute_hooks._entered.stack == []


def test_reentrant_checkpointing() -> None:
    plain, frugal = pair()
    x = torch.randn(2, 3, 8, 8)
    for model in (plain, frugal):
        leaf = x.clone().requires_grad_()
        checkpoint(model, leaf, use_reentrant=True).square().sum().backward()
    for got, expected in zip(frugal.parameters(), plain.parameters(), strict=True):
        assert torch.equal(got.grad, expected.grad)


def test_compiled_in_place_and_in_parts() -> None:
    torch.compiler.reset()
    plain, frugal = pair()
    x = torch.randn(2, 3, 8, 8)
    expected = gradients(plain, x)
    frugal.compile(backend="aot_eager")
    for got, wanted in zip(gradients(frugal, x), expected, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-6, atol=1e-6)
    _, frugal = pair()
    frugal.second.compile(backend="aot_eager")
    with pytest.raises(UnsupportedModelError, match="second is compiled"):
        frugal(x)
    with torch.no_grad():
        torch.testing.assert_close(frugal(x), plain(x))


def test_create_graph() -> None:
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    second = []
    for model in pair():
        leaf = x.clone().requires_grad_()
        (first,) = torch.autograd.grad(model.double()(leaf).square().sum(), leaf, create_graph=True)
        second.append(torch.autograd.grad(first.square().sum(), [leaf, *model.parameters()], allow_unused=True))
    for expected, got in zip(*second, strict=True):
        assert (expected is None) == (got is None)
        if expected is not None:
            torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:FutureWarning")
def test_function_transforms() -> None:
    plain, frugal = pair()
    x = torch.randn(1, 3, 4, 4)
    got, expected = (torch.func.grad(lambda v, model=model: model(v).sum())(x) for model in (frugal, plain))
    assert torch.equal(got, expected)
    got, expected = (
        torch.func.jvp(lambda v, model=model: model(v), (x,), (x,))[1].detach() for model in (frugal, plain)
    )
    assert torch.equal(got, expected)


def test_without_gradients_nothing_is_entered(monkeypatch: pytest.MonkeyPatch) -> None:
    _, frugal = pair()

    def refuse(model: nn.Module) -> None:
        raise AssertionError("entered")

    monkeypatch.setattr(recompute_hooks, "recompute", refuse)
    with torch.no_grad():
        frugal(torch.randn(1, 3, 4, 4))
    with torch.inference_mode():
        frugal(torch.randn(1, 3, 4, 4))


def test_an_error_in_forward_leaves_nothing_behind() -> None:
    plain, frugal = pair()
    with pytest.raises(ValueError, match="no batch of 13"):
        frugal(torch.randn(13, 3, 4, 4))
    assert recompute_hooks._entered.stack == []
    assert not any(module._forward_hooks for module in frugal.children())
    x = torch.randn(2, 3, 8, 8)
    assert all(map(torch.equal, gradients(frugal, x), gradients(plain, x)))


def test_copies_pickles_and_threads() -> None:
    plain, frugal = pair()
    recompute_(frugal)  # once more is no more than once
    assert len(frugal._forward_pre_hooks) == 1
    buffer = io.BytesIO()
    torch.save(frugal, buffer)
    buffer.seek(0)
    x = torch.randn(2, 3, 8, 8)
    expected = gradients(plain, x)
    saved = kept(plain, x) - kept(frugal, x)
    for model in (copy.deepcopy(frugal), torch.load(buffer, weights_only=False)):
        assert all(map(torch.equal, gradients(model, x), expected))
        assert kept(plain, x) - kept(model, x) == saved
    results: list[list[Tensor]] = []
    threads = [threading.Thread(target=lambda: results.append(gradients(copy.deepcopy(frugal), x))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 3
    for got in results:  # a new thread may add in another order
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)


def test_convert_in_place() -> None:
    model = Called()
    smoothify.convert_(model, to="gelu", example_input=torch.randn(1, 3, 4, 4), recompute=True)
    assert len(model._forward_pre_hooks) == 1
