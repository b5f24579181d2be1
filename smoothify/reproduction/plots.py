"""Pictures of tables: how their runs went, what their accuracies go with, and when a smooth activation wins."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import correlation, mode
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from smoothify.activations import is_smooth
from smoothify.activations.plots import COLOURS
from smoothify.errors import DataError, UnknownNameError
from smoothify.reproduction.compare import Difference, difference, paired
from smoothify.reproduction.record import Record, read_records
from smoothify.reproduction.table import Row, Table
from smoothify.training import Config


def held_out_curves(table: Table) -> Figure:
    """Draw robust accuracy on held-out images after every epoch: a panel for each row that ran, a line for each seed.

    Args:
        table: with records in its folder of results.

    Raises:
        DataError: nobody ran the table.

    >>> from pathlib import Path
    >>> from smoothify.reproduction import read_table
    >>> table = read_table(Path("zoo/fashion_mnist/table_1/table.yaml"))
    >>> [panel.get_title() for panel in held_out_curves(table).axes]
    ['neither', 'attacker', 'optimizer', 'both']
    """
    known = [(row, records) for row in table.rows if (records := read_records(table, row))]
    if not known:
        raise _nothing_to_draw([table])
    rows = -(-len(known) // 5)
    columns = -(-len(known) // rows)
    figure = Figure(figsize=(2.6 * columns, 2.2 * rows + 0.4), dpi=110, layout="constrained")
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False).flatten()
    for axes, (row, records) in zip(panels, known, strict=False):
        for record in records:
            epochs = range(1, len(record.held_out) + 1)
            shares = [100 * share for share in record.held_out]
            colour = COLOURS[table.seeds.index(record.seed) % len(COLOURS)]
            axes.plot(epochs, shares, color=colour, lw=1.4, label=f"seed {record.seed}")
        axes.set_title(row.name, fontsize=9)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in panels[len(known) :]:
        axes.set_visible(False)
    most = max(panels[: len(known)], key=lambda axes: len(axes.lines))
    most.legend(frameon=False, fontsize=8, loc="lower right")
    figure.supxlabel("epoch", fontsize=9)
    figure.supylabel("held-out robust accuracy (%)", fontsize=9)
    return figure


def gap_against_accuracy(tables: Sequence[Table], column: str) -> Figure:
    """Draw robust accuracy against the single-step gap: a point for every network, one of several tables once.

    Networks that were trained without an adversary are left out: they stand against none.

    Args:
        tables: with records in their folders of results.
        column: the attack, as a table heads it: "APGD-DLR, Linf 0.1 (1,000 images)".

    Raises:
        DataError: no run was attacked like this.

    >>> from pathlib import Path
    >>> from smoothify.reproduction import read_table
    >>> table = read_table(Path("zoo/fashion_mnist/table_1/table.yaml"))
    >>> gap_against_accuracy([table], "APGD-DLR, Linf 0.1 (1,000 images)").axes[0].get_ylabel()
    'APGD-DLR, Linf 0.1 (1,000 images) (%)'
    """
    found = {
        record.network: (_kind(row), record)
        for table in tables
        for row in table.rows
        if row.settings.get("objective") != "standard"
        for record in read_records(table, row)
        if column in record.columns
    }
    if not found:
        raise _nothing_to_draw(tables, f" attacked by {column}")
    figure = Figure(figsize=(6.4, 4.2), dpi=110, layout="constrained")
    axes = figure.subplots()
    for kind, colour in _COLOUR_OF.items():
        runs = [record for other, record in found.values() if other == kind]
        if not runs:
            continue
        gaps = [100 * record.single_step_gap for record in runs]
        axes.scatter(gaps, _robust(runs, column), color=colour, s=26, alpha=0.8, label=f"{kind} ({len(runs)} runs)")
    every = [record for _, record in found.values()]
    gaps = [record.single_step_gap for record in every]
    if len(set(gaps)) > 1:
        axes.set_title(f"correlation {correlation(gaps, _robust(every, column)):+.2f}", fontsize=9)
    axes.set_xlabel("held-out accuracy after one attack step, less that after the check's steps (points)", fontsize=9)
    axes.set_ylabel(f"{column} (%)", fontsize=9)
    axes.legend(frameon=False, fontsize=8)
    _finish(figure)
    return figure


def differences(tables: Sequence[Table]) -> Figure:
    """Draw how much a smooth activation gains over the ReLU row that it is compared with, setting by setting.

    Under the last attack that both rows were measured with, named where it is not the one that most share; rows
    that stand in several tables are drawn once, where they have most seeds. A large point is the mean over seeds, a
    small one a seed's own gain. A bar is the 95% interval of `difference`, in another colour where it excludes
    zero; one seed tells of no interval. A row whose ReLU row differs in more than the activation says which it is.

    Args:
        tables: with records in their folders of results.

    Raises:
        DataError: no smooth row and its ReLU row ran with the same seed.

    >>> from pathlib import Path
    >>> from smoothify.reproduction import read_table
    >>> table = read_table(Path("zoo/fashion_mnist/learning_rate/table.yaml"))
    >>> differences([table]).axes[0].get_yticklabels()[0].get_text()
    'learning_rate: parametric_softplus-0.1'
    """
    distinct: dict[tuple[str, str, str], _Gain] = {}
    for gain in (gain for table in tables for gain in _gains(table)):
        known = distinct.setdefault(gain.runs, gain)
        if len(gain.of_seeds) > len(known.of_seeds):
            distinct[gain.runs] = gain
    if not distinct:
        raise _nothing_to_draw(tables, " of a smooth row and of the ReLU row that it is compared with")
    found = list(distinct.values())
    usual = mode(gain.column for gain in found)
    names = [gain.name if gain.column == usual else f"{gain.name}, {gain.column}" for gain in found]
    figure = Figure(figsize=(7.6, 0.31 * len(found) + 0.9), dpi=110, layout="constrained")
    axes = figure.subplots()
    axes.axvline(0, color="black", lw=0.8)
    for place, gain in enumerate(found):
        compared = gain.difference
        colour = COLOURS[1] if compared.significant else COLOURS[0]
        width = None if compared.half_width is None else 100 * compared.half_width
        if width is not None:
            axes.errorbar(100 * compared.value, place, xerr=width, fmt="o", color=colour, ms=5, lw=1.4)
        axes.scatter([100 * one for one in gain.of_seeds], [place] * len(gain.of_seeds), color="0.45", s=7, zorder=3)
        seeds = f"{len(gain.of_seeds)}"
        axes.annotate(seeds, (1.01, place), xycoords=axes.get_yaxis_transform(), va="center", fontsize=8)
    axes.annotate("seeds", (1.0, -0.9), xycoords=axes.get_yaxis_transform(), fontsize=8, annotation_clip=False)
    axes.set_yticks(range(len(found)), names)
    axes.set_ylim(len(found) - 0.5, -0.5)
    axes.set_xlim(-_WIDEST, _WIDEST)
    figure.supxlabel(f"gain over ReLU (points; {usual} where no attack is named)", fontsize=9)
    key = [
        Line2D([], [], marker="o", color=COLOURS[0], ms=5, lw=1.4, label="mean, 95% interval"),
        Line2D([], [], marker="o", color=COLOURS[1], ms=5, lw=1.4, label="the same, zero excluded"),
        Line2D([], [], marker="o", color="0.45", ms=2.6, lw=0, label="one seed"),
    ]
    figure.legend(handles=key, loc="outside upper center", ncols=len(key), frameon=False, fontsize=8)
    _finish(figure)
    return figure


_WIDEST = 20.0  # points; intervals of few seeds go on beyond it
_COLOUR_OF = {
    "ReLU": COLOURS[1],
    "smooth": COLOURS[0],
    "ReLU, smooth gradients in training": COLOURS[2],
    "another kink": COLOURS[3],
}


def _kind(row: Row) -> str:
    """Say which kind of network a row trains; one that keeps its activations is taken for ReLU's."""
    if row.settings.get("surrogate"):
        return "ReLU, smooth gradients in training"
    activation = row.settings.get("model", {}).get("activation", Config().model.activation)
    if activation in ("keep", "relu"):
        return "ReLU"
    try:
        return "smooth" if is_smooth(activation) else "another kink"
    except UnknownNameError:  # of one's own, which only the runs import
        return "smooth"


