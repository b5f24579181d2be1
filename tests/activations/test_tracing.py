"""What traces, compiles and exports models: each must see through every entry and change nothing."""

from __future__ import annotations

import copy
import io

import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from smoothify import activations
from smoothify.activations import functional

# torch's own decompositions still use what torch deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:FutureWarning")

OWN = [name for name in activations.names() if getattr(functional, name, None) is not None]


@pytest.fixture(autouse=True)
def _fresh_dynamo() -> None:
    torch.compiler.reset()


def both_ways(module: nn.Module, other: nn.Module, x: torch.Tensor) -> None:
    """Assert equal values and equal gradients with respect to the input and the parameters."""
    x = x.requires_grad_()
    expected, got = module(x), other(x)
    torch.testing.assert_close(got, expected)
    weights = torch.randn_like(expected)
    wanted = torch.autograd.grad((expected * weights).sum(), [x, *module.parameters()])
    torch.testing.assert_close(torch.autograd.grad((got * weights).sum(), [x, *other.parameters()]), wanted)


def test_compile_needs_no_graph_break(name: str) -> None:
    module = activations.create(name)
    both_ways(module, torch.compile(module, fullgraph=True, backend="aot_eager"), torch.randn(4, 5))


def test_compiled_code_agrees_for_all_at_once() -> None:
    class Fan(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.each = nn.ModuleList(activations.create(name) for name in activations.names())

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.stack([module(x) for module in self.each])

    fan = Fan()
    both_ways(fan, torch.compile(fan, fullgraph=True), 3 * torch.randn(257))


def test_export(name: str) -> None:
    module = activations.create(name)
    x = torch.randn(3, 4)
    program = torch.export.export(module, (x,))
    torch.testing.assert_close(program.module()(x), module(x))


def test_symbolic_trace_keeps_each_of_ours_as_one_call(name: str) -> None:
    module = activations.create(name)
    traced = torch.fx.symbolic_trace(nn.Sequential(nn.Identity(), module))
    both_ways(module, traced, torch.randn(3, 4))
    if name in OWN:
        called = [node.target for node in traced.graph.nodes if node.op == "call_function"]
        ours = [target for target in called if target.__module__.startswith("smoothify")]
        assert [target.__name__ for target in ours] == [name]


def test_a_function_mode_sees_each_of_ours(name: str) -> None:
    class Record(TorchFunctionMode):
        seen: list[str] = []  # noqa: RUF012

        def __torch_function__(self, function, types, arguments=(), options=None):  # type: ignore[no-untyped-def]
            self.seen.append(getattr(function, "__name__", ""))
            return function(*arguments, **(options or {}))

    module = activations.create(name)
    x = torch.randn(3)
    expected = module(x)
    with Record() as record:
        torch.testing.assert_close(module(x), expected)
    if name in OWN:
        assert name in record.seen


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_keeps_the_dtype_of_its_input(name: str, dtype: torch.dtype) -> None:
    module = activations.create(name)
    for x in (torch.randn(8, 4), torch.randn(8, 4).to(dtype)):
        plain = module(x)
        with torch.autocast("cpu", dtype=dtype):
            inside = module(x.requires_grad_())
            (gradient,) = torch.autograd.grad(inside.sum(), x)
        assert gradient.dtype == x.dtype
        if name in OWN:
            assert inside.dtype == x.dtype
        torch.testing.assert_close(inside.to(x.dtype), plain)


def test_fake_and_meta_tensors(name: str) -> None:
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        module = activations.create(name)
        assert module(torch.empty(2, 1 << 20)).shape == (2, 1 << 20)
    module = activations.create(name).to("meta")
    assert module(torch.empty(2, 1 << 20, device="meta")).shape == (2, 1 << 20)
    assert repr(module)


def test_copies_and_pickles(name: str) -> None:
    module = activations.create(name)
    x = torch.randn(5)
    buffer = io.BytesIO()
    torch.save(module, buffer)
    buffer.seek(0)
    for other in (copy.deepcopy(module), torch.load(buffer, weights_only=False)):
        torch.testing.assert_close(other(x), module(x))
        assert activations.describe(other) == activations.describe(module)
    restored = activations.create(name)
    restored.load_state_dict(module.state_dict())
