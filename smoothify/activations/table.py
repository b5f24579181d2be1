"""The catalogue as a table for readers."""

from __future__ import annotations

from smoothify.activations.catalogue import Activation, get, names


def catalogue_table() -> str:
    """Every entry as one row of Markdown: name, parameters, formula, smoothness order, what it keeps, source.

    >>> print(catalogue_table().splitlines()[2])
    | `relu` | – | max(x, 0) | 0 | output | Nair and Hinton, ICML 2010 (ref. 41) |
    """
    head = ["| name | parameters | formula | order | keeps | source |", "|---|---|---|---|---|---|"]
    return "\n".join([*head, *(_row(get(name)) for name in names())])


def _row(entry: Activation) -> str:
    parameters = ", ".join(f"{name} = {value:g}" for name, value in entry.defaults.items()) or "–"
    learned = ", learned" if entry.learnable else ""
    formula = entry.formula.replace("|", "\\|")
    order = _order(entry)
    return f"| `{entry.name}` | {parameters}{learned} | {formula} | {order} | {entry.keeps} | {entry.source} |"


def _order(entry: Activation) -> str:
    order = f"{entry.order():g}".replace("inf", "∞")
    return f"{order} (0 for other α)" if entry.name == "elu" else order
