"""The page of results: every figure from a record, the paper's beside it, blank where nobody ran it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean, stdev

from smoothify.reproduction.compare import difference, paired
from smoothify.reproduction.divergence import Divergence, read_divergences
from smoothify.reproduction.record import Record, read_records
from smoothify.reproduction.table import Row, Table

_OPENING = """# Results

Written by `python -m smoothify results` from the records of runs; nothing here is typed by hand. Accuracies in percent,
the mean over seeds ± their standard deviation. The last two columns compare a row with the table's first, or with the
one in parentheses, on the same seeds and the same images. Their 95% interval covers another draw of seeds and of test
images; it is bold where all of a table's seeds are there, three at least, and it excludes zero. Nothing corrects it for
the number of rows, and it takes what differs between seeds to be normal: read three seeds with care.

A run keeps the newest epoch that is within one standard error of the best on held-out training images; "training" is
that epoch's accuracy on attacked training images, to be set beside the test numbers (§7). "Single-step gap" is how much
more of the held-out images stand after one attack step than after the run's own check, in the same epoch: large where a
network has learned to withstand single steps. A row whose seeds are "not run" is one that nobody ran here; where runs
diverged, its figures are those of the others. "Paper" is what Xie et al. (arXiv:2006.14536) report; where it is empty
they give no number. The tables that were run here come first. Rows of several tables that come to the same recipe, such
as the default run's, are the same runs where all their figures agree; some were trained again, on another machine, and
are then other networks.

{hours}
"""
_PRECISIONS = {
    "replica": "a bfloat16 replica",
    "folded": "a float32 replica",
    "autocast": "the model under autocast",
    "same": "the model itself",
}
_ENOUGH_SEEDS = 3
_NOT_RUN = "**Nobody ran this table here.**"


def results_page(tables: Sequence[Table]) -> str:
    """Return the page of all results, as Markdown, with a section for each table.

    >>> from pathlib import Path
    >>> from smoothify.reproduction import read_table
    >>> print(results_page([read_table(Path("zoo/fashion_mnist/table_1/table.yaml"))]).splitlines()[0])
    # Results
    """
    run_first = sorted(tables, key=lambda table: not any(_runs(table, row) for row in table.rows))
    ending = "To run it: `python -m smoothify reproduce {}`\n"
    return "\n".join(
        [
            _OPENING.format(hours=_hours(tables)),
            *(f"{section(table)}\n\n{ending.format(table.name)}" for table in run_first),
        ]
    )


def _runs(table: Table, row: Row) -> list[Record | Divergence]:
    return [*read_records(table, row), *read_divergences(table, row)]


def section(table: Table) -> str:
    """Return a table with what is known about it: the paper's numbers, those of its records, and their evidence."""
    records = {row.name: read_records(table, row) for row in table.rows}
    diverged = {row.name: read_divergences(table, row) for row in table.rows}
    finished = [record for found in records.values() for record in found]
    lost = [one for found in diverged.values() for one in found]
    lines = [f"## {table.title}", "", table.about, "", _evidence(table, finished, lost), ""]
    if finished or lost or table.columns:
        lines += _grid(table, records, diverged)
    else:
        lines.append(f"Its rows: {', '.join(f'`{row.name}`' for row in table.rows)}.")
    notes = [f"- {row.name}: {row.note}" for row in table.rows if row.note]
    notes += [
        note
        for row in table.rows
        for note in (*_diverged(diverged[row.name]), *_sanity(records[row.name]), *_fallen(records[row.name]))
    ]
    if notes:
        lines += ["", *notes]
    return "\n".join(lines)


def _grid(
    table: Table, records: Mapping[str, Sequence[Record]], diverged: Mapping[str, Sequence[Divergence]]
) -> list[str]:
    """Lay the figures out, a line for each row."""
    columns = list(dict.fromkeys(column for found in records.values() for one in found for column in one.columns))
    training = ["training", "single-step gap"] if columns else []
    heads = ["", *(f"paper: {column}" for column in table.columns), "seeds", *training, "clean", *columns]
    one_for_all = all(row.against in (None, table.rows[0].name) for row in table.rows)
    if columns:
        against = table.rows[0].name if one_for_all else "(a row)"
        heads += [f"{column} against {against}" for column in ("clean", columns[-1].partition(",")[0])]
    lines = [_line(heads), _line(["---"] * len(heads))]
    for row in table.rows:
        paper = [f"{row.paper[column]:.1f}" if column in row.paper else "" for column in table.columns]
        found = records[row.name]
        cells = [
            row.name,
            *paper,
            _seeds(found, diverged[row.name]),
            *(_in_training(found) if columns else ()),
            _clean(found),
            *(_robust(found, column) for column in columns),
        ]
        if columns:
            other = table.baseline(row)
            for column in (None, columns[-1]):
                known = "" if other is None else _against(found, records[other.name], column, seeds=len(table.seeds))
                cells.append(f"{known} ({other.name})" if known and other and not one_for_all else known)
        lines.append(_line(cells))
    return lines


