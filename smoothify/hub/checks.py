"""Checking what strangers wrote: each check notes its complaint, and all are raised together."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from smoothify.errors import HubError

T = TypeVar("T")

MAX_CONFIG_BYTES = 8 * 1024 * 1024
MAX_NESTING = 5
MAX_ITEMS = 4096
MAX_TEXT = 10_000
MAX_NUMBER = 1e9
# Of depths, widths and sizes: a library may make a list or tensor of that many before a single module is counted.
MAX_WHOLE_NUMBER = 1_000_000
SHOWN = 10


class Checks:
    """Collects what is wrong with ``source``; ``raise_if_any`` turns it into one ``HubError``.

    >>> checks = Checks("config.json")
    >>> checks.integer("num_classes", "ten", 0, 1000)
    >>> checks.raise_if_any()
    Traceback (most recent call last):
    ...
    smoothify.errors.HubError: config.json: num_classes is 'ten', not a whole number from 0 to 1000
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self.problems: list[str] = []

    def complain(self, where: str, what: str) -> None:
        """Note one problem."""
        self.problems.append(f"{where} {what}")

    def raise_if_any(self) -> None:
        """Raise one ``HubError`` with everything noted so far, if anything was."""
        if self.problems:
            more = len(self.problems) - SHOWN
            listed = "; ".join(self.problems[:SHOWN]) + (f"; and {more} more" if more > 0 else "")
            raise HubError(f"{self.source}: {listed}")

    def integer(self, where: str, value: object, low: int, high: int) -> int | None:
        """Return ``value`` if it is a whole number (a bool is not) in the range, else note it and return
        None.
        """
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return value
        self.complain(where, f"is {brief(value)}, not a whole number from {low} to {high}")
        return None

    def number(self, where: str, value: object, low: float, high: float) -> float | None:
        """Return ``value`` as a float if it is a finite number in the range, else note it and return None."""
        if isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high:
            return float(value)  # NaN fails both comparisons
        self.complain(where, f"is {brief(value)}, not a number from {low} to {high}")
        return None

    def flag(self, where: str, value: object) -> bool | None:
        """Return ``value`` if it is true or false, else note it and return None."""
        if isinstance(value, bool):
            return value
        self.complain(where, f"is {brief(value)}, not true or false")
        return None

    def text(self, where: str, value: object, pattern: str = r"(?s).*", limit: int = MAX_TEXT) -> str | None:
        """Return ``value`` if it is a string of at most ``limit`` characters that fits ``pattern``."""
        if isinstance(value, str) and len(value) <= limit and re.fullmatch(pattern, value):
            return value
        self.complain(where, f"is {brief(value)}, which cannot stand there")
        return None

    def line(self, where: str, value: object, limit: int) -> str | None:
        """Return ``value`` if it is one line of 1 to ``limit`` letters that all can be printed."""
        if isinstance(value, str) and 0 < len(value) <= limit and value.isprintable():
            return value
        self.complain(where, f"is {brief(value)}, not one printable line of 1 to {limit} letters")
        return None

    def sequence(self, where: str, value: object, lengths: range, item: Callable[[str, Any], T]) -> tuple[T, ...]:
        """Return ``value``'s items, each through ``item``, if it is a list of an allowed length."""
        if not isinstance(value, list | tuple) or len(value) not in lengths:
            self.complain(where, f"is {brief(value)}, not a list of {lengths.start} to {lengths.stop - 1} items")
            return ()
        return tuple(item(f"{where}[{index}]", entry) for index, entry in enumerate(value))

    def mapping(self, where: str, value: object, keys: Iterable[str] | None = None) -> dict[str, Any]:
        """Return ``value`` if it is an object with at most ``MAX_ITEMS`` keys, all of them in ``keys`` if
        given.
        """
        if not isinstance(value, dict) or len(value) > MAX_ITEMS or not all(isinstance(key, str) for key in value):
            self.complain(where, f"is {brief(value)}, not an object of at most {MAX_ITEMS} named values")
            return {}
        unknown = sorted(set(value) - set(keys)) if keys is not None else []
        if unknown:
            self.complain(where, f"holds the unknown {', '.join(brief(key) for key in unknown[:SHOWN])}")
        return value

    def plain(self, where: str, value: object) -> Any:
        """Return ``value`` if it is bounded plain JSON (whole numbers to a million, and so the sum of a list's; short
        texts, shallow), lists as tuples.
        """
        budget = [MAX_ITEMS]
        return self._plain(where, value, MAX_NESTING, budget)

    def _plain(self, where: str, value: object, depth: int, budget: list[int]) -> Any:
        budget[0] -= 1
        if depth < 0 or budget[0] < 0:
            self.complain(where, f"is nested deeper than {MAX_NESTING} or holds more than {MAX_ITEMS} values")
        elif value is None or isinstance(value, bool):
            return value
        elif isinstance(value, int | float):
            limit = MAX_NUMBER if isinstance(value, float) else MAX_WHOLE_NUMBER
            if not abs(value) <= limit:
                self.complain(where, f"is {brief(value)}, not a number below {limit:g}")
            return value
        elif isinstance(value, str):
            return self.text(where, value, limit=256)
        elif isinstance(value, list | tuple):
            items = tuple(self._plain(f"{where}[{i}]", item, depth - 1, budget) for i, item in enumerate(value))
            if _whole(items) > MAX_WHOLE_NUMBER:
                self.complain(where, f"adds up to {_whole(items):,}, which is more than {MAX_WHOLE_NUMBER:,}")
            return items
        elif isinstance(value, dict):
            return {
                self.text(f"{where}'s key", key, r"\w[\w.\-]*", 100): self._plain(
                    f"{where}.{brief(key)}", item, depth - 1, budget
                )
                for key, item in value.items()
            }
        else:
            self.complain(where, f"is {brief(value)}, which JSON cannot hold")
        return None


