"""Pictures of a training run."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter


def curves(rows: Sequence[Mapping[str, Any]], title: str) -> bytes:
    """Draw loss and accuracies against epochs; return the PNG.

    Args:
        rows: one an epoch, as in ``metrics.jsonl``.
        title: above the picture.
    """
    epochs = [row["epoch"] for row in rows]
    figure = Figure(figsize=(9, 3.4), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    accuracy, loss = figure.subplots(1, 2, width_ratios=(3, 2))
    for key, label, style in (
        ("held_out_clean_accuracy", "clean, held out", "C0-"),
        ("held_out_robust_accuracy", "robust, held out", "C3-"),
        ("train_accuracy", "training batches", "C7--"),
    ):
        accuracy.plot(epochs, [row[key] for row in rows], style, label=label, marker="o", markersize=3)
    accuracy.yaxis.set_major_formatter(PercentFormatter(1.0))
    accuracy.set(xlabel="epoch", ylabel="accuracy", ylim=(0, 1))
    accuracy.legend(loc="lower right")
    loss.plot(epochs, [row["train_loss"] for row in rows], "C2-", marker="o", markersize=3)
    loss.set(xlabel="epoch", ylabel="training loss (nats)")
    loss.set_ylim(bottom=0)
    for axis in (accuracy, loss):
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.grid(alpha=0.3)
    figure.suptitle(title)
    png = io.BytesIO()
    figure.savefig(png, format="png")
    return png.getvalue()
