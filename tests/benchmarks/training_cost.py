"""What a step of adversarial training costs, over a plain standard step; and in the loops that others write.

    python tests/benchmarks/training_cost.py resnet50
    python tests/benchmarks/training_cost.py resnet50 --device cuda --batch 256 --size 224

Each round runs every variant once, in an order of its own, so that a busy machine slows all of them and none always
comes after the same other; figures are medians of the rounds' ratios.
The peers' loops are written here after the structure of theirs, with the same model, optimizer and data.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from activation_cost import keep_memory
from torch import Tensor, nn

from smoothify.activations import SurrogateGradients
from smoothify.attacks import PGD, ThreatModel, sample_keys
from smoothify.models import PixelClassifier, build
from smoothify.objectives import objective
from smoothify.training.steps.attacked import attacked_model
from smoothify.training.steps.batches import Batch
from smoothify.training.steps.update import Update

EPSILON, STEP = 4 / 255, 4 / 255
Step = Callable[[Tensor, Tensor], None]


def standard(model: nn.Module, optimizer: torch.optim.Optimizer) -> Step:
    def step(images: Tensor, labels: Tensor) -> None:
        model.train()
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def after(attack: Callable[[Tensor, Tensor], Tensor], update: Step) -> Step:
    return lambda images, labels: update(attack(images, labels), labels)


def start(images: Tensor) -> Tensor:
    return (images + torch.empty_like(images).uniform_(-EPSILON, EPSILON)).clamp(0, 1)


def ascend(moved: Tensor, gradient: Tensor, images: Tensor) -> Tensor:
    moved = moved.detach() + STEP * gradient.sign()
    return torch.min(torch.max(moved, images - EPSILON), images + EPSILON).clamp(0, 1)


def fast_adversarial(model: nn.Module, k: int) -> Callable[[Tensor, Tensor], Tensor]:
    """Backward through everything, parameters included, with the model in train mode."""

    def attack(images: Tensor, labels: Tensor) -> Tensor:
        model.train()
        delta = (start(images) - images).requires_grad_()
        for _ in range(k):
            F.cross_entropy(model(images + delta), labels).backward()
            gradient = delta.grad.detach()
            delta.data = ascend(images + delta, gradient, images) - images
            delta.grad.zero_()
        model.zero_grad()
        return (images + delta).detach()

    return attack


def with_best(model: nn.Module, k: int, *, parameters: bool, best: bool) -> Callable[[Tensor, Tensor], Tensor]:
    """Eval mode; each image's highest loss is kept if ``best``, one forward more; gradients of ``parameters``, too."""

    def attack(images: Tensor, labels: Tensor) -> Tensor:
        model.eval()
        moved, kept, highest = start(images), images, torch.full((len(images),), -torch.inf, device=images.device)
        for _ in range(k):
            moved = moved.detach().requires_grad_()
            losses = F.cross_entropy(model(moved), labels, reduction="none")
            if parameters:
                losses.mean().backward()
                gradient = moved.grad
            else:
                (gradient,) = torch.autograd.grad(losses.mean(), moved)
            if best:
                better = losses.detach() > highest
                kept, highest = kept.clone(), highest.clone()
                kept[better], highest[better] = moved.detach()[better], losses.detach()[better]
            moved = ascend(moved, gradient, images)
        if best:
            with torch.no_grad():
                losses = F.cross_entropy(model(moved), labels, reduction="none")
            better = losses > highest
            kept[better] = moved[better]
            moved = kept
        model.zero_grad()
        return moved

    return attack


def torchattacks(model: nn.Module, k: int) -> Callable[[Tensor, Tensor], Tensor]:
    """Checks the range of images, switches to eval mode and back, gradient of the input, a clone at every step."""

    def attack(images: Tensor, labels: Tensor) -> Tensor:
        if images.max().item() > 1 or images.min().item() < 0:
            raise ValueError("images outside [0, 1]")
        training = model.training
        model.eval()
        images, moved = images.clone().detach(), start(images).detach()
        for _ in range(k):
            moved.requires_grad = True
            (gradient,) = torch.autograd.grad(F.cross_entropy(model(moved), labels), moved)
            moved = ascend(moved, gradient, images)
        model.train(training)
        return moved

    return attack


def ours(
    model: PixelClassifier, optimizer: torch.optim.Optimizer, images: Tensor, k: int, precision: str, options
) -> Step:
    accelerator = Accelerator(cpu=options.device == "cpu", mixed_precision=options.mixed_precision)
    prepared, descent = accelerator.prepare(model, optimizer)
    bare = PixelClassifier(model.model, mean=model.mean.flatten().tolist(), std=model.std.flatten().tolist())
    attack = PGD(ThreatModel("linf", EPSILON), steps=k, step_size=STEP)
    update = Update(
        accelerator=accelerator,
        model=prepared,
        attacked=attacked_model(precision, model, bare.to(images.device), images, compiled=options.compile),
        optimizer=descent,
        objective=objective("pgd_at"),
        surrogate=SurrogateGradients(),
        attack=lambda step: attack,
        mixing=lambda images, labels: (images, labels),
        learning_rate=lambda step: 0.001,
        clip_norm=None,
        seed=0,
    )
    keys = sample_keys(0, 0, torch.arange(len(images))).to(images.device)
    count = iter(range(10**9))

    def step(images: Tensor, labels: Tensor) -> None:
        model.train()
        update(next(count), [Batch(images, labels, keys)])

    return step


