"""What forward keeps, and what layouts and shapes come back."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from smoothify import activations
from smoothify.activations.paths import BLOCK, kernel_path

KEEPS_OUTPUT = ("relu", "squareplus", "smelu", "sigmoid", "tanh")
SHAPES = [(0,), (3, 0, 2), (), (1,), (5, 7)]


@pytest.mark.parametrize("shape", [(64, 8), (BLOCK + 3,)], ids=["whole", "blocks"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_forward_keeps_one_tensor(name: str, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    kept: list[Tensor] = []

    def pack(tensor: Tensor) -> Tensor:
        if tensor.numel() > 1:  # not the scalars that are learned
            kept.append(tensor)
        return tensor

    x = torch.randn(shape, dtype=dtype, requires_grad=True) * 1
    with kernel_path("plain"), saved_tensors_hooks(pack, lambda tensor: tensor):
        y = activations.create(name).to(dtype)(x)
    assert [tensor.dtype for tensor in kept] == [dtype]
    assert kept[0].data_ptr() == (y if name in KEEPS_OUTPUT else x).data_ptr()


def test_in_place_keeps_the_output_or_a_copy(name: str) -> None:
    if not activations.get(name).inplace:
        assert activations.describe(activations.create(name, inplace=True)) == name
        return
    x = torch.randn(6, dtype=torch.float64)
    leaf = x.clone().requires_grad_()
    changed = leaf * 1
    module = activations.create(name, inplace=True)
    y = module(changed)
    assert y is changed
    expected = activations.create(name)(leaf)
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(torch.autograd.grad(y.sum(), leaf), torch.autograd.grad(expected.sum(), leaf))


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes(name: str, shape: tuple[int, ...]) -> None:
    x = torch.randn(shape, requires_grad=True)
    y = activations.create(name)(x)
    assert y.shape == shape
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert gradient.shape == shape


@pytest.mark.parametrize("size", [4, 96], ids=["whole", "blocks"])
def test_layouts(name: str, size: int) -> None:
    base = torch.randn(2, 8, size, size)
    module = activations.create(name)
    wanted = module(base)
    gradient = torch.randn_like(wanted)
    layouts = {
        "channels_last": base.contiguous(memory_format=torch.channels_last),
        "permuted": base.permute(3, 1, 0, 2).contiguous().permute(2, 1, 3, 0),
        "strided": torch.stack([base, base], dim=-1)[..., 0],
        "offset": torch.cat([torch.zeros(3), base.flatten()])[3:].reshape(base.shape),
    }
    leaf = base.clone().requires_grad_()
    (expected,) = torch.autograd.grad(module(leaf), leaf, gradient)
    for layout, x in layouts.items():
        x = x.detach().requires_grad_()
        with kernel_path("plain"):
            y = module(x)
            (got,) = torch.autograd.grad(y, x, gradient)
        torch.testing.assert_close(y, wanted, msg=layout)
        torch.testing.assert_close(got, expected, msg=layout)
        if layout == "channels_last":
            assert y.is_contiguous(memory_format=torch.channels_last)


def test_views_of_the_output_may_be_changed_in_place(name: str) -> None:
    x = torch.randn(BLOCK, requires_grad=True)
    with kernel_path("plain"):
        y = activations.create(name)(x)
    y = y * 1 if name in (*KEEPS_OUTPUT, "elu", "celu") else y
    y += 1
    y[:2].zero_()
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert (gradient[:2] == 0).all()


def test_expanded_gradients_and_frozen_inputs(name: str) -> None:
    module = activations.create(name)
    x = torch.randn(BLOCK)
    with kernel_path("plain"):
        y = module(x)
        assert y.requires_grad == activations.get(name).learnable
        if y.requires_grad:
            y.mean().backward()
            assert all(parameter.grad is not None for parameter in module.parameters())
    with torch.no_grad():
        assert not module(x).requires_grad
