"""Converted models, learnable activations included, in data parallel and fully sharded training."""

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import fully_shard

import smoothify

from . import awkward


def converted() -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(awkward.CifarBlock(False), awkward.CifarBlock(True))
    smoothify.convert_(model, "smoothrelu", example_input=torch.randn(2, 6))
    return model


def gradients(model: nn.Module, x: torch.Tensor) -> dict[str, torch.Tensor]:
    model(x).square().mean().backward()
    return {name: parameter.grad for name, parameter in model.named_parameters()}


def two_processes(rank: int, store: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=2)
    try:
        x = torch.randn(8, 6, generator=torch.Generator().manual_seed(1))
        alone = gradients(converted(), x)
        together = nn.parallel.DistributedDataParallel(converted())
        shared = gradients(together, x[4 * rank : 4 * rank + 4])
        for name, gradient in alone.items():
            torch.testing.assert_close(shared[f"module.{name}"], gradient)
    finally:
        dist.destroy_process_group()


def test_two_processes_get_the_gradients_of_one(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(two_processes, (f"file://{tmp_path}/store",), nprocs=2)


@pytest.fixture
def one_process(tmp_path: Path) -> Iterator[None]:
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.usefixtures("one_process")
def test_fully_sharded_training_gives_the_same_gradients() -> None:
    model = converted()
    x = torch.randn(4, 6)
    expected = gradients(copy.deepcopy(model), x)
    mesh = dist.init_device_mesh("cpu", (1,))
    for block in model:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    sharded = gradients(model, x)
    assert sharded.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(sharded[name].full_tensor(), gradient)