def variants(options: argparse.Namespace, images: Tensor) -> dict[str, Step]:
    torch.manual_seed(0)
    model = PixelClassifier.from_host(build(options.model, num_classes=1000)).to(options.device)
    if options.channels_last:
        model.to(memory_format=torch.channels_last)
    if options.compile:
        model.compile()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.001, momentum=0.9, weight_decay=1e-4)
    plain = standard(model, optimizer)
    found = {"standard step": plain}
    for k in options.steps:
        for precision in options.precisions:
            found[f"PGD-{k}, {precision}"] = ours(model, optimizer, images, k, precision, options)
        if options.peers:
            for name, attack in (
                ("fast_adversarial", fast_adversarial(model, k)),
                ("ares", with_best(model, k, parameters=True, best=True)),
                ("robustness, use_best", with_best(model, k, parameters=False, best=True)),
                ("robustness, revisiting-at", with_best(model, k, parameters=False, best=False)),
                ("torchattacks", torchattacks(model, k)),
            ):
                found[f"PGD-{k}, as in {name}"] = after(attack, plain)
    return found


def clock(device: str) -> float:
    """Wall time on a GPU; on a CPU the time this process ran, which a busy neighbour does not stretch."""
    if device == "cuda":
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


def measure(
    steps: dict[str, Step], data: Tensor, labels: Tensor, options: argparse.Namespace
) -> dict[str, list[float]]:
    """Time each variant from bytes to the optimizer, once a round; the first round warms up."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    started = time.perf_counter()
    for turn in range(options.rounds + 1):
        passed = time.perf_counter() - started
        if turn > 1 and passed + passed / turn > options.seconds:
            break
        for name, step in random.sample(list(steps.items()), len(steps)):
            began = clock(options.device)
            step(data.to(options.device, non_blocking=True).float().div_(255), labels)
            if turn:
                times[name].append(clock(options.device) - began)
    return times


@contextmanager
def no_synchronisation() -> Iterator[None]:
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def busy_share(step: Step, images: Tensor, labels: Tensor) -> float:
    """The share of ten steps' time in which the GPU runs a kernel; none of them may wait for it."""
    from torch.profiler import ProfilerActivity, profile

    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CUDA]) as profiled:
        began = time.perf_counter()
        with no_synchronisation():
            for _ in range(10):
                step(images, labels)
        torch.cuda.synchronize()
        wall = time.perf_counter() - began
    return sum(event.self_device_time_total for event in profiled.key_averages()) / 1e6 / wall


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="resnet18")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--size", type=int, default=64, help="pixels a side")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no round that would end later")
    parser.add_argument("--steps", type=int, nargs="+", default=[1, 3])
    parser.add_argument("--precisions", nargs="+", default=["same", "autocast", "folded", "replica"])
    parser.add_argument("--mixed_precision", default="no", choices=["no", "bf16", "fp16"])
    parser.add_argument("--channels_last", action="store_true")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--peers", action="store_true", help="also the loops that others write")
    options = parser.parse_args()
    if options.device == "cpu":
        torch.set_num_threads(1)  # whose time is the process's
        keep_memory()
    random.seed(0)
    generator = torch.Generator().manual_seed(0)
    data = torch.randint(0, 256, (options.batch, 3, options.size, options.size), generator=generator, dtype=torch.uint8)
    labels = torch.randint(0, 1000, (options.batch,), generator=generator).to(options.device)
    images = data.to(options.device).float().div(255)
    if options.device == "cuda":
        data = data.pin_memory()
    if options.channels_last:
        data = data.contiguous(memory_format=torch.channels_last)
    steps = variants(options, images)
    times = measure(steps, data, labels, options)
    base = statistics.median(times["standard step"])
    print(f"{options.model}, {options.size} px, batch {options.batch}, {options.device}, torch {torch.__version__}")
    for name, taken in times.items():
        median = statistics.median(taken)
        ratios = [one / other for one, other in zip(taken, times["standard step"], strict=True)]
        line = f"{name:36s} {statistics.median(ratios):5.2f}  {options.batch / median:8.1f} images/s"
        if options.device == "cuda":
            line += f"  GPU busy {100 * busy_share(steps[name], images, labels):.0f}%"
        print(
            f"{line}  (median of {len(taken)}, standard step {1000 * base:.0f} ms)" if name == "standard step" else line
        )


if __name__ == "__main__":
    main()
