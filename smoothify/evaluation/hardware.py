"""What a run ran on, in words."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import torch


def describe_machine() -> str:
    """Name the device and how much of it a run may use."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{_processor()}, {cores} cores"


def _processor() -> str:
    listed = Path("/proc/cpuinfo")
    if listed.is_file():
        first = listed.read_text(encoding="utf-8").partition("\n\n")[0]
        said = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in first.splitlines())}
        if "model name" in said:  # which a hypervisor may shorten to what two generations share
            return f"{said['model name']} (family {said.get('cpu family')}, model {said.get('model')})"
    return platform.processor() or platform.machine()
