"""What surgery costs: ratios measured in one run, so that they mean the same on any machine."""

import copy
import resource
import time
from collections.abc import Callable

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn

import smoothify


def best(function: Callable[[], object], times: int = 3) -> float:
    function()
    costs = []
    for _ in range(times):
        begun = time.process_time()
        function()
        costs.append(time.process_time() - begun)
    return min(costs)


@pytest.mark.benchmark(group="surgery")
def test_convert_costs_little_more_than_a_copy(benchmark: Callable[..., object]) -> None:
    model = timm.create_model("resnet50")
    copying = best(lambda: copy.deepcopy(model))
    converting = best(lambda: smoothify.convert(model))
    benchmark.pedantic(smoothify.convert, args=(model,), rounds=2)
    assert converting <= 1.5 * copying + 0.5


@pytest.mark.benchmark(group="surgery")
def test_inspect_of_a_large_transformer_copies_no_weight(benchmark: Callable[..., object]) -> None:
    model = timm.create_model("vit_large_patch16_224")
    smoothify.inspect(timm.create_model("test_vit"))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert best(lambda: smoothify.inspect(model)) <= 3.0
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before <= 100 * 1024  # kilobytes
    benchmark.pedantic(smoothify.inspect, args=(model,), rounds=2)


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(F.relu(F.relu(self.norm(self.conv(x)))))


def test_a_graph_rewritten_forward_has_no_overhead_per_call() -> None:
    model = Block().eval()
    same = smoothify.convert(model, {"relu": "relu"}, replace={"relu"}, strict=False)
    x = torch.randn(1, 8, 4, 4)

    def many(module: nn.Module) -> None:
        with torch.no_grad():
            for _ in range(1000):
                module(x)

    ratios = [best(lambda: many(same)) / best(lambda: many(model)) for _ in range(3)]
    assert min(ratios) <= 1.05
