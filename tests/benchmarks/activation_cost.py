"""What an activation costs: forward + backward over ReLU's, all in one process, interleaved, as medians.

    python tests/benchmarks/activation_cost.py [--path plain|compiled] [--dtype float32] [--device cpu]
                                               [--rounds 9] [name ...]

Prints a Markdown table. ReLU is timed again in every round, and each ratio is taken within its round, so that
a machine that slows down slows both. Extra rows, as ``torch:``, are the kernels that torch has itself.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import platform
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from smoothify import activations
from smoothify.activations.paths import kernel_path, kernel_report

SHAPE = (32, 256, 28, 28)
TORCH = {"torch:mish": nn.Mish, "torch:softplus(beta=10)": lambda: nn.Softplus(10.0)}


def seconds(module: nn.Module, x: Tensor, gradient: Tensor) -> tuple[float, float]:
    """One forward and one backward pass of ``module``."""
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    start = _clock(x)
    y = module(x)
    middle = _clock(x)
    torch.autograd.grad(y, [x, *parameters], gradient)
    return middle - start, _clock(x) - middle


def _clock(x: Tensor) -> float:
    """Wall time on a GPU; on a CPU the time this process ran, which a busy neighbour does not stretch."""
    if x.is_cuda:
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


def keep_memory() -> None:
    """Let glibc keep freed memory: otherwise some runs pay for fresh pages and others do not, by chance."""
    m_trim_threshold, m_mmap_threshold = -1, -3
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(m_mmap_threshold, 1 << 30)
        mallopt(m_trim_threshold, 1 << 30)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=[*activations.names(), *TORCH])
    parser.add_argument("--path", choices=("plain", "compiled"), default="compiled")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="float32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()

    keep_memory()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    dtype = getattr(torch, arguments.dtype)
    x = torch.randn(SHAPE, device=arguments.device, dtype=dtype, requires_grad=True)
    gradient = torch.randn_like(x).detach()
    builders: dict[str, Callable[[], nn.Module]] = {
        name: TORCH.get(name, lambda name=name: activations.create(name)) for name in arguments.names
    }
    modules = {name: build().to(arguments.device) for name, build in builders.items()}
    relu = nn.ReLU()
    ratios: dict[str, list[float]] = {name: [] for name in modules}
    base: list[float] = []
    parts: dict[str, list[tuple[float, float]]] = {name: [] for name in modules}
    with kernel_path(arguments.path):
        for count in range(arguments.rounds + 2):
            for name, module in modules.items():
                reference = sum(seconds(relu, x, gradient))
                measured = seconds(module, x, gradient)
                if count >= 2:  # the first rounds compile and warm up
                    base.append(reference)
                    ratios[name].append(sum(measured) / reference)
                    parts[name].append(measured)

    where = torch.cuda.get_device_name() if arguments.device.startswith("cuda") else platform.processor() or "CPU"
    print(f"{where}, one thread, torch {torch.__version__}, {arguments.dtype}, {SHAPE}, path: {arguments.path}")
    print(f"relu: {1e3 * statistics.median(base):.2f} ms forward + backward\n")
    print("| activation | over relu | forward, ms | backward, ms | path |\n|---|---|---|---|---|")
    report = kernel_report()
    for name, values in ratios.items():
        forward, backward = (1e3 * statistics.median(part) for part in zip(*parts[name], strict=True))
        path = report.get(f"{name.split('(')[0]}.forward", "torch")
        print(f"| {name} | {statistics.median(values):.2f} | {forward:.1f} | {backward:.1f} | {path} |")


if __name__ == "__main__":
    main()
