"""Apply and verify: carry a plan out, run the result, and put everything back where it fails."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from torch import nn

from smoothify.errors import UnconvertedError
from smoothify.surgery.compare import differing, is_of, proven_smooth, run_as_children, still_kinked, taken_along, wrong
from smoothify.surgery.look import Look, look_at, run, unseen
from smoothify.surgery.named import names_what_changes
from smoothify.surgery.plan import Planned
from smoothify.surgery.probing.probe import ProbeError, Run, probe
from smoothify.surgery.recognition.attributes import everything, slot_for
from smoothify.surgery.recognition.containers import own_copies
from smoothify.surgery.recognition.modules import Snapshot, become, build, leaves_its_input, settle
from smoothify.surgery.recognition.slots import SLOT, Target, has_tensors
from smoothify.surgery.rewriting.rewrite import WAYS, rewrite
from smoothify.surgery.rules.base import Target as To
from smoothify.surgery.rules.base import spelled
from smoothify.surgery.rules.composites import InPlace
from smoothify.surgery.sites import Found, How, Site

_RUNS_AS_A_CHILD = (
    "its forward goes through its own children, and what a rewritten call is to run would be one of them, since it "
    "learns or nobody knows it; move that call into the module that holds this one, choose another to=, or leave the "
    "module out with exclude="
)
_TAKEN_ALONG = (
    "a clamp of something else than activations, or a function of a weight alone, cannot be told from the activation "
    "that is spelled like it; give it a line and, if that is not enough, a module of its own, or leave this one out "
    "with exclude="
)
_ASKS = (
    "it, or what it calls, asks which class, name or function an activation is, and does something else where that is "
    "another one; let it ask for a place or a flag instead, or leave that activation out with exclude="
)


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


def become_smooth(root: nn.Module, planned: list[Planned], example_input: Any, snapshot: Snapshot) -> Look:
    """Turn every module site that a plan changes into what it becomes, and look at the result.

    A replacement that cannot run in place writes elsewhere, unless somebody reads its input afterwards, who
    would have read the result; without a run that shows it, somebody might. Raises UnconvertedError where a
    forward asks for what was replaced and, finding none, does something else.
    """
    before = run(root, example_input, frozenset())[1] if names_what_changes(root, planned) else []
    others = {id(node.module) for node in everything(root)} - built_by(planned)
    elsewhere = _become_all(root, planned, snapshot)
    look = look_at(root, planned, example_input, frozenset(elsewhere))
    _refuse(root, differing(before, look.runs, others), _ASKS)
    in_place = [elsewhere[key] for key in (look.read_after if look.runs else elsewhere)]
    if not in_place:
        return look
    snapshot.restore()
    planned = [
        replace(item, new=InPlace(item.new)) if item.new and any(item is other for other in in_place) else item
        for item in planned
    ]
    _become_all(root, planned, snapshot)
    return look_at(root, planned, example_input)


def built_by(planned: Iterable[Planned]) -> set[int]:
    """Return, by id, the modules that stand where a plan has put what ``to`` builds, with what is inside them."""
    changed = [(item, item.new) for item in planned if item.new is not None]
    became = {id(item.module) for item, _ in changed if item.held is None}
    return became | {id(inside) for _, new in changed for inside in new.modules()}


def _become_all(root: nn.Module, planned: Collection[Planned], snapshot: Snapshot) -> dict[int, Planned]:
    """Return, by id, the instances that do not write over their input where the original did."""
    elsewhere: dict[int, Planned] = {}
    own = own_copies([item.held for item in planned if item.new is not None and item.held is not None], snapshot)
    for item in planned:
        if item.new is None or item.found is None:
            continue
        snapshot.take(item.module)
        instance = item.module
        if item.held is None:
            become(item.module, item.new)
        else:
            instance = slot_for(item.held.value, item.new, item.found)
            at = id(item.held.owner), id(item.held.container)
            own.get(at, item.held.container)[item.held.key] = instance
        if leaves_its_input(item.new, item.found):
            elsewhere[id(instance)] = item
    return elsewhere


def execute(root: nn.Module, look: Look, planned: list[Planned], to: To) -> Outcome:
    """Rewrite the calls of a plan and verify the result by execution; raises what failed, calls put back."""
    snapshot = Snapshot()
    changes = [item for item in planned if item.new is not None]
    ways: dict[int, tuple[How, ...]] = defaultdict(lambda: WAYS)
    in_place: set[int] = set()
    try:
        while True:
            slots = _Builder(root, to, in_place)
            how = _apply(changes, ways, slots, snapshot)
            runs, note = _verify(root, look, frozenset(slots.elsewhere)) if changes else (look.runs, look.note)
            lower = {key for key in wrong(look.runs, runs, changes, set(how)) if how[key] != WAYS[-1]}
            read = {slots.elsewhere[key] for one in runs for key in one.read_after}
            if not lower and not read:
                break
            in_place |= read
            snapshot.restore()
            for key in lower:
                ways[key] = WAYS[WAYS.index(how[key]) + 1 :]
        _refuse(root, taken_along(look.runs, runs, set(how)), _TAKEN_ALONG)
        _refuse(root, run_as_children(look.runs, runs, changes, set(how)), _RUNS_AS_A_CHILD)
    except BaseException:
        snapshot.restore()
        raise
    together = Counter((id(item.module), spelled(item.found)) for item in changes if item.event and item.found)
    sites = tuple(_with_how(item, how, runs, together) for item in planned)
    left = tuple(_left(root, runs, planned))
    return Outcome(sites, left, tuple(runs), note, bool(changes), snapshot.restore)


@dataclass(frozen=True, slots=True)
class _Builder:
    """Builds the activations that rewritten calls run."""

    root: nn.Module
    to: To
    in_place: set[int]
    """The modules, by id, in which an in-place call must write over its input."""
    elsewhere: dict[int, int] = field(default_factory=dict)
    """For each activation that does not, by id: the module whose call was in place."""

    def build(self, module: nn.Module, found: Found) -> nn.Module | None:
        new = build(found, self.to)
        if new is None:
            return None
        if leaves_its_input(new, found):
            if id(module) in self.in_place:
                new = InPlace(new)
            else:
                self.elsewhere[id(new)] = id(module)
        return settle(new, None, module, self.root)


def _apply(
    changes: list[Planned], ways: dict[int, tuple[How, ...]], slots: _Builder, snapshot: Snapshot
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
        how[key] = rewrite(module, _targets(items), partial(slots.build, module), ways[key])
    return how


def _targets(items: Collection[Planned]) -> list[Target]:
    methods: dict[str, dict[tuple[str, int, str], Found]] = defaultdict(dict)
    for item in items:
        event, found = item.event, item.found
        if event is not None and found is not None:
            methods[event.method][event.file, event.line, spelled(found)] = found
    again = {item.event.method for item in items if item.event is not None and item.event.run_again}
    return [Target(method, calls, again=method in again) for method, calls in methods.items()]


def _verify(root: nn.Module, look: Look, watched: frozenset[int]) -> tuple[tuple[Run, ...], str]:
    if look.example is None:
        return (), look.note
    try:
        runs = tuple(probe(root, look.example, watched))
        return runs, unseen(root, runs)
    except ProbeError as error:
        return (), f"the converted model did not run: {error}"


def _refuse(root: nn.Module, keys: set[int], why: str) -> None:
    paths = [node.path or "(the model itself)" for node in everything(root) if id(node.module) in keys]
    if paths:
        raise UnconvertedError(f"{', '.join(paths)}: {why}")


def _with_how(
    item: Planned, how: dict[int, How], runs: Collection[Run], together: Mapping[tuple[int, str], int]
) -> Site:
    if item.event is None or item.new is None or item.found is None or item.site.kind == "fused":
        return item.site
    site = replace(item.site, how=how[id(item.module)])
    count = together[id(item.module), spelled(item.found)]
    if site.how == "runtime" and count > 1 and has_tensors(item.new):
        site = replace(site, note=f"{count} calls that are redirected share what it learns")
    if site.becomes_smooth is None:
        held = {**vars(item.module), **item.module._modules}
        slots = [value for name, value in held.items() if name.startswith(SLOT) and isinstance(value, nn.Module)]
        proven = proven_smooth(runs, {id(module) for slot in slots for module in slot.modules()})
        return replace(site, becomes_smooth=True) if proven else site
    return site


def _left(root: nn.Module, runs: Iterable[Run], planned: list[Planned]) -> Iterable[Site]:
    """Return what runs and was to change, or what no plan has foreseen: the next run may do something else again."""
    paths = {id(node.module): node.path for node in everything(root)}
    seen: set[tuple[str, str, str]] = set()
    for one in runs:
        for event in one.events:
            if not still_kinked(event) or event.found is None:
                continue
            if any(item.new is None and is_of(event, item) for item in planned):
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
