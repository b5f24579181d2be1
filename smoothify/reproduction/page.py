"""The page of results: every figure from a record, the paper's beside it, blank where nobody ran it."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean, stdev

from smoothify.reproduction.compare import Difference, difference
from smoothify.reproduction.record import Record, read_records
from smoothify.reproduction.table import Table

_OPENING = """# Results

Written by `python -m smoothify results` from the records of runs; nothing here is typed by hand. Accuracies in percent,
the mean over seeds ± their standard deviation. The last column compares with the table's first row, or with the one
in parentheses, on the same seeds and images; its 95% interval covers another draw of seeds and of test images, and is
bold where it excludes zero. "Training" is the accuracy on attacked training images in the last epoch, to be set beside
the test numbers (§7); "largest fall" is how far the accuracy on held-out images under PGD-10 fell, at the most, below
what it had been after an earlier epoch: large where training overfits to its own attack for a while, or is unstable. A
row whose seeds are "not run" is one that nobody ran here. "Paper" is what Xie et al. (arXiv:2006.14536) report; where
it is empty they give no number. The tables that were run here come first.
"""
_NOT_RUN = "**Nobody ran this table here.**"


def results_page(tables: Sequence[Table]) -> str:
    """Return the page of all results, as Markdown, with a section for each table."""
    run_first = sorted(tables, key=lambda table: not any(read_records(table, row) for row in table.rows))
    ending = "To run it: `python -m smoothify reproduce {}`\n"
    return "\n".join([_OPENING, *(f"{section(table)}\n\n{ending.format(table.name)}" for table in run_first)])


def section(table: Table) -> str:
    """Return a table with what is known about it: the paper's numbers, those of its records, and their evidence."""
    records = {row.name: read_records(table, row) for row in table.rows}
    columns = list(dict.fromkeys(column for found in records.values() for one in found for column in one.columns))
    training = ["training", "largest fall"] if columns else []
    heads = ["", *(f"paper: {column}" for column in table.columns), "seeds", *training, "clean", *columns]
    if columns:
        one_for_all = all(row.against in (None, table.rows[0].name) for row in table.rows)
        heads.append(f"{columns[-1]} against {table.rows[0].name if one_for_all else '(a row)'}")
    known = _evidence(table, [record for found in records.values() for record in found])
    lines = [f"## {table.title}", "", table.about, "", known, "", _line(heads), _line(["---"] * len(heads))]
    for row in table.rows:
        paper = [f"{row.paper[column]:.1f}" if column in row.paper else "" for column in table.columns]
        found = records[row.name]
        cells = [
            row.name,
            *paper,
            str(len(found) or "not run"),
            *(_in_training(found) if columns else ()),
            _clean(found),
            *(_robust(found, column) for column in columns),
        ]
        if columns:
            other = table.baseline(row)
            cells.append("" if other is None else _against(found, records[other.name], columns[-1]))
            if cells[-1] and other and not one_for_all:
                cells[-1] += f" ({other.name})"
        lines.append(_line(cells))
    if notes := [f"- {row.name}: {row.note}" for row in table.rows if row.note]:
        lines += ["", *notes]
    return "\n".join(lines)


def _in_training(records: Sequence[Record]) -> tuple[str, str]:
    return _over_seeds([one.train_accuracy for one in records]), _over_seeds([one.largest_fall for one in records])


def _clean(records: Sequence[Record]) -> str:
    return _over_seeds([record.measured[0].clean.value for record in records])


def _robust(records: Sequence[Record], column: str) -> str:
    return _over_seeds([record.columns[column].robust.value for record in records if column in record.columns])


def _over_seeds(values: Sequence[float]) -> str:
    if not values:
        return ""
    shown = f"{100 * mean(values):.1f}"
    return shown if len(values) == 1 else f"{shown} ± {100 * stdev(values):.1f}"


def _against(ours: Sequence[Record], theirs: Sequence[Record], column: str) -> str:
    compared = compare_rows(ours, theirs, column)
    if compared is None:
        return ""
    return f"**{compared}**" if compared.significant else str(compared)


def compare_rows(ours: Sequence[Record], theirs: Sequence[Record], column: str) -> Difference | None:
    """Compare two rows in one column on the seeds that both have; None where there is none."""
    baseline = {record.seed: record.columns.get(column) for record in theirs}
    pairs = [
        (one.robust_correct, other.robust_correct)
        for record in ours
        if (one := record.columns.get(column)) and (other := baseline.get(record.seed))
    ]
    return difference([one for one, _ in pairs], [other for _, other in pairs]) if pairs else None


def _evidence(table: Table, records: Sequence[Record]) -> str:
    if not records:
        return f"{_NOT_RUN} The numbers in it are the paper's." if table.columns else _NOT_RUN
    machines = ", ".join(dict.fromkeys(record.machine for record in records))
    versions = ", ".join(
        dict.fromkeys(f"{name} {number}" for record in records for name, number in record.versions.items())
    )
    hours = sum(record.training_seconds for record in records) / 3600
    return (
        f"{len(records)} runs of {len(table.rows) * len(table.seeds)}, {hours:.1f} hours of training; {machines}; "
        f"{versions}."
    )


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
