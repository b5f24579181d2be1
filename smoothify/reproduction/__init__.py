"""Tables of experiments: what is compared, running what is missing, and the pages of results."""

from smoothify.reproduction.compare import Difference, difference
from smoothify.reproduction.divergence import Divergence, read_divergences
from smoothify.reproduction.guide import guides
from smoothify.reproduction.job import Machine
from smoothify.reproduction.page import results_page
from smoothify.reproduction.plots import differences, gap_against_accuracy, held_out_curves
from smoothify.reproduction.reading import find_tables, read_table
from smoothify.reproduction.record import Measurement, Record, read_records
from smoothify.reproduction.run import reproduce
from smoothify.reproduction.table import Measure, Row, Table

__all__ = [
    "Difference",
    "Divergence",
    "Machine",
    "Measure",
    "Measurement",
    "Record",
    "Row",
    "Table",
    "difference",
    "differences",
    "find_tables",
    "gap_against_accuracy",
    "guides",
    "held_out_curves",
    "read_divergences",
    "read_records",
    "read_table",
    "reproduce",
    "results_page",
]
