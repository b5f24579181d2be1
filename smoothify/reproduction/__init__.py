"""Tables of experiments: what is compared, running what is missing, and the page of results."""

from smoothify.reproduction.compare import Difference, difference
from smoothify.reproduction.page import results_page
from smoothify.reproduction.record import Measurement, Record, read_records
from smoothify.reproduction.run import reproduce
from smoothify.reproduction.table import Measure, Row, Table, find_tables, read_table

__all__ = [
    "Difference",
    "Measure",
    "Measurement",
    "Record",
    "Row",
    "Table",
    "difference",
    "find_tables",
    "read_records",
    "read_table",
    "reproduce",
    "results_page",
]
