"""Apply and verify: carry a plan out, run the result, and put everything back where it fails."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from torch import nn

from smoothify.surgery.attributes import slot_for
from smoothify.surgery.edges import walk
from smoothify.surgery.modules import Snapshot, become, build, is_smooth, settle
from smoothify.surgery.plan import Look, Planned
from smoothify.surgery.probe import ProbeError, Run, probe
from smoothify.surgery.recorder import Event
from smoothify.surgery.rewrite import WAYS, rewrite
from smoothify.surgery.rules import Target as To
from smoothify.surgery.rules import spelled
from smoothify.surgery.sites import Found, How, Site
from smoothify.surgery.slots import Target


@dataclass(frozen=True, slots=True)
class Outcome:
    """The sites as they are now, the runs that showed it, and how to undo it all."""

    sites: tuple[Site, ...]
    left: tuple[Site, ...]
    """Sites that were to change and still run a non-smooth activation."""
    runs: tuple[Run, ...]
    note: str
    changed: bool
    undo: Callable[[], None]


def become_all(planned: Iterable[Planned], snapshot: Snapshot) -> None:
    """Turn every module site that a plan changes into what it becomes."""
    for item in planned:
        if item.new is not None:
            snapshot.take(item.module)
            if item.held is None:
                become(item.module, item.new)
            elif item.found is not None:
                snapshot.take_container(item.held.container)
                item.held.put(slot_for(item.held.value, item.new, item.found))


def execute(root: nn.Module, look: Look, planned: list[Planned], to: To) -> Outcome:
    """Rewrite the calls of a plan and verify the result by execution; raises what failed, calls put back."""
    snapshot = Snapshot()
    changes = [item for item in planned if item.new is not None]
    ways: dict[int, tuple[How, ...]] = defaultdict(lambda: WAYS)
    try:
        while True:
            how = _apply(root, changes, to, ways, snapshot)
            runs, note = _verify(root, look) if changes else (look.runs, look.note)
            wrong = _wrong(look, runs, note, changes)
            lower = {key for key in wrong if how[key] != WAYS[-1]}
            if not lower:
                break
            snapshot.restore()
            for key in lower:
                ways[key] = WAYS[WAYS.index(how[key]) + 1 :]
    except BaseException:
        snapshot.restore()
        raise
    sites = tuple(_with_how(item, how) for item in planned)
    left = tuple(_left(root, runs, planned))
    return Outcome(sites, left, tuple(runs), note, bool(changes), snapshot.restore)


def _apply(
    root: nn.Module, changes: list[Planned], to: To, ways: dict[int, tuple[How, ...]], snapshot: Snapshot
) -> dict[int, How]:
    calls: dict[int, list[Planned]] = defaultdict(list)
    for item in changes:
        snapshot.take(item.module)
        if item.site.kind == "fused":
            item.module.__dict__["activation_relu_or_gelu"] = 0
        else:
            calls[id(item.module)].append(item)
    how: dict[int, How] = {}
    for key, items in calls.items():
        module = items[0].module
        how[key] = rewrite(module, _targets(items), _builder(module, root, to), ways[key])
    return how


def _targets(items: Iterable[Planned]) -> list[Target]:
    methods: dict[str, dict[tuple[str, int, str], Found]] = defaultdict(dict)
    for item in items:
        event, found = item.event, item.found
        if event is not None and found is not None:
            methods[event.method][event.file, event.line, spelled(found)] = found
    return [Target(method, calls) for method, calls in methods.items()]


def _builder(module: nn.Module, root: nn.Module, to: To) -> Callable[[Found], nn.Module | None]:
    def made(found: Found) -> nn.Module | None:
        new = build(found, to)
        return settle(new, None, module, root) if new is not None else None

    return made


def _verify(root: nn.Module, look: Look) -> tuple[tuple[Run, ...], str]:
    if look.example is None:
        return (), look.note
    try:
        return tuple(probe(root, look.example)), look.note
    except ProbeError as error:
        return (), f"the converted model did not run: {error}"


def _wrong(look: Look, runs: tuple[Run, ...], note: str, changes: list[Planned]) -> set[int]:
    """Return the rewritten modules that still run what they should not, or do something else than before."""
    rewritten = {id(item.module) for item in changes if item.site.kind != "fused"}
    if look.runs and not runs:
        return rewritten
    wrong = {
        id(event.module)
        for one in runs
        for event in one.events
        if _still_kinked(event) and any(_same(event, item) for item in changes)
    }
    for before, after in zip(look.runs, runs, strict=False):
        for key in rewritten:
            if [name for owner, name in before.trace if owner == key] != [
                name for owner, name in after.trace if owner == key
            ]:
                wrong.add(key)
    return wrong & rewritten


def _still_kinked(event: Event) -> bool:
    return (
        event.category == "activation"
        and event.name != "slot"
        and event.found is not None
        and not is_smooth(event.found)
    )


def _same(event: Event, item: Planned) -> bool:
    return (
        item.event is not None
        and event.module is item.module
        and event.found is not None
        and item.found is not None
        and spelled(event.found) == spelled(item.found)
    )


def _with_how(item: Planned, how: dict[int, How]) -> Site:
    if item.event is None or item.new is None or item.site.kind == "fused":
        return item.site
    return replace(item.site, how=how[id(item.module)])


def _left(root: nn.Module, runs: Iterable[Run], planned: list[Planned]) -> Iterable[Site]:
    paths = {id(node.module): node.path for node in walk(root)}
    seen: set[tuple[str, str, str]] = set()
    for one in runs:
        for event in one.events:
            if not _still_kinked(event) or event.found is None or id(event.module) not in paths:
                continue
            same = [item for item in planned if _same(event, item)]
            if any(item.new is None for item in same) or not (same or event.file.startswith("<smoothify")):
                continue  # it was not to change
            key = (paths[id(event.module)], event.source, spelled(event.found))
            if key not in seen:
                seen.add(key)
                yield Site(
                    key[0],
                    "call",
                    key[2],
                    False,
                    type(event.module).__qualname__,
                    source=key[1],
                    note="still runs after the conversion",
                )