def _seeds(records: Sequence[Record], diverged: Sequence[Divergence]) -> str:
    """Say how many runs there were, and how many of them diverged."""
    if not diverged:
        return str(len(records) or "not run")
    return f"{len(records) + len(diverged)} ({len(diverged)} diverged)"


def _diverged(found: Sequence[Divergence]) -> list[str]:
    """Say where runs diverged."""
    return [f"- {one.row}, seed {one.seed}: {one}." for one in found]


def _sanity(records: Sequence[Record]) -> list[str]:
    """Say what the sanity checks came to; seeds that came to the same share a line."""
    found: dict[str, list[str]] = {}
    for record in records:
        for one in record.measured:
            if one.sanity is not None:
                said = f"sanity of {one.attack} on {one.robust.images} images: {one.sanity}"
                found.setdefault(said, []).append(f"{record.seed}")
    return [f"- {records[0].row}, seed {', '.join(seeds)}: {said}." for said, seeds in found.items()]


def _fallen(records: Sequence[Record]) -> list[str]:
    """Say how many images fell to which attack of an ensemble, where a record knows."""
    return [
        f"- {record.row}, seed {record.seed}: under {column}, "
        f"{', '.join(f'{count} fell to {attack}' for attack, count in one.fell_to.items())}."
        for record in records
        for column, one in record.columns.items()
        if {*one.fell_to} - {one.attack}
    ]


def _in_training(records: Sequence[Record]) -> tuple[str, str]:
    return _over_seeds([one.train_accuracy for one in records]), _over_seeds([one.single_step_gap for one in records])


def _clean(records: Sequence[Record]) -> str:
    return _over_seeds([record.measured[0].clean.value for record in records])


def _robust(records: Sequence[Record], column: str) -> str:
    return _over_seeds([record.columns[column].robust.value for record in records if column in record.columns])


def _over_seeds(values: Sequence[float]) -> str:
    if not values:
        return ""
    shown = f"{100 * mean(values):.1f}"
    return shown if len(values) == 1 else f"{shown} ± {100 * stdev(values):.1f}"


def _against(ours: Sequence[Record], theirs: Sequence[Record], column: str | None, *, seeds: int) -> str:
    pairs = paired(ours, theirs, column)
    if not pairs:
        return ""
    compared = difference([one for one, _ in pairs], [other for _, other in pairs])
    if compared.half_width is not None and len(pairs) < seeds:
        return f"{compared} ({len(pairs)} seeds)"
    return f"**{compared}**" if compared.significant and seeds >= _ENOUGH_SEEDS else str(compared)


def _hours(tables: Sequence[Table]) -> str:
    """Say how long all took, a run that stands in several tables counted once."""
    found = [record for table in tables for row in table.rows for record in read_records(table, row)]
    training = {record.run: record.training_seconds for record in found}
    measuring = {(record.run, *record.measures): record.measuring_seconds for record in found if record.measures}
    known = [seconds for seconds in measuring.values() if seconds is not None]
    return (
        f"In all: {len(training)} runs, {sum(training.values()) / 3600:.1f} hours of training; "
        f"{sum(known) / 3600:.1f} hours of further attacks, known of {len(known)} of {len(measuring)} evaluations."
    )


def _evidence(table: Table, records: Sequence[Record], diverged: Sequence[Divergence]) -> str:
    runs: list[Record | Divergence] = [*records, *diverged]
    if not runs:
        return f"{_NOT_RUN} The numbers in it are the paper's." if table.columns else _NOT_RUN
    machines = " and ".join(dict.fromkeys(run.machine for run in runs))
    versions = ", ".join(
        dict.fromkeys(
            f"{name} {number}"
            for run in runs
            for name, number in run.versions.items()
            if name != "commit"  # the records have it
        )
    )
    precisions = dict.fromkeys(_PRECISIONS[record.attack_precision] for record in records if record.attack_precision)
    attacked = f"training attacks on {' and '.join(precisions)}; " if precisions else ""
    hours = sum(record.training_seconds for record in records) / 3600
    lost = f" ({len(diverged)} diverged)" if diverged else ""
    return (
        f"{len(runs)} runs of {len(table.rows) * len(table.seeds)}{lost}, {hours:.1f} hours of training; {machines}; "
        f"{attacked}{versions}."
    )


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
