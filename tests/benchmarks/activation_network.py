"""A whole training step: timm's resnet50 in each activation, over its ReLU original, in time and in memory.

    python tests/benchmarks/activation_network.py [--size 64] [--batch 8] [--rounds 5] [spec ...]

``spec+recompute`` runs inside ``recompute``. Steps are interleaved in one process; ratios are of medians.
Memory is what autograd holds when forward has finished: the storages that die with the graph.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import time
from contextlib import nullcontext

import timm
import torch
import torch.nn.functional as F
from activation_cost import keep_memory
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from smoothify import activations

SPECS = (
    *("relu", "silu", "silu+recompute", "gelu", "gelu+recompute", "elu", "celu", "softplus"),
    *(
        "parametric_softplus",
        "smoothrelu",
        "smoothrelu+recompute",
        "mish",
        "mish+recompute",
        "squareplus",
        "smelu",
    ),
)


def build(spec: str) -> nn.Module:
    """resnet50 with every ReLU replaced, in place where the entry can be, as the original is."""
    torch.manual_seed(0)
    model = timm.create_model("resnet50", num_classes=100)
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.ReLU:
                setattr(parent, name, activations.create(spec, inplace=child.inplace))
    return model


class Storages(TorchDispatchMode):
    """Remembers, weakly, every storage that an operation made."""

    def __init__(self) -> None:
        super().__init__()
        self.made: dict[int, tuple[object, int]] = {}

    def __torch_dispatch__(self, function, types, arguments=(), options=None):  # type: ignore[no-untyped-def]
        result = function(*arguments, **(options or {}))
        for value in result if isinstance(result, tuple | list) else [result]:
            if isinstance(value, Tensor):
                storage = value.untyped_storage()
                self.made[storage._cdata] = (storage._weak_ref(), storage.nbytes())
        return result

    def alive(self) -> int:
        return sum(size for reference, size in self.made.values() if not torch.UntypedStorage._expired(reference))


def held_bytes(model: nn.Module, x: Tensor, y: Tensor, recompute: bool) -> int:
    """Bytes alive because of the graph, by the difference that dropping it makes."""
    context = activations.recompute(model) if recompute else nullcontext()
    with context, Storages() as storages:
        loss = F.cross_entropy(model(x), y)
    gc.collect()
    with_graph = storages.alive()
    del loss
    gc.collect()
    return with_graph - storages.alive()


def step(model: nn.Module, x: Tensor, y: Tensor, recompute: bool) -> float:
    start = time.process_time()
    context = activations.recompute(model) if recompute else nullcontext()
    with context:
        loss = F.cross_entropy(model(x), y)
        loss.backward()
    model.zero_grad()
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("specs", nargs="*", default=SPECS)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--path", choices=("auto", "plain", "compiled"), default="auto")
    arguments = parser.parse_args()
    keep_memory()
    torch.set_num_threads(1)
    specs = list(dict.fromkeys(["relu", *arguments.specs]))
    models = {spec: build(spec.split("+")[0]) for spec in specs}
    x = torch.randn(arguments.batch, 3, arguments.size, arguments.size)
    y = torch.randint(100, (arguments.batch,))
    times: dict[str, list[float]] = {spec: [] for spec in specs}
    with activations.kernel_path(arguments.path):
        held = {spec: held_bytes(models[spec], x, y, "+" in spec) for spec in specs}
        for count in range(arguments.rounds + 1):
            for spec in specs:
                taken = step(models[spec], x, y, "+" in spec)
                if count:
                    times[spec].append(taken)
    base = statistics.median(times["relu"])
    print(f"torch {torch.__version__}, timm {timm.__version__}, one thread, batch {arguments.batch}, ", end="")
    print(f"{arguments.size} px, path: {arguments.path}; ", end="")
    print(f"relu: {1e3 * base:.0f} ms, {held['relu'] / 2**20:.1f} MiB\n")
    print("| resnet50 in | time over relu | memory over relu |\n|---|---|---|")
    for spec in specs:
        print(f"| {spec} | {statistics.median(times[spec]) / base:.3f} | {held[spec] / held['relu']:.3f} |")


if __name__ == "__main__":
    main()
