"""Less memory, the same gradients; and what cannot be the same is refused."""

from __future__ import annotations

import copy
import gc
from contextlib import AbstractContextManager, nullcontext

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from smoothify import activations
from smoothify.activations import recompute, remember
from smoothify.errors import UnsupportedModelError


class Block(nn.Module):
    """Convolutions, batch norms, a residual, a max pool and a linear head around two activations."""

    def __init__(self, spec: str, inplace: bool = False) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(8)
        self.act = activations.create(spec, inplace=inplace)
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(8)
        self.last = activations.create(spec, inplace=inplace)
        self.pool = nn.MaxPool2d(2)
        self.head = nn.Linear(8 * 16, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.norm1(self.conv1(x)))
        z = self.norm2(self.conv2(y))
        z += y  # as residual networks do it
        z = self.last(z)
        return self.head(self.pool(z).flatten(1))


def gradients(model: nn.Module, x: Tensor, context: AbstractContextManager[None]) -> list[Tensor]:
    leaf = x.clone().requires_grad_()
    with context:
        loss = model(leaf).square().sum()
    return list(torch.autograd.grad(loss, [leaf, *model.parameters()]))


@pytest.mark.parametrize("inplace", [False, True])
def test_gradients_are_the_same_to_the_bit(name: str, inplace: bool) -> None:
    model = Block(name, inplace)
    x = torch.randn(2, 3, 8, 8)
    expected = gradients(model, x, nullcontext())
    got = gradients(model, x, recompute(model))
    assert all(map(torch.equal, got, expected))
    assert activations.describe(model.act) == name
    assert getattr(model.act, "inplace", False) == (inplace and activations.get(name).inplace)
    assert not model.act._forward_hooks


class Alive:
    """The storages of what some modules returned, held weakly."""

    def __init__(self, *modules: nn.Module) -> None:
        self.references: list[object] = []
        for module in modules:
            module.register_forward_hook(self._add)

    def _add(self, module: nn.Module, arguments: object, output: Tensor) -> None:
        self.references.append(output.untyped_storage()._weak_ref())

    def count(self) -> int:
        return sum(not torch.UntypedStorage._expired(reference) for reference in self.references)


@pytest.mark.parametrize("spec", ["silu", "gelu", "mish", "smoothrelu", "elu"])
def test_it_drops_what_the_next_layer_would_keep(spec: str) -> None:
    x = torch.randn(2, 3, 8, 8)
    for smart, expected in ((False, 2), (True, 0)):
        model = Block(spec)
        alive = Alive(model.act, model.last)
        with recompute(model) if smart else nullcontext():
            loss = model(x).sum()
        assert alive.count() == expected
        del loss


def test_nothing_outlives_the_graph() -> None:
    model = Block("silu")
    alive = Alive(*model.children())
    with recompute(model):
        loss = model(torch.randn(2, 3, 8, 8)).sum()
        assert alive.count() > 0
        del loss
        gc.collect()
        assert alive.count() == 0


def test_changed_outputs_and_inputs_are_noticed() -> None:
    act, layer = nn.SiLU(), nn.Linear(4, 4)
    model = nn.ModuleList([act, layer])
    x = torch.randn(3, 4)

    def changed_output(z: Tensor) -> Tensor:
        y = act(z * 1)
        y.mul_(2)
        return layer(y)

    leaf = x.clone().requires_grad_()
    expected = torch.autograd.grad(changed_output(leaf).sum(), [leaf, layer.weight])
    with recompute(model):
        loss = changed_output(leaf).sum()
    assert all(map(torch.equal, torch.autograd.grad(loss, [leaf, layer.weight]), expected))

    with recompute(model):
        z = leaf * 1
        loss = layer(act(z)).sum()
    z.mul_(2)
    with pytest.raises(RuntimeError, match="changed in place after forward"):
        torch.autograd.grad(loss, [leaf, layer.weight])


