"""Run by two processes: what an attack and a step send. The main process prints it as one line of JSON.

ACCELERATE_USE_CPU=true torchrun --nproc_per_node 2 -m tests.training.ranks
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable

import timm
import torch
import torch.nn.functional as F
from accelerate import Accelerator, PartialState
from torch.profiler import ProfilerActivity, profile

from smoothify.attacks import PGD
from smoothify.models import PixelClassifier
from smoothify.objectives import objective
from smoothify.training.sharded import shard


def sent(action: Callable[[], object]) -> dict[str, int]:
    """Count the collectives of an action, by name."""
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        action()
    return dict(Counter(event.name for event in profiled.events() if event.name.startswith("c10d::")))


def collectives() -> dict[str, dict[str, int]]:
    """What a step of standard and of adversarial training sends, and what PGD-3 alone sends."""
    torch.manual_seed(0)
    accelerator = Accelerator()
    model = PixelClassifier.from_host(timm.create_model("test_resnet", num_classes=5))
    model, optimizer = accelerator.prepare(model, torch.optim.SGD(model.parameters(), lr=0.1))
    images, labels, unwrapped = torch.rand(4, 3, 32, 32), torch.arange(4), accelerator.unwrap_model(model)

    def step(name: str) -> None:
        loss = objective(name).loss(model, unwrapped, PGD(steps=3), images, labels)
        accelerator.backward(loss.value)
        optimizer.step()
        optimizer.zero_grad()

    step("standard"), step("standard")  # the wrapper settles its buckets
    found = {name: sent(lambda name=name: step(name)) for name in ("standard", "pgd_at")}
    found["attack"] = sent(lambda: PGD(steps=3)(unwrapped, images, labels))
    wrong = images.clone().requires_grad_()
    found["attack through the wrapper"] = sent(lambda: F.cross_entropy(model(wrong), labels).backward())

    whole = PixelClassifier.from_host(timm.create_model("test_vit", img_size=32, num_classes=5))
    sharded = shard(whole, accelerator)
    descent = torch.optim.SGD(sharded.parameters(), lr=0.1)

    def sharded_step() -> None:
        F.cross_entropy(sharded(images), labels).backward()
        descent.step()

    found["sharded step"] = sent(sharded_step)
    found["sharded attack"] = sent(lambda: PGD(steps=3)(sharded, images, labels))
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    counted = collectives()
    if PartialState().is_main_process:
        print(json.dumps(counted))
    PartialState().destroy_process_group()
