"""Which path a kernel takes, and that all of them are seen and agree."""

from __future__ import annotations

import pytest
import torch

from smoothify import activations
from smoothify.activations import functional, paths
from smoothify.activations.paths import BLOCK, LARGE, SMALL, kernel_path, kernel_report


@pytest.fixture(autouse=True)
def _forget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "_refused", {})
    monkeypatch.setattr(paths, "_latest", {})
    monkeypatch.setattr(paths, "_compiled", {})


@pytest.mark.parametrize(("size", "path"), [(10, "whole"), (SMALL, "blocks"), (LARGE - 1, "blocks")])
def test_the_size_decides(size: int, path: str) -> None:
    functional.mish(torch.zeros(size))
    assert kernel_report() == {"mish.forward": path}


def test_without_a_compiler_plain_code_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "_compiler_for", lambda device: False)
    functional.mish(torch.zeros(LARGE))
    assert kernel_report() == {"mish.forward": "blocks"}


def test_a_compiler_that_fails_is_reported_once_and_does_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(program: paths.Program) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(paths, "_compile", broken)
    x = torch.randn(64)
    with kernel_path("compiled"):
        with pytest.warns(RuntimeWarning, match="mish.forward runs on its plain path: OSError: no space left"):
            y = functional.mish(x)
        torch.testing.assert_close(functional.mish(x), y)
    assert kernel_report() == {"mish.forward": "whole (could not be compiled: OSError: no space left on device)"}


def test_running_out_of_memory_is_no_failure_to_compile(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise torch.OutOfMemoryError("no memory left")

    monkeypatch.setattr(paths, "_compile", lambda program: full)
    with kernel_path("compiled"), pytest.raises(torch.OutOfMemoryError):
        functional.mish(torch.randn(64))
    assert not paths._refused


def test_huge_inputs_come_out_of_blocks_as_they_come_out_of_the_whole() -> None:
    x = torch.zeros(SMALL)
    x[:4] = torch.tensor([float("inf"), 3e38, 3e35, -float("inf")])
    with kernel_path("plain"):
        torch.testing.assert_close(
            functional.smoothrelu(x),
            functional.smoothrelu(x[:8]).repeat(SMALL // 8).where(torch.arange(SMALL) < 8, 0.0),
        )


def test_a_wrong_word_is_refused() -> None:
    with pytest.raises(ValueError, match="give one of"), kernel_path("fast"):  # type: ignore[arg-type]
        pass


def test_blocks_agree_with_the_whole(name: str) -> None:
    if not hasattr(functional, name):
        pytest.skip("torch's own kernel: there is no choice of path")
    x = torch.randn(2 * BLOCK + 3)
    leaf, small = x.clone().requires_grad_(), x[:50].clone().requires_grad_()
    gradient = torch.randn_like(x)
    module = activations.create(name)
    with kernel_path("plain"):
        y, y_small = module(leaf), module(small)
        (slope,) = torch.autograd.grad(y, leaf, gradient)
        (slope_small,) = torch.autograd.grad(y_small, small, gradient[:50])
    torch.testing.assert_close(y[:50], y_small)
    torch.testing.assert_close(slope[:50], slope_small)
    assert torch.equal(leaf.detach(), x)
    double = x.double()
    with kernel_path("plain"):
        module.double()(double)
    assert torch.equal(double, x.double())  # nothing writes into its input


def test_annealing_compiles_once() -> None:
    x = torch.randn(300)
    with kernel_path("compiled"):
        for b in (3.0, 4.5, 10.0, 31.0, 100.0, 3e2, 1e3, 3e3, 1e4, 3e4):
            exact = ((x.double() + (x.double().square() + b).sqrt()) / 2).float()
            torch.testing.assert_close(functional.squareplus(x, b), exact, rtol=1e-5, atol=1e-6)
    assert kernel_report()["squareplus.forward"] == "compiled"