def test_reused_memory_is_not_mistaken() -> None:
    act, layer = nn.SiLU(), nn.Linear(256, 256)
    model = nn.Sequential(act, layer)
    x = torch.randn(64, 256, requires_grad=True)
    with recompute(model):
        for _ in range(20):
            act(x)  # dies at once: its address is free for the next tensor
            other = torch.randn(64, 256)
            loss = layer(other).sum()
            (got,) = torch.autograd.grad(loss, layer.weight)
            torch.testing.assert_close(got, other.sum(0).expand(256, 256))


def test_an_updated_parameter_is_noticed_or_harmless() -> None:
    for spec in ("smoothrelu", "pssilu", "swish(beta=2)"):
        model = nn.Sequential(nn.Linear(4, 4), activations.create(spec), nn.Linear(4, 4))
        x = torch.randn(3, 4)
        expected = gradients(model, x, nullcontext())
        leaf = x.clone().requires_grad_()
        with recompute(model):
            loss = model(leaf).square().sum()
        with torch.no_grad():
            for parameter in model[1].parameters():
                parameter.mul_(1.1)
        if hasattr(model[1], "settings") and spec.startswith("swish"):
            model[1].beta = 7.0
        try:
            got = torch.autograd.grad(loss, [leaf, *model.parameters()])
        except RuntimeError as error:
            assert spec in ("smoothrelu", "pssilu"), error
        else:
            torch.testing.assert_close(got[0], expected[0])
            torch.testing.assert_close(got[-2], expected[-2])


def test_create_graph() -> None:
    model = Block("silu").double()
    model.pool = nn.AvgPool2d(2)
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)

    def second(context: AbstractContextManager[None]) -> tuple[Tensor, ...]:
        leaf = x.clone().requires_grad_()
        with context:
            (first,) = torch.autograd.grad(model(leaf).square().sum(), leaf, create_graph=True)
        return torch.autograd.grad(first.square().sum(), [leaf, *model.parameters()], allow_unused=True)

    for got, expected in zip(second(recompute(model)), second(nullcontext()), strict=True):
        if expected is not None:
            torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("spec", ["silu", "softplus", "mish", "smoothrelu"])
def test_autocast(dtype: torch.dtype, spec: str) -> None:
    model = Block(spec)
    x = torch.randn(2, 3, 8, 8)

    def run(context: AbstractContextManager[None]) -> list[Tensor]:
        with context, torch.autocast("cpu", dtype=dtype):
            loss = model(x).float().square().sum()
        return list(torch.autograd.grad(loss, list(model.parameters())))

    assert all(map(torch.equal, run(recompute(model)), run(nullcontext())))


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointing(reentrant: bool) -> None:
    model = Block("silu").eval()
    x = torch.randn(2, 3, 8, 8)

    class Checkpointed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def forward(self, x: Tensor) -> Tensor:
            return checkpoint(self.inner, x, use_reentrant=reentrant)  # type: ignore[no-any-return]

    outer = Checkpointed()

    def run(context: AbstractContextManager[None]) -> list[Tensor]:
        model.zero_grad()
        leaf = x.clone().requires_grad_()
        with context:
            outer(leaf).square().sum().backward()
        return [leaf.grad, *(parameter.grad.clone() for parameter in model.parameters())]

    assert all(map(torch.equal, run(recompute(outer)), run(nullcontext())))


def test_compiled_models_are_refused() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.SiLU())
    for compiled in (torch.compile(model), copy.deepcopy(model)):
        if compiled is not model and isinstance(compiled, nn.Sequential):
            compiled.compile()
        with pytest.raises(UnsupportedModelError, match=r"before torch\.compile"), recompute(compiled):
            pass


def test_functions_can_be_remembered_too() -> None:
    layer = nn.Linear(4, 4)
    x = torch.randn(3, 4, requires_grad=True)
    with recompute(layer):
        y = torch.nn.functional.silu(x)
        remember(y, x, torch.nn.functional.silu)
        loss = layer(y).sum()
    (got,) = torch.autograd.grad(loss, layer.weight)
    torch.testing.assert_close(got, y.sum(0).expand(4, 4))
