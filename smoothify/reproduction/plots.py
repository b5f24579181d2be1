"""How the runs of a table went, epoch by epoch."""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from smoothify.activations.plots import COLOURS
from smoothify.errors import DataError
from smoothify.reproduction.record import read_records
from smoothify.reproduction.table import Table


def held_out_curves(table: Table) -> Figure:
    """Draw robust accuracy on held-out images after every epoch: a panel for each row that ran, a line for each seed.

    Args:
        table: with records in its folder of results.

    Raises:
        DataError: nobody ran the table.
    """
    known = [(row, records) for row in table.rows if (records := read_records(table, row))]
    if not known:
        raise DataError(f"{table.name} has no records to draw; python -m smoothify reproduce {table.name} makes them")
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
