"""Pictures of an evaluation."""

from __future__ import annotations

import io
import itertools
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor, nn

from smoothify.activations.plots import COLOURS
from smoothify.attacks import Attack, show
from smoothify.evaluation.landscape import Landscape
from smoothify.evaluation.logits import predict
from smoothify.evaluation.results import Share


def adversarial(model: nn.Module, images: Tensor, labels: Tensor, attack: Attack, classes: Sequence[str]) -> bytes:
    """Draw one column an image (clean, perturbation, attacked, the two predictions) and return the PNG.

    Where an attack gives back the clean image, as those of AutoAttack do if they do not succeed, it says so.

    Args:
        model: maps images in [0, 1] to logits; in eval mode.
        images: (columns, channels, height, width), in [0, 1].
        labels: (columns,), whole numbers.
        attack: the adversary.
        classes: the names of the labels.

    >>> from smoothify.attacks import PGD, ThreatModel
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(16, 2)).eval()
    >>> pgd = PGD(ThreatModel("linf", 0.1), steps=2)
    >>> adversarial(model, torch.rand(3, 1, 4, 4), torch.tensor([0, 1, 1]), pgd, ("cat", "dog"))[1:4]
    b'PNG'
    """
    attacked = attack(model, images, labels, generator=torch.Generator(images.device).manual_seed(0))
    epsilon = attack.threat.radius
    rows = (
        ("clean", images, predict(model, images)),
        (f"perturbation\n±{show(epsilon, attack.threat.norm)}", (attacked - images) / (2 * epsilon) + 0.5, None),
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
            if predictions is None and not (attacked[column] != images[column]).any():
                axis.set_xlabel("nothing found", fontsize=8, color="#57606a")
            if predictions is not None:
                right = bool(predictions[column] == labels[column])
                axis.set_xlabel(
                    f"{'✓' if right else '✗'} {classes[int(predictions[column])]}",
                    fontsize=8,
                    color="#1a7f37" if right else "#cf222e",
                )
    figure.suptitle(f"{attack}, {attack.threat}: predictions on clean and attacked images", fontsize=10)
    return _png(figure)


def _displayable(picture: Tensor) -> npt.NDArray[np.float32]:
    pixels: npt.NDArray[np.float32] = picture.detach().clamp(0, 1).cpu().numpy()
    return pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)


def robustness(
    curves: Mapping[str, Sequence[tuple[float, Share]]],
    *,
    against: Literal["steps", "epsilon"],
    chance: float,
    norm: str = "linf",
) -> bytes:
    """Draw robust accuracy against the attack's steps or against epsilon, with 95% intervals, and return the PNG.

    Args:
        curves: for each name in the legend, pairs of a number of steps, or an epsilon in [0, 1] units, and a share.
        against: what the pairs' first numbers are.
        chance: accuracy of a guess, in [0, 1]; drawn as a line.
        norm: of the epsilons.

    >>> curve = [(0.0, Share(86, 100)), (0.1, Share(74, 100))]
    >>> robustness({"smooth": curve}, against="epsilon", chance=0.1)[1:4]
    b'PNG'
    """
    figure = Figure(figsize=(5.6, 3.8), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    at = sorted({position for pairs in curves.values() for position, _ in pairs})
    for (name, pairs), colour in zip(curves.items(), itertools.cycle(COLOURS), strict=False):
        positions = [position for position, _ in pairs]
        axis.plot(positions, [100 * share.value for _, share in pairs], "o-", ms=4, lw=1.6, color=colour, label=name)
        low, high = zip(*(share.interval for _, share in pairs), strict=True)
        axis.fill_between(positions, [100 * v for v in low], [100 * v for v in high], color=colour, alpha=0.18, lw=0)
    axis.axhline(100 * chance, color="#57606a", lw=1, ls=":")
    axis.annotate("chance", (1, 100 * chance), xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=8)
    if against == "steps":
        axis.set_xscale("symlog", linthresh=1)
        axis.set_xticks(at, [f"{position:g}" for position in at])
        axis.minorticks_off()
        axis.set_xlim(at[0], 1.05 * at[-1])
        axis.set_xlabel("steps of the attack (logarithmic)")
    else:
        named = [show(position, norm) for position in at]
        in_255ths = all("/255" in name for name in named[at[0] == 0 :])
        axis.set_xticks(at, named if in_255ths else [f"{position:g}" for position in at])
        axis.set_xlabel("epsilon")
    axis.set(ylim=(-2, 102), ylabel="robust accuracy in percent")
    axis.grid(alpha=0.25)
    if against == "steps":  # each where no curve is
        axis.legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0, 0.14))
    else:
        axis.legend(frameon=False, fontsize=8, loc="upper right")
    return _png(figure)


def landscapes(around: Mapping[str, Landscape]) -> bytes:
    """Draw the loss around one image under several models, side by side on one scale, and return the PNG.

    Args:
        around: the titles and what `landscape` measured, for example of a ReLU network and of a smooth one.

    >>> offsets = torch.tensor([-1.0, 0.0, 1.0])
    >>> around = Landscape(torch.rand(3, 3), torch.zeros(3, 3) > 0, offsets, "random", "PGD-5, Linf, epsilon 0.1")
    >>> landscapes({"smooth": around})[1:4]
    b'PNG'
    """
    figure = Figure(figsize=(4.6 * len(around), 4.4), dpi=110)
    FigureCanvasAgg(figure)
    lowest = min(float(one.loss.min()) for one in around.values())
    highest = max(lowest + 0.01, *(float(one.loss.max()) for one in around.values()))  # a flat loss has a scale, too
    for column, (title, one) in enumerate(around.items(), start=1):
        axis = figure.add_subplot(1, len(around), column, projection="3d")
        across, along = np.meshgrid(one.offsets.numpy(), one.offsets.numpy(), indexing="ij")
        axis.plot_surface(
            across, along, one.loss.numpy(), cmap="viridis", vmin=lowest, vmax=highest, rcount=200, ccount=200, lw=0
        )
        axis.set_xlabel("attack's direction (ε)", fontsize=8, labelpad=-4)
        axis.set_ylabel(f"{one.second} direction (ε)", fontsize=8, labelpad=-4)
        axis.set_zlabel("cross-entropy", fontsize=8, labelpad=-4)
        ends = [float(one.offsets[0]), 0.0, float(one.offsets[-1])]
        axis.set_xticks(ends, [f"{end:g}" for end in ends])
        axis.set_yticks(ends, [f"{end:g}" for end in ends])
        axis.set_zlim(lowest, highest)
        axis.tick_params(labelsize=7, pad=-2)
        axis.set_title(title, fontsize=9)
        axis.view_init(elev=28, azim=-125)
        axis.set_box_aspect((1, 1, 0.8), zoom=0.95)
    first = next(iter(around.values()))
    figure.suptitle(f"Loss around one image ({first.attack})", fontsize=10)
    figure.subplots_adjust(left=0.04, right=0.94, bottom=0.03, top=0.86, wspace=0.1)
    return _png(figure)


def _png(figure: Figure) -> bytes:
    png = io.BytesIO()
    figure.savefig(png, format="png")
    return png.getvalue()
