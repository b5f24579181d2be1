"""Pictures of an evaluation."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor, nn

from smoothify.attacks import Attack, show
from smoothify.evaluation.accuracy import predict


def adversarial(model: nn.Module, images: Tensor, labels: Tensor, attack: Attack, classes: Sequence[str]) -> bytes:
    """Draw one column an image (clean, perturbation, attacked, the two predictions) and return the PNG.

    Args:
        model: maps images in [0, 1] to logits; in eval mode.
        images: (columns, channels, height, width), in [0, 1].
        labels: (columns,), whole numbers.
        attack: the adversary.
        classes: the names of the labels.
    """
    attacked = attack(model, images, labels, generator=torch.Generator(images.device).manual_seed(0))
    epsilon = attack.threat.radius
    rows = (
        ("clean", images, predict(model, images)),
        (f"perturbation\n±{show(epsilon)}", (attacked - images) / (2 * epsilon) + 0.5, None),
        ("attacked", attacked, predict(model, attacked)),
    )
    figure = Figure(figsize=(1.25 * len(images) + 0.9, 4.6), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(rows), len(images), squeeze=False)
    for line, (title, pictures, predictions) in zip(axes, rows, strict=True):
        for column, (axis, picture) in enumerate(zip(line, pictures, strict=True)):
            axis.imshow(_displayable(picture), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            axis.set(xticks=[], yticks=[])
            if column == 0:
                axis.set_ylabel(title, fontsize=9)
            if predictions is not None:
                right = bool(predictions[column] == labels[column])
                axis.set_xlabel(
                    f"{'✓' if right else '✗'} {classes[int(predictions[column])]}",
                    fontsize=8,
                    color="#1a7f37" if right else "#cf222e",
                )
    figure.suptitle(f"{attack}, {attack.threat}: predictions on clean and attacked images", fontsize=10)
    png = io.BytesIO()
    figure.savefig(png, format="png")
    return png.getvalue()


def _displayable(picture: Tensor) -> npt.NDArray[np.float32]:
    pixels: npt.NDArray[np.float32] = picture.detach().clamp(0, 1).cpu().numpy()
    return pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)