def _whole(value: object) -> int:
    """Add up the whole numbers of a list of lists: for depths, libraries make as many values before any module."""
    if isinstance(value, list | tuple):
        return sum(map(_whole, value))
    return abs(value) if isinstance(value, int) else 0


def parse_object(data: bytes, source: str, *, limit: int = MAX_CONFIG_BYTES) -> dict[str, Any]:
    """Read ``data`` as one JSON object; no NaN, no repeated key, no nesting that exhausts the stack.

    >>> parse_object(b'{"num_classes": 10}', "config.json")
    {'num_classes': 10}
    """
    if len(data) > limit:
        raise HubError(f"{source}: is {len(data):,} bytes, more than the {limit:,} that it may have")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError("a key stands twice in one object")
        return found

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON")

    try:
        parsed = json.loads(data.decode("utf-8"), object_pairs_hook=unique, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise HubError(f"{source}: is not readable as JSON ({brief(str(error))})") from error
    if not isinstance(parsed, dict):
        raise HubError(f"{source}: is {brief(parsed)}, not a JSON object")
    return parsed


def brief(value: object) -> str:
    """Show a value of any size in at most 80 characters, on one line.

    >>> brief([1] * 1000)
    '<list of 1000>'
    """
    if isinstance(value, dict):
        return f"<object of {len(value)}>"
    if isinstance(value, list | tuple) and (
        len(value) > 8 or any(isinstance(item, list | tuple | dict) for item in value)
    ):
        return f"<list of {len(value)}>"
    if isinstance(value, int) and not isinstance(value, bool) and value and math.log10(abs(value)) > 70:
        return "<a huge number>"
    shown = ascii(value[:100] if isinstance(value, str) else value)
    return shown if len(shown) <= 80 else shown[:76] + "...'"


def printable(text: object) -> str:
    r"""Return what a stranger wrote as text that cannot move a terminal's cursor or turn its lines around.

    >>> printable("fc\x1b[2J.weight")
    'fc\\x1b[2J.weight'
    """
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in str(text))