@dataclass(frozen=True)
class _Gain:
    """What a smooth row gains over its ReLU row, under an attack."""

    name: str
    runs: tuple[str, str, str]
    column: str
    difference: Difference
    of_seeds: tuple[float, ...]


def _gains(table: Table) -> Iterator[_Gain]:
    """Yield what every smooth row gains whose baseline is ReLU, where both ran."""
    for row in table.rows:
        other = table.baseline(row)
        if other is None or (_kind(row), _kind(other)) != ("smooth", "ReLU"):
            continue
        ours, theirs = read_records(table, row), read_records(table, other)
        both = [column for record in ours for column in record.columns if any(column in one.columns for one in theirs)]
        if both and (pairs := paired(ours, theirs, both[-1])):
            compared = difference([one for one, _ in pairs], [its for _, its in pairs])
            column = both[-1].partition(" (")[0]
            of_seeds = tuple(difference([one], [its]).value for one, its in pairs)
            runs = (row.digest, other.digest, column)
            over = "" if setting_of(row) == setting_of(other) else f"\nover {other.name}"
            yield _Gain(f"{table.folder.name}: {row.name}{over}", runs, column, compared, of_seeds)


def setting_of(row: Row) -> dict[str, Any]:
    """Give a row's settings without its activation."""
    model = {name: value for name, value in row.settings.get("model", {}).items() if name != "activation"}
    return {**row.settings, "model": model}


def _robust(records: Sequence[Record], column: str) -> list[float]:
    return [100 * record.columns[column].robust.value for record in records]


def _finish(figure: Figure) -> None:
    for axes in figure.axes:
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)


def _nothing_to_draw(tables: Sequence[Table], what: str = "") -> DataError:
    names = ", ".join(table.name for table in tables) or "no table was given"
    which = tables[0].name if len(tables) == 1 else "TABLE"
    return DataError(f"{names}: no records{what} to draw; python -m smoothify reproduce {which} makes them")
