"""A run that ceased to be finite: where it did, what it can go on from, and what to try."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from smoothify.errors import DivergedError, NonFiniteError
from smoothify.training.config import Config
from smoothify.training.saving import state
from smoothify.training.saving.record import Record


@contextmanager
def located(record: Record, epoch: int, checkpoints: Path, config: Config) -> Iterator[None]:
    """Say of what is not finite in this block that the newest step did it."""
    try:
        yield
    except NonFiniteError as error:
        raise _diverged(str(error), record.step - 1, epoch, checkpoints, config, before=record.step) from error


def refuse_bad_loss(record: Record, epoch: int, checkpoints: Path, config: Config, *, is_main: bool) -> None:
    """Refuse to go on after a loss that is not finite; all processes call together.

    A checkpoint of the very weights that gave the loss would give it again, so the main process sets it aside.

    Raises:
        DivergedError: in every process, if the loss was not finite in one of them.
    """
    step = record.bad_step()
    if step is not None:
        if is_main:
            state.set_aside(checkpoints, step)
        raise _diverged("the loss is not finite", step, epoch, checkpoints, config, before=step)


def _diverged(what: str, step: int, epoch: int, checkpoints: Path, config: Config, *, before: int) -> DivergedError:
    """Return the error for a step and an epoch, both counted from 0; good are checkpoints before so many steps."""
    # by number: the main process may not yet have set aside what another one sees
    good = [path for path in state.newest_first(checkpoints) if state.step_of(path) < before]
    remedies = ["a smaller lr"]
    if config.optimizer.clip_norm is None or config.optimizer.clip_norm > 1:
        remedies.append("optimizer.clip_norm=1")
    if config.engine.mixed_precision == "fp16":
        remedies.append("engine.mixed_precision=bf16 in place of fp16")
    found = f"the last good checkpoint is {good[0]}" if good else "there is no good checkpoint before it"
    where = "on resuming" if good else "in another run"
    advice = f"{found}; try {' or '.join(remedies)} {where}"
    return DivergedError(what, step=step, epoch=epoch + 1, advice=advice)
