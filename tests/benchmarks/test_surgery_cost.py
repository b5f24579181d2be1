"""What surgery costs: ``pytest tests/benchmarks`` prints each group's medians and, in brackets, their ratios."""

import copy
import resource
from collections.abc import Callable

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn

import smoothify

Benchmark = Callable[..., object]


@pytest.fixture(scope="module")
def resnet50() -> nn.Module:
    return timm.create_model("resnet50")


@pytest.mark.benchmark(group="a smooth copy of resnet50, against copy.deepcopy")
@pytest.mark.parametrize("what", ["deepcopy", "convert"])
def test_convert(benchmark: Benchmark, resnet50: nn.Module, what: str) -> None:
    function = {"deepcopy": copy.deepcopy, "convert": smoothify.convert}[what]
    benchmark.pedantic(function, args=(resnet50,), rounds=7, warmup_rounds=1)


@pytest.mark.benchmark(group="inspect of vit_large")
def test_inspect(benchmark: Benchmark) -> None:
    model = timm.create_model("vit_large_patch16_224")
    smoothify.inspect(timm.create_model("test_vit"))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    benchmark.pedantic(smoothify.inspect, args=(model,), rounds=5)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"inspect of vit_large: {grown:.0f} MiB on top")


class Block(nn.Module):
    """Small tensors and three rewritten calls: what a call costs in Python shows."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(F.relu(F.relu(self.norm(self.conv(x)))))


@pytest.mark.benchmark(group="a thousand forwards of a module rewritten by graph, against the original")
@pytest.mark.parametrize("what", ["original", "rewritten"])
def test_forward(benchmark: Benchmark, what: str) -> None:
    model = Block().eval()
    if what == "rewritten":
        report = smoothify.convert_(model, {"relu": "relu"}, replace={"relu"}, strict=False)
        assert {site.how for site in report.converted} == {"graph"}
    x = torch.randn(1, 8, 4, 4)

    def many() -> None:
        with torch.no_grad():
            for _ in range(1000):
                model(x)

    benchmark.pedantic(many, rounds=9, warmup_rounds=1)
