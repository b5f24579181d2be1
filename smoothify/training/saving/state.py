"""Checkpoints: complete or absent, and never trusted without their checksum."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from torch import nn

from smoothify import __version__
from smoothify.errors import ConfigError, NonFiniteError, SmoothifyError
from smoothify.files import write_atomically
from smoothify.training.config import refuse_newer
from smoothify.training.processes import follow_main_process
from smoothify.training.saving.finite import not_finite
from smoothify.training.saving.record import Record
from smoothify.training.sharded import ShardedModel

_NAME = re.compile(r"step-(\d+)\.([0-9a-f]{16})\.pt")
_KEPT = 2  # the newest, and the one before it in case the newest is damaged


class Stateful(Protocol):
    """Anything that a checkpoint can keep."""

    def state_dict(self) -> Mapping[str, Any]:
        """Return its state: tensors, numbers, text, and lists and dictionaries of them."""

    def load_state_dict(self, state: Any, /) -> Any:
        """Take a state over."""


@dataclass(frozen=True)
class Checkpoint:
    """Everything that the rest of a run depends on.

    Random numbers are no part of it: every step draws from generators keyed by seed and step, or by seed, epoch and
    image.

    Args:
        step: how many optimizer steps are behind it.
        processes: how many processes took them.
        version: of smoothify.
        states: the ``state_dict`` of everything that has one, by name.
        precision: that training attacks are computed in; None where there are none.
        images: the fingerprint of the images; None in those of earlier versions.
    """

    step: int
    processes: int
    version: str
    states: dict[str, Any]
    precision: str | None = None
    images: str | None = None


def save(checkpoint: Checkpoint, folder: Path) -> Path:
    """Write a checkpoint, then delete all but it and the one before it."""
    buffer = io.BytesIO()
    torch.save(vars(checkpoint), buffer)
    content = buffer.getvalue()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"step-{checkpoint.step:08d}.{_digest(content)}.pt"
    write_atomically(path, content)
    for same_step in folder.glob(f"step-{checkpoint.step:08d}.*.pt"):
        if same_step != path:
            same_step.unlink()
    for old in newest_first(folder)[_KEPT:]:
        old.unlink()
    return path


def load(folder: Path, warn: Callable[[str], None]) -> Checkpoint:
    """Read the newest undamaged checkpoint of a folder; say which damaged ones were passed over.

    Raises:
        SmoothifyError: the folder holds no undamaged checkpoint.
        ConfigError: a newer smoothify wrote it.
    """
    for path in newest_first(folder):
        content = path.read_bytes()
        match = _NAME.fullmatch(path.name)
        if match is not None and match[2] == _digest(content):
            found = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
            refuse_newer(found["version"], str(path))
            return Checkpoint(**found)
        warn(f"checkpoint {path} is damaged (its checksum differs); the one before it is used")
    raise SmoothifyError(f"{folder}: no undamaged checkpoint to resume from; start the run again")


class Saver:
    """Saves and restores everything of a run that has a state; all processes call it together.

    Args:
        kept: what is saved, by name; the model and the optimizer among it.
        folder: where checkpoints are.
        accelerator: of the run; its gradient scaler is saved with the rest.
        precision: that training attacks are computed in; None where there are none.
        images: the fingerprint of the images that are trained on and held out.
    """

    def __init__(
        self,
        kept: Mapping[str, Stateful],
        folder: Path,
        accelerator: Accelerator,
        *,
        precision: str | None,
        images: str,
    ) -> None:
        scaler = {"scaler": accelerator.scaler} if accelerator.scaler is not None else {}
        self._kept: dict[str, Stateful] = {**kept, **scaler}
        self._folder, self._accelerator, self._precision, self._images = folder, accelerator, precision, images
        # an architecture may hold an infinity on purpose, such as an attention mask
        self._meant = set(not_finite(self._models(), accelerator.device))

    def agree(self) -> None:
        """Make the state of all processes the same where each has its own: batch statistics and sums of figures."""
        if self._accelerator.num_processes == 1:
            return
        for holder in self._kept.values():
            if isinstance(holder, nn.Module):
                follow_main_process(holder)
            elif isinstance(holder, Record | ShardedModel):
                holder.agree()

    def refuse_broken(self) -> None:
        """Refuse models that a step has broken, after `agree`.

        Raises:
            NonFiniteError: in every process, if some tensor is not finite in one of them.
        """
        self._refuse_broken(self._models())

    def save(self, step: int) -> None:
        """Write a checkpoint of the run after ``step`` steps.

        Raises:
            NonFiniteError: in every process, if some tensor is not finite in one of them; nothing is written then.
        """
        self.agree()
        states = {name: dict(holder.state_dict()) for name, holder in self._kept.items()}  # sharded: a common effort
        self._refuse_broken(states)
        if self._accelerator.is_main_process:
            processes = self._accelerator.num_processes
            save(Checkpoint(step, processes, __version__, states, self._precision, self._images), self._folder)
        self._accelerator.wait_for_everyone()

    def restore(self, warn: Callable[[str], None]) -> None:
        """Take the newest undamaged checkpoint over.

        Raises:
            SmoothifyError: there is none.
            ConfigError: other than this many processes wrote it, or a newer smoothify did, or attacks were computed in
                another precision, or the data set has changed.
        """
        checkpoint = load(self._folder, warn)
        if checkpoint.processes != self._accelerator.num_processes:
            raise ConfigError(
                f"{self._folder} was written by {checkpoint.processes} processes and this run has "
                f"{self._accelerator.num_processes}; resume it with --num_processes {checkpoint.processes}"
            )
        if checkpoint.precision not in (None, self._precision):
            raise ConfigError(
                f"{self._folder}: this run's attacks were computed in {checkpoint.precision}, and here would be in "
                f"{self._precision}; resume it with --attack.precision {checkpoint.precision}"
            )
        if checkpoint.images not in (None, self._images):
            raise ConfigError(
                f"{self._folder}: this run trained on other images than its data set has now: rows, labels or names of "
                "classes have changed, and images of one epoch would be held out in the next; bring back what it was, "
                "or start a new run from this one's best model (--model.name)"
            )
        for name, holder in self._kept.items():
            holder.load_state_dict(checkpoint.states[name])

    def _models(self) -> dict[str, Mapping[str, Any]]:
        return {name: self._kept[name].state_dict() for name in ("model", "average") if name in self._kept}

    def _refuse_broken(self, states: Mapping[str, Mapping[str, Any]]) -> None:
        broken = [name for name in not_finite(states, self._accelerator.device) if name not in self._meant]
        anywhere = torch.tensor([len(broken)], device=self._accelerator.device)
        if int(self._accelerator.reduce(anywhere, reduction="sum")):  # who raised alone would leave the others waiting
            names = [*broken[:1], *([f"{len(broken) - 1} more tensors"] if len(broken) > 1 else [])]
            what = " and ".join(names) or "the state of another process"
            raise NonFiniteError(f"{what} {'are' if len(broken) > 1 else 'is'} not finite")


def newest_first(folder: Path) -> list[Path]:
    """Return the checkpoints of a folder, the newest first."""
    if not folder.is_dir():
        return []
    return sorted((path for path in folder.iterdir() if _NAME.fullmatch(path.name)), reverse=True)


def step_of(path: Path) -> int:
    """Return how many steps are behind a checkpoint, which its name says.

    >>> step_of(Path("step-00000007.0123456789abcdef.pt"))
    7
    """
    match = _NAME.fullmatch(path.name)
    assert match is not None
    return int(match[1])


def set_aside(folder: Path, step: int) -> None:
    """Hide the checkpoint after so many steps, if there is one, from whoever looks for one; the file stays."""
    for path in list(folder.glob(f"step-{step:08d}.*.pt")):
        path.replace(path.with_name(f"broken-{path.name}"))


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
