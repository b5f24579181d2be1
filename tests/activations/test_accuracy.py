"""Values and first derivatives against 50 digits, with the bound of each entry; half precision; the ends."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from smoothify import activations
from smoothify.activations import functional
from smoothify.activations.paths import BLOCK, kernel_path
from tests.activations.references import REFERENCES, exact, grid, infinity_limits, ulp


@dataclass(frozen=True)
class Bound:
    """Error ≤ ``ulps`` × (the ulp of the exact result + what one ulp of x changes in it).

    The second term is what any function suffers whose parameter must first be multiplied with x, and what
    remains near a zero crossing. Results below the least normal float32 may be flushed. ``scale`` is what the
    ulp is taken of: the ``result``, or where torch's own kernel cancels, the ``input`` or ``one``.
    """

    ulps: float
    scale: str = "result"


VALUES = {"gelu": Bound(3, "input"), "gelu_tanh": Bound(1, "input"), "serf": Bound(4.5)}
SLOPES = {
    "silu": Bound(5.5),
    "swish": Bound(5.5),
    "gelu": Bound(2, "one"),
    "gelu_tanh": Bound(5, "one"),
    "sigmoid": Bound(1, "one"),
    "tanh": Bound(1, "one"),
    "serf": Bound(5),
}
OWN_KERNELS = (
    *("quick_gelu", "smoothrelu", "mish", "tanhexp", "tanhsoft_1", "tanhsoft_2", "tanhsoft_3"),
    *("hermite", "smelu", "squareplus", "serf", "logish", "pssilu"),
)

# torch's own kernels multiply an infinite input by the zero that their gate has become.
NAN_AT_MINUS_INFINITY = ("silu", "swish", "gelu", "gelu_tanh")
NAN_AT_INFINITY = ("gelu",)  # in float32, by its vectorised loop


def test_every_entry_has_a_reference(name: str) -> None:
    assert name in REFERENCES, f"add {name!r} to tests/activations/references.py"


def _units(reference: Tensor, derivative: Tensor, scale: str) -> Tensor:
    x = grid().double()
    floor = {"result": torch.zeros_like(x), "input": x.abs(), "one": torch.ones_like(x)}[scale]
    size = torch.maximum(reference.abs(), floor)
    return ulp(size, torch.float32) + ulp(x, torch.float32) * derivative.abs()


def _errors(name: str, repeats: int) -> tuple[Tensor, Tensor]:
    values, slopes, curvatures = exact(name)
    x = grid().repeat(repeats).requires_grad_()
    y = activations.create(name)(x)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    at_knot = (grid() == 0) & (activations.get(name).order() < 2)
    tiny = torch.finfo(torch.float32).smallest_normal
    count = grid().numel()
    value_error = ((y[:count].detach().double() - values).abs() - tiny).clamp(min=0)
    slope_error = ((gradient[:count].double() - slopes).abs() - tiny).clamp(min=0).masked_fill(at_knot, 0)
    value_units = _units(values, slopes, VALUES.get(name, Bound(2)).scale)
    return value_error / value_units, slope_error / _units(slopes, curvatures, SLOPES.get(name, Bound(3.5)).scale)


@pytest.mark.parametrize("repeats", [1, BLOCK // grid().numel() + 1], ids=["whole", "blocks"])
def test_float32_is_within_its_bound(name: str, repeats: int) -> None:
    with kernel_path("plain"):
        values, slopes = _errors(name, repeats)
    assert values.max() <= VALUES.get(name, Bound(2)).ulps
    assert slopes.max() <= SLOPES.get(name, Bound(3.5)).ulps


def test_the_own_kernels_are_all_listed() -> None:
    torchs = {"swish", "parametric_softplus"}
    assert {name for name in REFERENCES if hasattr(functional, name)} == {*OWN_KERNELS, *torchs}


@pytest.mark.parametrize("compiled", OWN_KERNELS)
def test_compiled_float32_is_within_the_same_bound(compiled: str) -> None:
    with kernel_path("compiled"):
        values, slopes = _errors(compiled, 1)
    assert activations.kernel_report()[f"{compiled}.forward"] == "compiled"
    assert values.max() <= VALUES.get(compiled, Bound(2.5)).ulps
    assert slopes.max() <= SLOPES.get(compiled, Bound(3.5)).ulps


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_float32_rounded_once(name: str, dtype: torch.dtype) -> None:
    x = grid().clamp(-6e4, 6e4).to(dtype)
    half, single = x.clone().requires_grad_(), x.float().requires_grad_()
    module = activations.create(name)
    y_half, y = module(half), module(single)
    assert y_half.dtype == dtype
    representable = torch.isfinite(y.to(dtype))
    error = (y_half.double() - y.double())[representable].abs()
    ulps = 5 if name == "gelu" and dtype == torch.float16 else 1  # torch's own, in its cancelling tail
    assert (error <= ulps * ulp(y.detach().double(), dtype)[representable]).all()
    assert torch.equal(torch.isfinite(y_half), representable)  # no overflow before the result itself does

    (slope_half,) = torch.autograd.grad(y_half.sum(dtype=torch.float32), half)
    (slope,) = torch.autograd.grad(y.sum(), single, create_graph=True)
    fits = torch.isfinite(slope.to(dtype))
    allowed = ulp(slope.detach().double(), dtype)
    if name in ("squareplus", "smelu", "sigmoid", "tanh"):
        # Their slope comes from the output as it was rounded: allow what half an ulp of that changes.
        (curvature,) = torch.autograd.grad(slope.sum(), single, allow_unused=True)
        rate = (curvature / slope).nan_to_num(0, 0, 0).abs().double()  # dslope/dy = curvature / slope
        allowed = 1.5 * allowed + 0.75 * rate * ulp(y.detach().double(), dtype)
    if name == "gelu" and dtype == torch.bfloat16:
        allowed = allowed + 2.0**-24  # torch's own float32 slope cancels to zero in the tail, on a CPU with AVX2 alone
    assert ((slope_half.double() - slope.double()).abs() <= allowed)[fits].all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_infinite_inputs_give_the_limits(name: str, dtype: torch.dtype) -> None:
    x = torch.tensor([-math.inf, math.inf], dtype=dtype, requires_grad=True)
    y = activations.create(name).to(dtype)(x)
    for value, limit, torchs_own in zip(
        y.tolist(), infinity_limits(name), (NAN_AT_MINUS_INFINITY, NAN_AT_INFINITY), strict=True
    ):
        if name in torchs_own:
            assert math.isnan(value) or value == limit
        elif not math.isnan(limit):
            assert value == limit
    if not name.startswith(("silu", "swish", "gelu", "hermite")):
        (slopes,) = torch.autograd.grad(y.sum(), x)
        assert torch.isfinite(slopes).all()


def test_the_greatest_float32_does_not_overflow_on_the_way(name: str) -> None:
    if name == "hermite":
        pytest.skip("a cubic overflows by itself")
    most = torch.finfo(torch.float32).max
    x = torch.tensor([-most, most], requires_grad=True)
    y = activations.create(name)(x)
    (slopes,) = torch.autograd.grad(y.sum(), x)
    if name not in ("gelu", "gelu_tanh"):  # torch's kernels square and cube their input
        assert torch.isfinite(y).all() and torch.isfinite(slopes).all()
        slope_at_infinity = {"sigmoid": 1 / most, "tanh": 1 / most, "logish": math.log(2)}.get(name, 1)
        assert y[1].item() == pytest.approx(most * slope_at_infinity, rel=1e-6)


def test_not_a_number_stays_one(name: str) -> None:
    x = torch.full((3,), math.nan, requires_grad=True)
    y = activations.create(name)(x)
    assert y.isnan().all()
