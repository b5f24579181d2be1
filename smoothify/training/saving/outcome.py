"""What a finished run comes to."""

from __future__ import annotations

from dataclasses import dataclass

from smoothify.evaluation import RobustAccuracy
from smoothify.training.saving.run_folder import RunFolder


@dataclass(frozen=True)
class Outcome:
    """What a finished run comes to.

    Args:
        folder: where everything is.
        final: the best model, loaded back from its folder, on the test images.
        best_epoch: the epoch that it is from, counted from 1.
        reloaded_identical: whether the model loaded back gives the logits, bit for bit, of the one that was saved;
            None when that was before the run was resumed.
        parameters: how many numbers were trained.
        training_seconds: wall-clock time of the epochs with their checks; what is saved after each is not in it.
        total_seconds: wall-clock time from the command's first line to the last figure.

    >>> from pathlib import Path
    >>> final = RobustAccuracy("PGD-50", "linf", 0.1, 0.005, 0, (True,) * 4, (True, True, True, False))
    >>> outcome = Outcome(RunFolder(Path("runs/mine")), final, 21, True, 312_000, 200.0, 240.0)
    >>> outcome.final.robust.value, outcome.folder.best.as_posix()
    (0.75, 'runs/mine/best')
    """

    folder: RunFolder
    final: RobustAccuracy
    best_epoch: int
    reloaded_identical: bool | None
    parameters: int
    training_seconds: float
    total_seconds: float
