"""What a conversion costs a trained ReLU network in accuracy, and what recalibration and annealing give back.

``python tests/benchmarks/after_conversion.py`` trains a small ReLU network on the embedded images, converts it in every
way, measures it at once and after one epoch of fine-tuning, and prints a Markdown table: mean ± standard deviation over
seeds, in percent of the 2,000 test images. Standard training: what an adversary does is another question.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable, Iterator
from statistics import mean, stdev

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import smoothify
from smoothify.activations import geometric
from smoothify.data import Images, load
from smoothify.models import PixelClassifier, build

BATCH = 128
EPOCHS = 5
WAYS = ("swap", "recalibrated", "annealed")
TARGETS = {  # the activation, and from where to where its sharpness goes
    "silu": ("swish(beta={})", 1000.0, 1.0),
    "softplus": ("parametric_softplus(alpha={})", 1000.0, 1.0),
    "parametric_softplus": ("parametric_softplus(alpha={})", 1000.0, 10.0),
}


def batches(images: Tensor, labels: Tensor, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield shuffled batches."""
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    for chosen in order.split(BATCH):
        yield images[chosen], labels[chosen]


def train(
    model: nn.Module,
    data: tuple[Tensor, Tensor],
    lr: float,
    seed: int,
    each: Callable[[float], None] = lambda share: None,
) -> None:
    """Train one epoch; ``each`` hears before every step which share of it is done."""
    model.train()
    sgd = torch.optim.SGD(model.parameters(), lr, momentum=0.9, nesterov=True, weight_decay=5e-4)
    steps = -(-len(data[0]) // BATCH)
    for step, (images, labels) in enumerate(batches(*data, seed)):
        each((step + 1) / steps)
        sgd.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        sgd.step()


@torch.no_grad()
def accuracy(model: nn.Module, data: tuple[Tensor, Tensor]) -> float:
    """Return the accuracy in eval mode, in percent."""
    model.eval()
    right = sum(int((model(images).argmax(1) == labels).sum()) for images, labels in batches(*data, 0))
    return 100 * right / len(data[0])


def converted(original: nn.Module, target: str, way: str, data: tuple[Tensor, Tensor]) -> nn.Module:
    """Return a converted copy: as sharp as it ends, or, to be annealed, as it starts."""
    spec, start, end = TARGETS[target]
    model = copy.deepcopy(original)
    smoothify.convert_(model.model, to=spec.format(start if way == "annealed" else end))
    if way == "recalibrated":
        smoothify.recalibrate_batch_norm_(model, batches(*data, 0))
    return model


def one_seed(
    seed: int, train_data: tuple[Tensor, Tensor], test_data: tuple[Tensor, Tensor]
) -> dict[tuple[str, ...], float]:
    """Return every accuracy of one seed, by what was measured."""
    torch.manual_seed(seed)
    original = PixelClassifier.from_host(build("resnet10_28px", num_classes=10))
    for epoch in range(EPOCHS):
        train(original, train_data, 0.1 * (1 - epoch / EPOCHS), 1000 * seed + epoch)
    found = {("relu", "", "at once"): accuracy(original, test_data)}
    further = copy.deepcopy(original)
    train(further, train_data, 0.02, 1000 * seed + 999)
    found["relu", "", "after an epoch"] = accuracy(further, test_data)
    for target, (_, start, end) in TARGETS.items():
        for way in WAYS:
            model = converted(original, target, way, train_data)
            found[target, way, "at once"] = accuracy(model, test_data)

            def sharpen(share: float, model: nn.Module = model, start: float = start, end: float = end) -> None:
                smoothify.anneal_(model, geometric(min(1.0, 2 * share), start=start, end=end))

            train(model, train_data, 0.02, 1000 * seed + 999, sharpen if way == "annealed" else lambda share: None)
            found[target, way, "after an epoch"] = accuracy(model, test_data)
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    whole = [Images(load(split=split), input_size=(1, 28, 28)) for split in ("train", "test")]
    train_data, test_data = (images.batch(range(len(images))) for images in whole)
    seeds = [one_seed(seed, train_data, test_data) for seed in range(options.seeds)]
    print("| converted to | way | at once | after an epoch |\n|---|---|---|---|")
    for target, way in dict.fromkeys((target, way) for target, way, _ in seeds[0]):
        cells = []
        for when in ("at once", "after an epoch"):
            values = [found[target, way, when] for found in seeds]
            cells.append(f"{mean(values):.1f} ± {stdev(values):.1f}" if len(values) > 1 else f"{values[0]:.1f}")
        print(f"| {target} | {way} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
