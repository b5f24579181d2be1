"""Run by two processes: one run after another in the same processes. The main process prints JSON.

ACCELERATE_USE_CPU=true torchrun --nproc_per_node 2 -m tests.training.twice CONFIG
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import datasets
import torch
import yaml
from accelerate import Accelerator
from accelerate.utils import gather_object

from smoothify.errors import NonFiniteError
from smoothify.train import read
from smoothify.training import Config, EngineConfig, RunFolder, train
from smoothify.training.accelerated import end_processes
from smoothify.training.saving.state import Saver


def precisions(config: Config) -> list[str]:
    """What two runs say that they were computed in."""
    found = []
    for precision in ("no", "bf16"):
        engine, output = EngineConfig(mixed_precision=precision), f"{config.output}-{precision}"
        folder = train(dataclasses.replace(config, epochs=1, engine=engine, output=output)).folder
        torch.distributed.barrier()
        found.append(yaml.safe_load(folder.config.read_text())["engine"]["mixed_precision"])
    return found


def diverged_and_resumed(config: Config) -> list[str]:
    """What a run that diverged says in each process, and what it was resumed with."""
    folder = train(dataclasses.replace(config, epochs=1)).folder
    torch.distributed.barrier()
    steep = dataclasses.replace(config, lr=1e30, engine=EngineConfig(mixed_precision="no"))
    if torch.distributed.get_rank() == 0:
        folder.write_config(steep)
    torch.distributed.barrier()
    try:
        train(steep, resume=True)
    except NonFiniteError as error:
        said = str(error)
    resumed = train(dataclasses.replace(steep, lr=0.01), resume=True).folder
    torch.distributed.barrier()
    return [*gather_object([said]), resumed.changes.read_text()]


def refused(folder: Path) -> list[str]:
    """What each process says of weights that are broken in one of them."""
    accelerator, model = Accelerator(), torch.nn.Linear(2, 1)
    saver = Saver({"model": model}, folder, accelerator, precision=None, images="")
    saver.save(1)
    if accelerator.process_index == 1:
        torch.nn.init.constant_(model.weight, torch.inf)
    try:
        saver.save(2)
    except NonFiniteError as error:
        said = str(error)
    return [*gather_object([said]), *(path.name[:13] for path in folder.iterdir())]


def main() -> None:
    """Train, and look at what the process group was told."""
    datasets.disable_progress_bars()
    torch.set_num_threads(1)
    config = read(["--config", sys.argv[1]]).config
    found = {
        "precisions": precisions(config),
        "diverged": diverged_and_resumed(config),
        "refused": refused(RunFolder(Path(f"{config.output}-saver")).checkpoints),
    }
    group = torch.distributed.distributed_c10d._get_default_group()
    patience = group._get_backend(torch.device("cpu")).options._timeout.total_seconds()
    if torch.distributed.get_rank() == 0:
        print(json.dumps({**found, "patience": patience}))
    end_processes()


if __name__ == "__main__":
    main()
