"""Run by two processes: a run and, in the same processes, another one in bfloat16. The main process prints JSON.

ACCELERATE_USE_CPU=true torchrun --nproc_per_node 2 -m tests.training.twice CONFIG
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys

import datasets
import torch
import yaml

from smoothify.train import read
from smoothify.training import EngineConfig, train
from smoothify.training.accelerated import end_processes


def main() -> None:
    """Train twice, and look at what the process group was told."""
    datasets.disable_progress_bars()
    torch.set_num_threads(1)
    config = read(["--config", sys.argv[1]]).config
    found = []
    for precision in ("no", "bf16"):
        engine, output = EngineConfig(mixed_precision=precision), f"{config.output}-{precision}"
        folder = train(dataclasses.replace(config, engine=engine, output=output)).folder
        torch.distributed.barrier()
        found.append(yaml.safe_load(folder.config.read_text())["engine"]["mixed_precision"])
    group = torch.distributed.distributed_c10d._get_default_group()
    patience = group._get_backend(torch.device("cpu")).options._timeout.total_seconds()
    if os.environ["RANK"] == "0":
        print(json.dumps({"precisions": found, "patience": patience}))
    end_processes()


if __name__ == "__main__":
    main()
