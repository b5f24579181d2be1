"""The best model that each checkpoint knows: a run that goes on from an earlier one gets back what was best then."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from smoothify.files import whole_folder
from smoothify.hub import weights_digest
from smoothify.training.saving.run_folder import RunFolder

_KEPT = 2  # each of the two checkpoints that are kept knows one, and an epoch replaces one at most


def keep_aside(folder: RunFolder) -> None:
    """Keep the best model, which is about to be replaced, among the checkpoints; forget one that none of them knows."""
    known_by = weights_digest(folder.best) if folder.best.is_dir() else None
    if known_by is None:
        return
    place = _place(folder, known_by)
    if not place.exists():
        with whole_folder(place) as aside:
            shutil.copytree(folder.best, aside, copy_function=_link, dirs_exist_ok=True)
    place.touch()
    others = sorted(place.parent.glob("best-*"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
    for old in others[_KEPT:]:
        shutil.rmtree(old)


def bring_back(folder: RunFolder, known_by: str | None) -> str | None:
    """Make the best model that of a checkpoint again, if a later epoch of a course now left has replaced it.

    Args:
        folder: of the run.
        known_by: the SHA-256 of its weights that the checkpoint keeps; None if it knows of none.

    Returns:
        What was done, or cannot be, for people; None if nothing had to be.
    """
    if known_by is None or (folder.best.is_dir() and weights_digest(folder.best) == known_by):
        return None
    kept = _place(folder, known_by)
    if not kept.is_dir():
        return f"{folder.best} is not the model that the checkpoint knows as the best, and that one is not kept"
    with whole_folder(folder.best, overwrite=True) as aside:
        shutil.copytree(kept, aside, copy_function=_link, dirs_exist_ok=True)
    return f"{folder.best} is the best model up to there again"


def _place(folder: RunFolder, known_by: str) -> Path:
    return folder.checkpoints / f"best-{known_by[:16]}"


def _link(source: str, target: str) -> None:
    """Take a file in without copying it, where the file system can."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
