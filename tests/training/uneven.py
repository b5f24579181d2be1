"""Run by two processes: a model with batch norm and a parameter that no gradient reaches. The main process prints JSON.

ACCELERATE_USE_CPU=true torchrun --nproc_per_node 2 -m tests.training.uneven CONFIG
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import datasets
import torch
from torch import Tensor, nn

from smoothify.train import read
from smoothify.training import Config, EngineConfig, OptimizerConfig, RunFolder, train
from smoothify.training.accelerated import end_processes
from smoothify.training.saving.state import load, newest_first


class Masked(nn.Module):
    """As a vision transformer that was trained to fill in masked patches keeps its mask token."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.body = nn.Sequential(nn.Conv2d(1, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten())
        self.mask_token = nn.Parameter(torch.zeros(1, 8))
        self.head = nn.Linear(8 * 13 * 13, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits."""
        return self.head(self.body(images))


def weights(config: Config, *, resume: bool = False) -> dict[str, Tensor]:
    """What a run comes to."""
    folder = train(config, resume=resume).folder
    torch.distributed.barrier()
    found = load(folder.checkpoints, print).states["model"]
    torch.distributed.barrier()
    return found


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Whether they are the same to the bit."""
    return all(torch.equal(value, other[name]) for name, value in one.items())


def main() -> None:
    """Train with and without checkpoints in between; train sharded, and again from a checkpoint in between."""
    datasets.disable_progress_bars()
    torch.set_num_threads(1)
    config = replace(read(["--config", sys.argv[1]]).config, optimizer=OptimizerConfig(name="adamw"))
    seldom = weights(replace(config, output=f"{config.output}-seldom"))
    often = weights(replace(config, output=f"{config.output}-often", engine=EngineConfig(checkpoint_every=1)))
    sharded = replace(config, output=f"{config.output}-sharded", engine=EngineConfig(fsdp=True, checkpoint_every=3))
    whole = weights(sharded)
    if torch.distributed.get_rank() == 0:
        newest_first(RunFolder(Path(sharded.output)).checkpoints)[0].unlink()
    torch.distributed.barrier()
    resumed = weights(sharded, resume=True)
    if torch.distributed.get_rank() == 0:
        print(json.dumps({"often": same(seldom, often), "resumed": same(whole, resumed)}))
    end_processes()


if __name__ == "__main__":
    main()
