"""What may be another setting when a run is resumed, and the record of what was."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from smoothify.errors import ConfigError
from smoothify.files import write_atomically
from smoothify.training.config import Config
from smoothify.training.saving.settings import NOT_PART_OF_THE_RUN, flat, recipe

# what is trained does not depend on these, so a run may be resumed with others
_FREE = (
    *NOT_PART_OF_THE_RUN,
    *("data.workers", "engine.checkpoint_every", "engine.log_with", "imports", "smoothify"),
    *("attack.final", "attack.final_step_size", "attack.sanity"),
)
# what was left to the first machine may be said on the next one; its checkpoints know which precision it was
_LEFT_OPEN = {"attack.precision": "auto", "engine.mixed_precision": None}
# What a run that diverged is told to try. Every step reads them anew and no checkpoint depends on them: weights are
# kept in float32, and the state of float16's gradient scaler is of no use to what needs none. Back to float16 it would
# be missing, so that way is no remedy.
_REMEDIES = ("lr", "optimizer.clip_norm")

Changes = Mapping[str, tuple[Any, Any]]
"""Settings by their dotted names: what they were, and what they are."""


def differences(config: Config, file: Path) -> Changes:
    """Return which settings of a run, whose config is in a file, would be others; only remedies may be.

    Raises:
        ConfigError: the run was to come to something else.
    """
    before = flat(yaml.safe_load(file.read_text(encoding="utf-8")))
    now, usual = flat(recipe(config)), flat(recipe(Config()))
    names = [name for name in {**before, **now} if name not in _FREE]
    # an option that is newer than the run had its default then
    before, now = ({name: run.get(name, usual.get(name)) for name in names} for run in (before, now))
    left_open = {name for name, value in _LEFT_OPEN.items() if before[name] == value}
    differing = [name for name in names if before[name] != now[name] and name not in left_open]
    refused = [name for name in differing if not _is_remedy(name, before[name], now[name])]
    if refused:
        raise ConfigError(
            f"{file} differs from this command in {', '.join(refused)}; "
            f"drop those options, or start another run in another folder"
        )
    return {name: (before[name], now[name]) for name in differing}


def record_changes(file: Path, changed: Changes, *, step: int) -> None:
    """Add a line of JSON to a file: the step after which settings changed, and for each what it was and is."""
    written = file.read_text(encoding="utf-8") if file.is_file() else ""
    line = json.dumps({"after_step": step, **changed}) + "\n"
    if not written.endswith(line):  # a resume that was killed before it wrote its config has said so already
        write_atomically(file, written + line)


def describe_changes(file: Path) -> list[str]:
    """Write the lines of such a file, which need not be there, for people.

    >>> describe_changes(Path("runs/nowhere/changes.jsonl"))
    []
    """
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    return [describe(line.pop("after_step"), line) for line in map(json.loads, lines)]


def describe(step: int, changed: Changes) -> str:
    """Write changes as a sentence.

    >>> describe(10, {"lr": (0.1, 0.01)})
    'After step 10 with lr=0.01 in place of 0.1.'
    """
    told = ", ".join(f"{name}={now} in place of {before}" for name, (before, now) in changed.items())
    return f"After step {step} with {told}."


def _is_remedy(name: str, before: Any, now: Any) -> bool:
    return name in _REMEDIES or (name == "engine.mixed_precision" and before == "fp16" and now in ("bf16", "no"))
