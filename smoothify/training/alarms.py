"""What the held-out figures say has gone wrong, and what to try."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_ERRORS = 3  # standard errors of a difference that is taken for real


def alarms(rows: Sequence[Mapping[str, Any]], *, images: int) -> list[str]:
    """Return a line for each thing that went wrong in the newest epoch; mostly none.

    Args:
        rows: one for each epoch, with the accuracies on held-out images: ``held_out_single_step_accuracy`` against
            PGD-1 and ``held_out_robust_accuracy`` against the check, which takes more steps.
        images: how many held-out images they were measured on.

    >>> row = {"held_out_single_step_accuracy": 0.50, "held_out_robust_accuracy": 0.45, "check": "PGD-10"}
    >>> alarms([row], images=500)
    []
    >>> fallen = {**row, "held_out_single_step_accuracy": 0.80, "held_out_robust_accuracy": 0.05}
    >>> print(*alarms([row, fallen], images=500))
    catastrophic overfitting: since epoch 1 PGD-10 accuracy fell from 45.0% to 5.0% while that of PGD-1 rose ...
    """
    found = [_catastrophic_overfitting(rows, images), _gradient_masking(rows[-1], images)]
    return [line for line in found if line is not None]


def _catastrophic_overfitting(rows: Sequence[Mapping[str, Any]], images: int) -> str | None:
    """Training against few steps can teach a model to fool just these (Wong et al., arXiv:2001.03994, §5.4)."""
    best = max(range(len(rows)), key=lambda epoch: float(rows[epoch]["held_out_robust_accuracy"]))
    before, now = rows[best], rows[-1]
    robust = (before["held_out_robust_accuracy"], now["held_out_robust_accuracy"])
    single = (before["held_out_single_step_accuracy"], now["held_out_single_step_accuracy"])
    if not _above(robust[0], robust[1], images) or single[1] <= single[0]:
        return None
    return (
        f"catastrophic overfitting: since epoch {best + 1} {now['check']} accuracy fell from {robust[0]:.1%} to "
        f"{robust[1]:.1%} while that of PGD-1 rose from {single[0]:.1%} to {single[1]:.1%}; try more attack.steps, a "
        "smaller attack.step_size or epsilon, attack.method n_fgsm, or a smooth activation; the best model is kept"
    )


def _gradient_masking(row: Mapping[str, Any], images: int) -> str | None:
    """One step that finds more than many says that gradients mislead (Athalye et al., arXiv:1802.00420, §3.1)."""
    robust, single = row["held_out_robust_accuracy"], row["held_out_single_step_accuracy"]
    if not _above(robust, single, images):
        return None
    return (
        f"gradient masking: PGD-1 leaves {single:.1%} right and {row['check']}, which takes more steps, {robust:.1%}; "
        "do not trust these figures: look for quantisation or randomness in the model, or for logits so large that the "
        "loss is flat, and measure with an attack without gradients"
    )


def _above(high: float, low: float, images: int) -> bool:
    variance = (high * (1 - high) + low * (1 - low)) / images
    return bool(high - low > _ERRORS * variance**0.5)
