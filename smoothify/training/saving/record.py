"""How far a run is and what it has found so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from accelerate import Accelerator
from torch import Tensor


class Record:
    """Counts steps, sums their figures on the device, and keeps one row for each finished epoch.

    Args:
        accelerator: whose processes' figures belong together.
        judged_by: the accuracy on held-out images that says which epoch is best.
        unjudged: the first so many epochs, after which the model is not yet what it is to be; none of them is the best
            if there is a later one.
    """

    def __init__(
        self, accelerator: Accelerator, *, judged_by: Literal["clean", "robust"] = "robust", unjudged: int = 0
    ) -> None:
        self._accelerator = accelerator
        self.judged_by, self._unjudged = judged_by, unjudged
        self.step = 0
        self.rows: list[dict[str, Any]] = []
        self.best = 0
        self.weights_of_best: str | None = None  # their SHA-256, in the main process, once they are saved
        self.elapsed = 0.0  # seconds of the running epoch that are behind a checkpoint within it
        self._totals = torch.zeros(3, device=accelerator.device)  # images, loss, right answers
        self._bad_step = torch.full((), -1, device=accelerator.device)

    def add(self, figures: Tensor) -> None:
        """Count one step with its (images, sum of losses, right answers); nothing waits for the device."""
        bad = (self._bad_step < 0) & ~torch.isfinite(figures[1])
        self._bad_step = torch.where(bad, self.step, self._bad_step)
        self._totals += figures
        self.step += 1

    def bad_step(self) -> int | None:
        """Return the first step whose loss was not finite in any process; they call it together, and wait for it."""
        steps = self._accelerator.gather(self._bad_step[None]).tolist()
        return min((step for step in steps if step >= 0), default=None)

    def figures(self) -> dict[str, float]:
        """Return the mean loss and the share of right answers since the epoch began; after `agree`, everyone's."""
        images, loss, right = self._totals.tolist()
        return {"train_loss": loss / images, "train_accuracy": right / images}

    def describe(self) -> str:
        """Write how the epoch goes, and how the one before it ended, as the text beside a bar."""
        figures = self.figures()
        now = f"loss {figures['train_loss']:.3f}  attacked {100 * figures['train_accuracy']:.1f}%"
        if not self.rows:
            return now
        clean, robust = self.rows[-1]["held_out_clean_accuracy"], self.rows[-1]["held_out_robust_accuracy"]
        return f"{now}  held out: clean {100 * clean:.1f}% robust {100 * robust:.1f}%"

    @property
    def stalled(self) -> int:
        """How many epochs have passed since the one with the highest accuracy on held-out images."""
        accuracies = self._accuracies
        return len(accuracies) - 1 - accuracies.index(max(accuracies)) if accuracies else 0

    def agree(self) -> None:
        """Give every process its share of all processes' sums, so that one of them can speak and save for all."""
        self._totals = self._accelerator.reduce(self._totals, reduction="mean")

    def finish_epoch(self, row: dict[str, Any], *, held_out: int) -> None:
        """Keep an epoch's row; it is the best so far if it `stands` among ``held_out`` images. Sums start anew."""
        self.rows.append(row)
        self.elapsed = 0.0
        self._totals.zero_()
        if len(self.rows) <= self._unjudged or stands(self._accuracies, held_out):
            self.best = len(self.rows) - 1

    @property
    def _accuracies(self) -> list[float]:
        return [row[f"held_out_{self.judged_by}_accuracy"] for row in self.rows[self._unjudged :]]

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps of it, after `agree`."""
        figures = {"step": self.step, "rows": self.rows, "best": self.best, "totals": self._totals.tolist()}
        return {**figures, "weights_of_best": self.weights_of_best, "elapsed": self.elapsed}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from where another record was."""
        self.step, self.rows, self.best = state["step"], list(state["rows"]), state["best"]
        self.weights_of_best = state.get("weights_of_best")  # which earlier versions did not keep, nor the next
        self.elapsed = state.get("elapsed", 0.0)
        self._totals = torch.tensor(state["totals"], device=self._accelerator.device)


def stands(accuracies: Sequence[float], images: int) -> bool:
    """Whether the newest epoch is to be taken for the best: its accuracy is the highest, to one standard error.

    Among epochs that the held-out images cannot tell apart the newest is the better bet, since it learned longest; an
    epoch after the robust accuracy has really fallen (catastrophic overfitting) is not taken.

    >>> stands([0.70, 0.72, 0.71], 500), stands([0.70, 0.72, 0.60], 500)
    (True, False)
    """
    newest, highest = accuracies[-1], max(accuracies)
    standard_error: float = (highest * (1 - highest) / images) ** 0.5
    return bool(newest >= highest - standard_error)


def describe_row(row: dict[str, Any], epochs: int) -> str:
    """Write one row of ``metrics.jsonl`` as a line for people."""
    return (
        f"epoch {row['epoch']:>{len(str(epochs))}}/{epochs}  loss {row['train_loss']:.3f}  {describe_accuracies(row)}  "
        f"({row['images_per_second']:.0f} images/s, {row['seconds']:.0f} s)"
    )


def describe_accuracies(row: Mapping[str, Any]) -> str:
    """Write what a check of the held-out images found."""
    clean, robust = row["held_out_clean_accuracy"], row["held_out_robust_accuracy"]
    return f"held out: clean {100 * clean:.1f}%  {row['check']} {100 * robust:.1f}%"
