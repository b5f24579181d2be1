"""Accelerate's state: one for the whole process, but a run's own where nobody else had started it."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
from accelerate import Accelerator, InitProcessGroupKwargs, PartialState
from accelerate.state import AcceleratorState, GradientState, is_initialized

from smoothify.errors import ConfigError
from smoothify.training.config import Config
from smoothify.training.refusals import refuse_launchers_own, refuse_tracker

# A process waits for the others as long as an attack takes. Where one has died, its launcher ends the rest; torch's own
# limits (10 minutes with NCCL, 30 with gloo) would end a measurement in which one merely has the harder images.
_PATIENCE = timedelta(days=7)


def patient() -> InitProcessGroupKwargs:
    """Return how long processes wait for each other, for whoever makes an `Accelerator`."""
    return InitProcessGroupKwargs(timeout=_PATIENCE)


@contextmanager
def accelerated(config: Config) -> Iterator[Accelerator]:
    """Start Accelerate for a run, and afterwards leave its state as it was, so that the next run may differ.

    A process group stays: torch makes none a second time among the same processes. The next run uses it again, and
    `end_processes` ends it.

    Raises:
        ConfigError: what Accelerate, or a launcher, does not do.
    """
    ours, partly_ours = not is_initialized(), not PartialState._shared_state
    accumulation = {name: copy.copy(value) for name, value in GradientState._shared_state.items()}
    try:
        yield start(config)
    finally:
        if not ours:
            GradientState._shared_state.update(accumulation)
        if ours:
            GradientState._reset_state()
            AcceleratorState._reset_state(reset_partial_state=partly_ours and not _in_a_group())


def start(config: Config) -> Accelerator:
    """Start Accelerate as the config and ``accelerate launch`` say."""
    engine = config.engine
    refuse_tracker(engine)
    refuse_launchers_own()
    if is_initialized() and engine.mixed_precision not in (None, AcceleratorState().mixed_precision):
        raise ConfigError(
            f"engine.mixed_precision={engine.mixed_precision}: this program has made an Accelerator with "
            f"mixed_precision={AcceleratorState().mixed_precision!r}, and all of a process share one; make it with "
            f"{engine.mixed_precision!r}, leave the option out, or train in a process that makes none"
        )
    try:
        accelerator = Accelerator(
            mixed_precision=engine.mixed_precision,
            gradient_accumulation_steps=engine.accumulation,
            log_with=engine.log_with,
            project_dir=config.output,
            kwargs_handlers=[patient()],
        )
    except ValueError as error:
        raise ConfigError(f"engine: {str(error).splitlines()[0]}") from error
    accelerator.gradient_accumulation_steps = engine.accumulation  # the launcher's environment would go before it
    return accelerator


def end_processes() -> None:
    """End the process group, if there is one, as the last thing that a command does."""
    if _in_a_group():
        torch.distributed.destroy_process_group()


def _in_a_group() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()
