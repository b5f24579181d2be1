"""What differs between the runs before and after calls were rewritten."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable

from smoothify.surgery.plan import Planned
from smoothify.surgery.probing.events import KEPT, Event
from smoothify.surgery.probing.probe import Run
from smoothify.surgery.recognition.modules import is_smooth
from smoothify.surgery.rules.base import spelled
from smoothify.surgery.rules.operations import ARITHMETIC


def wrong(before: Collection[Run], after: Collection[Run], changes: list[Planned], rewritten: set[int]) -> set[int]:
    """Return the rewritten modules, by id, that still run what they should not, or do something else than before.

    A call that was redirected is slow, and ``torch.compile`` leaves it out: a graph that was passed by is no use.
    """
    if before and not after:
        return rewritten
    kinked = {
        id(event.module)
        for one in after
        for event in one.events
        if still_kinked(event) and any(is_of(event, item) for item in changes)
    }
    redirected = {key for one in after for key in one.redirected}
    return ((kinked | redirected) & rewritten) | differing(before, after, rewritten, but=ARITHMETIC)


def run_as_children(
    before: Iterable[Run], after: Iterable[Run], changes: list[Planned], rewritten: set[int]
) -> set[int]:
    """Return those, by id, that called the activations of rewritten calls more often than there were such calls.

    A forward that goes through its own children takes these for more of them.
    """

    def calls(run: Run, key: int) -> int:
        events = (event for event in run.events if id(event.module) == key and event.category == "activation")
        return sum(any(is_of(event, item) for item in changes) for event in events)

    pairs = list(zip(before, after, strict=False))
    return {
        key
        for key in rewritten
        if any(last.slot_calls.get(key, 0) > first.slot_calls.get(key, 0) + calls(first, key) for first, last in pairs)
    }


def taken_along(before: Iterable[Run], after: Iterable[Run], rewritten: set[int]) -> set[int]:
    """Return those, by id, in which what was to stay was rewritten with an activation that is spelled like it."""

    def kept(run: Run, key: int) -> int:
        return sum(owner == key and name.startswith(KEPT) for owner, name in run.trace)

    pairs = list(zip(before, after, strict=False))
    return {key for key in rewritten if any(kept(last, key) < kept(first, key) for first, last in pairs)}


def differing(
    before: Iterable[Run], after: Iterable[Run], keys: Collection[int], but: Collection[str] = ()
) -> set[int]:
    """Return those of the modules, by id, that ran other operations or returned something of another form."""

    def of_each(run: Run) -> dict[int, list[str]]:
        operations: dict[int, list[str]] = defaultdict(list)
        for owner, name in run.trace:
            if name not in but:
                operations[owner].append(name)
        return operations

    pairs = [(of_each(first), of_each(last)) for first, last in zip(before, after, strict=False)]
    return {key for key in keys if any(first[key] != last[key] for first, last in pairs)}


def proven_smooth(runs: Collection[Run], inside: Collection[int]) -> bool:
    """Whether modules, by id, ran, and all that they ran is known to be smooth."""
    events = [event for one in runs for event in one.events if id(event.module) in inside]
    seen = any(key in one.looked_into for one in runs for key in inside)
    return seen and all(event.found is not None and is_smooth(event.found) for event in events)


def still_kinked(event: Event) -> bool:
    """Whether an event is an activation of what the input reaches that is not smooth, and no site of a rewriting."""
    return (
        event.category == "activation"
        and event.name != "slot"
        and not event.of_weight
        and event.found is not None
        and not is_smooth(event.found)
    )


def is_of(event: Event, item: Planned) -> bool:
    """Whether an event is what a plan has found in the same module."""
    return (
        item.event is not None
        and event.module is item.module
        and event.found is not None
        and item.found is not None
        and spelled(event.found) == spelled(item.found)
    )
