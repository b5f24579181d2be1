"""The paper's Figures 1 and 2 and a sheet of the whole catalogue, drawn from the functions themselves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from smoothify.activations.catalogue import create, get, names

FIGURE_1 = (("relu", "ReLU"), ("parametric_softplus", "Parametric Softplus (α = 10)"))
# At its α = 400 SmoothReLU cannot be told from ReLU by eye: a smaller α shows its shape.
FIGURE_2 = (
    ("parametric_softplus", "Parametric Softplus (α = 10)"),
    ("silu", "SILU"),
    ("gelu", "GELU"),
    ("elu", "ELU (α = 1)"),
    ("smoothrelu(alpha=5)", "SmoothReLU (α = 5)"),
)
COLOURS = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
)  # told apart by colour-blind eyes


def curves(spec: str, low: float = -4.0, high: float = 4.0) -> tuple[Tensor, Tensor, Tensor]:
    """x, the activation at x and its first derivative, as float64 vectors of 801 points.

    >>> x, value, slope = curves("relu")
    >>> value[-1].item(), slope[0].item(), slope[-1].item()
    (4.0, 0.0, 1.0)
    """
    x = torch.linspace(low, high, 801, dtype=torch.float64, requires_grad=True)
    value = create(spec).double()(x)
    (slope,) = torch.autograd.grad(value.sum(), x)
    return x.detach(), value.detach(), slope


def figure_1() -> Figure:
    """ReLU and Parametric Softplus: forward on the left, first derivative on the right.

    >>> [axes.get_title() for axes in figure_1().axes]
    ['forward', 'first derivative']
    """
    return _forward_and_derivative(FIGURE_1, -1.0, 1.0)


def figure_2() -> Figure:
    """Five smooth activations: forward on the left, first derivative on the right.

    >>> [text.get_text() for text in figure_2().axes[0].get_legend().get_texts()][1:4]
    ['SILU', 'GELU', 'ELU (α = 1)']
    """
    return _forward_and_derivative(FIGURE_2, -3.0, 3.0)


def catalogue_sheet() -> Figure:
    """Every entry of the catalogue with its first derivative (dashed), one panel each.

    >>> catalogue_sheet().axes[0].get_title()
    'relu (C⁰)'
    """
    entries = names()
    columns = 6
    rows = -(-len(entries) // columns)
    figure = Figure(figsize=(2.1 * columns, 1.9 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, sharex=True, squeeze=False).flatten()
    for axes, name in zip(panels, entries, strict=False):
        x, value, slope = curves(name)
        axes.plot(x, value, color=COLOURS[0])
        axes.plot(x, slope, color=COLOURS[1], linestyle="--", linewidth=1.2)
        axes.set_title(f"{name} ({_order(get(name).order())})", fontsize=9)
        axes.set_ylim(-1.2, 3.2)
        _plain(axes)
    for axes in panels[len(entries) :]:
        axes.set_visible(False)
    return figure


def draw(folder: Path) -> list[Path]:
    """Draw all figures as PNG files into ``folder``, which is made if need be; returns their paths.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     [path.name for path in draw(Path(folder))]
    ['figure-1.png', 'figure-2.png', 'catalogue.png']
    """
    folder.mkdir(parents=True, exist_ok=True)
    figures = {"figure-1": figure_1(), "figure-2": figure_2(), "catalogue": catalogue_sheet()}
    paths = []
    for name, figure in figures.items():
        paths.append(folder / f"{name}.png")
        figure.savefig(paths[-1], dpi=90, metadata={"Software": None})
    return paths


def _forward_and_derivative(lines: Sequence[tuple[str, str]], low: float, high: float) -> Figure:
    figure = Figure(figsize=(8, 3), layout="constrained")
    left, right = figure.subplots(1, 2)
    for (spec, label), colour in zip(lines, COLOURS, strict=False):
        x, value, slope = curves(spec, low, high)
        left.plot(x, value, color=colour, label=label)
        right.plot(x, slope, color=colour)
    left.set_title("forward", fontsize=10)
    right.set_title("first derivative", fontsize=10)
    left.legend(framealpha=1, edgecolor="none", fontsize=8)
    for axes in (left, right):
        _plain(axes)
    return figure


def _plain(axes: Axes) -> None:
    axes.axhline(0, color="0.8", linewidth=0.8, zorder=0)
    axes.axvline(0, color="0.8", linewidth=0.8, zorder=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)


def _order(order: float) -> str:
    return "C∞" if math.isinf(order) else f"C{'⁰¹²'[int(order)]}"
