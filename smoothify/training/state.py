"""Checkpoints: complete or absent, and never trusted without their checksum."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from smoothify.errors import SmoothifyError
from smoothify.files import write_atomically

_NAME = re.compile(r"epoch-(\d+)\.([0-9a-f]{16})\.pt")
_KEPT = 2  # the newest, and the one before it in case the newest is damaged


@dataclass(frozen=True)
class Checkpoint:
    """Everything that the rest of a run depends on, after a finished epoch.

    Random numbers are not part of it: every epoch draws from generators keyed by (seed, epoch, process).

    Args:
        epochs_done: how many epochs are behind it.
        model: the classifier's ``state_dict``.
        optimizer: the optimizer's ``state_dict``.
        metrics: one row an epoch, as in ``metrics.jsonl``.
        best: index of the best row of ``metrics``.
    """

    epochs_done: int
    model: dict[str, Any]
    optimizer: dict[str, Any]
    metrics: list[dict[str, Any]]
    best: int


def save(checkpoint: Checkpoint, folder: Path) -> Path:
    """Write a checkpoint, then delete all but it and the one before it."""
    buffer = io.BytesIO()
    torch.save(vars(checkpoint), buffer)
    content = buffer.getvalue()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"epoch-{checkpoint.epochs_done:04d}.{_digest(content)}.pt"
    write_atomically(path, content)
    for same_epoch in folder.glob(f"epoch-{checkpoint.epochs_done:04d}.*.pt"):
        if same_epoch != path:
            same_epoch.unlink()
    for old in newest_first(folder)[_KEPT:]:
        old.unlink()
    return path


def load(folder: Path, warn: Callable[[str], None]) -> Checkpoint:
    """Read the newest undamaged checkpoint of a folder; say which damaged ones were passed over.

    Raises:
        SmoothifyError: the folder holds no undamaged checkpoint.
    """
    for path in newest_first(folder):
        content = path.read_bytes()
        match = _NAME.fullmatch(path.name)
        if match is not None and match[2] == _digest(content):
            return Checkpoint(**torch.load(io.BytesIO(content), map_location="cpu", weights_only=True))
        warn(f"checkpoint {path} is damaged (its checksum differs); the one before it is used")
    raise SmoothifyError(f"{folder}: no undamaged checkpoint to resume from; start the run again")


def newest_first(folder: Path) -> list[Path]:
    """Return the checkpoints of a folder, the newest first."""
    if not folder.is_dir():
        return []
    return sorted((path for path in folder.iterdir() if _NAME.fullmatch(path.name)), reverse=True)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
