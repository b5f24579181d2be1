"""The frozen result of ``inspect`` and ``convert_``: a table for a person, a dict for a program."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from smoothify.surgery.sites import Operation, Site

_MARKS = {True: "yes", False: "NO", None: "?"}


@dataclass(frozen=True, slots=True)
class Report:
    """Every activation site of a model, what became of it, and what else on the input's path is not smooth.

    ``modes`` names the modes that the probe ran ("train", "eval"); it is empty where no probe ran, and then
    nothing is ``verified``: the sites are those that can be seen without running the model.

    >>> import smoothify, torch
    >>> report = smoothify.inspect(torch.nn.Sequential(torch.nn.ReLU(), torch.nn.GELU()))
    >>> [(site.path, site.function, site.smooth) for site in report.sites]
    [('0', 'relu', False), ('1', 'gelu', True)]
    >>> report.smooth, report.verified
    (False, False)
    """

    model: str
    sites: tuple[Site, ...]
    operations: tuple[Operation, ...] = ()
    """Non-smooth operations on the input's path that are no activations: max pooling, abs, sort, …"""
    unverified: tuple[Operation, ...] = ()
    """Operations on the input's path whose smoothness nobody knows: comparisons, ``where``, custom ones."""
    modes: tuple[str, ...] = ()
    applied: bool = False
    """Whether a conversion changed something."""
    note: str = ""
    """What was not run, and why."""
    followed: str = ""
    """What the host's own description of the model now says, where it could follow."""

    @property
    def converted(self) -> tuple[Site, ...]:
        """The sites that a conversion changed."""
        return tuple(site for site in self.sites if site.becomes is not None)

    @property
    def remaining(self) -> tuple[Site, ...]:
        """The sites that still run an activation known not to be smooth."""
        return tuple(site for site in self.sites if site.now_smooth is False)

    @property
    def unknown(self) -> tuple[Site, ...]:
        """The sites of which nobody knows whether they are smooth."""
        return tuple(site for site in self.sites if site.now_smooth is None)

    @property
    def smooth(self) -> bool:
        """Whether no known site is, or stays, non-smooth or unknown."""
        return not self.remaining and not self.unknown

    @property
    def verified(self) -> bool:
        """Whether an execution proved it: both modes probed, everything on the input's path run and known."""
        return self.smooth and not self.unverified and not self.note and {"train", "eval"} <= set(self.modes)

    @property
    def kinks(self) -> tuple[Operation, ...]:
        """Of the non-smooth operations those that are no max pooling, which the paper keeps (footnote 3)."""
        return tuple(operation for operation in self.operations if "max_pool" not in operation.name)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON-able values."""
        return {
            "model": self.model,
            "smooth": self.smooth,
            "verified": self.verified,
            "modes": list(self.modes),
            "applied": self.applied,
            "note": self.note,
            "followed": self.followed,
            "sites": [site.to_dict() for site in self.sites],
            "operations": [operation.to_dict() for operation in self.operations],
            "unverified": [operation.to_dict() for operation in self.unverified],
        }

    def __str__(self) -> str:
        parts = [self._headline()]
        if self.sites:
            parts.append(_table(("where", "kind", "function", "smooth", "becomes", "how"), _rows(self.sites)))
        notes = sorted({site.note for site in self.sites if site.note})
        parts += [f"  note: {note}" for note in notes]
        for title, operations in (
            ("also non-smooth, kept:", self.operations),
            ("unverified, nobody knows whether they are smooth:", self.unverified),
        ):
            if operations:
                rows = _grouped((op.path, (op.name, op.source or "", op.note), op.count) for op in operations)
                parts.append(f"{title}\n{_table(('where', 'operation', 'source', 'note'), rows)}")
        parts += [f"  {self.followed}"] if self.followed else []
        parts.append(self.verdict)
        return "\n".join(parts)

    @property
    def doubts(self) -> tuple[str, ...]:
        """Why the model may not be smooth: what was not run, operations that nobody vouches for, and kinks."""
        if not self.modes:
            return (self.verdict,)
        kinks = (f"{operation}, which is not smooth and was kept" for operation in self.kinks)
        return (*((self.note,) if self.note else ()), *map(str, self.unverified), *kinks)

    def _headline(self) -> str:
        total = len(self.sites)
        count = f"{total} activation site{'' if total == 1 else 's'}"
        left = len(self.remaining)
        state = (
            "all smooth"
            if self.smooth
            else f"{left} not smooth" + (f", {len(self.unknown)} unknown" if self.unknown else "")
        )
        changed = f", {len(self.converted)} converted" if self.applied else ""
        return f"{self.model}: {count}{changed}, {state}"

    @property
    def verdict(self) -> str:
        """What is proven, and if nothing is, why, in a line."""
        if not self.modes:
            why = self.note or "no forward was run"
            return f"not verified: {why}; calls of functions inside forward methods were not looked for"
        ran = " and ".join(self.modes)
        kinks = ", ".join(sorted({operation.name for operation in self.kinks}))
        kept = f"; kept, and not smooth: {kinks}" if kinks else ""
        if self.verified:
            return f"verified by execution ({ran} mode): every operation on the input's path is known{kept}"
        if not self.smooth:
            return f"not smooth (run in {ran} mode){kept}"
        left = f"{len(self.unverified)} operations are of unknown smoothness" if self.unverified else self.note
        return f"not verified (run in {ran} mode): {left}{kept}"


def _rows(sites: Iterable[Site]) -> list[tuple[str, ...]]:
    rows = _grouped(
        (
            site.path + (f" ({len(site.aliases)} aliases)" if site.aliases else ""),
            (
                f"{site.kind}{f' {site.source}' if site.source else ''}",
                site.function,
                _MARKS[site.now_smooth],
                site.becomes or "",
                site.how or "",
            ),
            1,
        )
        for site in sites
    )
    return _folded(rows)


def _folded(rows: list[tuple[str, ...]], at_most: int = 6) -> list[tuple[str, ...]]:
    """Fold many rows that differ in nothing but their place into one that names the first."""
    alike: dict[tuple[str, ...], list[tuple[str, ...]]] = {}
    for row in rows:
        alike.setdefault(row[1:], []).append(row)
    folded: list[tuple[str, ...]] = []
    for cells, members in alike.items():
        if len(members) <= at_most:
            folded += members
        else:
            folded.append((f"{members[0][0]} and {len(members) - 1} more such places", *cells))
    return folded


def _grouped(rows: Iterable[tuple[str, tuple[str, ...], int]]) -> list[tuple[str, ...]]:
    """Join rows whose paths differ only in numbers: ``layer1.0.act`` … become ``layer*.*.act ×8``."""
    groups: dict[tuple[str, ...], list[tuple[str, int]]] = {}
    for path, cells, count in rows:
        key = (re.sub(r"\d+", "*", path), *cells)
        groups.setdefault(key, []).append((path, count))
    shown: list[tuple[str, ...]] = []
    for key, members in groups.items():
        total = sum(count for _, count in members)
        where = members[0][0] if len({path for path, _ in members}) == 1 else key[0]
        shown.append((f"{where or '(root)'}{f' ×{total}' if total > 1 else ''}", *key[1:]))
    return shown


def _table(heads: Sequence[str], rows: Sequence[tuple[str, ...]]) -> str:
    used = [column for column in range(len(heads)) if any(row[column] for row in rows)]
    lines = [
        tuple(heads[column] for column in used),
        *(tuple(row[column] for column in used) for row in rows),
    ]
    widths = [max(len(line[index]) for line in lines) for index in range(len(used))]
    return "\n".join(
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )
