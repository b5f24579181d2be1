"""Learnable activations are per call: one module instance called three times becomes three."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from torch import nn

from smoothify.surgery.plan import Planned
from smoothify.surgery.probing.probe import Run
from smoothify.surgery.recognition.edges import walk
from smoothify.surgery.recognition.modules import Snapshot, build, described, learns, settle
from smoothify.surgery.recognition.slots import SLOT, Slots, Target
from smoothify.surgery.rewriting.ambient import TraceRefusedError
from smoothify.surgery.rewriting.rewrite import rewrite_by_graph
from smoothify.surgery.rules.base import Target as To
from smoothify.surgery.rules.base import qualified_name, spelled
from smoothify.surgery.rules.composites import InPlace
from smoothify.surgery.sites import Found, Site


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """A shared activation whose further calls got one each, and how to undo that."""

    of: Planned
    calls: int
    owners: frozenset[int]
    """The modules that call it, by id."""
    made: tuple[nn.Module, ...]
    sites: tuple[Site, ...]
    snapshot: Snapshot

    def runs_in(self, runs: Iterable[Run]) -> bool:
        """Whether every activation that was made is called in some run."""
        called = {key for run in runs for key in run.called}
        return all(id(new) in called for new in self.made)


def split_shared(
    root: nn.Module, planned: Sequence[Planned], runs: Iterable[Run], to: To, snapshot: Snapshot
) -> tuple[list[Planned], list[Split]]:
    """Give the second and later calls of a learnable activation one of their own, as the paper's layers have.

    Returns the plan, with a note where that was impossible, and what was split.
    """
    every = max((run.shared for run in runs), key=lambda shared: sum(map(len, shared.values())), default={})
    noted: list[Planned] = []
    splits: list[Split] = []
    for item in planned:
        places = every.get(id(item.module), [])
        if (
            item.found is None
            or item.site.kind != "module"
            or len(places) < 2
            or not (item.new and learns(item.new, item.found))
        ):
            noted.append(item)
            continue
        try:
            splits.append(_split(root, item, item.found, places, to, snapshot))
            noted.append(_without(item, {site.path for site in splits[-1].sites}))
        except TraceRefusedError as error:
            noted.append(_stays_shared(item, len(places), str(error)))
    return noted, splits


def put_back(
    planned: Sequence[Planned], splits: Sequence[Split], runs: Sequence[Run]
) -> tuple[list[Planned], list[Split]]:
    """Undo the splits whose activations no run has called; returns the plan with a note, and what was undone.

    A method may be called with arguments that its graph does not cover, and then calls what it always called.
    """
    idle = [split for split in splits if not split.runs_in(runs)]
    owners = {key for split in idle for key in split.owners}
    undone = [split for split in splits if split.owners & owners]
    for split in reversed(undone):
        split.snapshot.restore()
    whole = {id(split.of.module): split for split in undone}
    why = "its methods are called with other arguments than those by which their calls can be told apart"
    noted = [_stays_shared(one.of, one.calls, why) if (one := whole.get(id(item.module))) else item for item in planned]
    return noted, undone


def _without(item: Planned, others: Collection[str]) -> Planned:
    """Return a site without those of its paths at which others stand now."""
    path, *aliases = (path for path in (item.site.path, *item.site.aliases) if path not in others)
    return replace(item, site=replace(item.site, path=path, aliases=tuple(aliases)))


def _stays_shared(item: Planned, calls: int, why: str) -> Planned:
    return replace(item, site=replace(item.site, note=f"one learned activation is shared by {calls} calls: {why}"))


def _split(
    root: nn.Module,
    item: Planned,
    found: Found,
    places: Sequence[tuple[nn.Module, str]],
    to: To,
    snapshot: Snapshot,
) -> Split:
    paths = {id(node.module): node.path for node in walk(root)}
    methods: dict[int, tuple[nn.Module, str]] = {}
    for owner, method in places:
        if id(owner) in methods and methods[id(owner)][1] != method:
            raise TraceRefusedError("several methods of one module call it")
        methods.setdefault(id(owner), (owner, method))
    if any(key not in paths for key in methods):
        raise TraceRefusedError("a module that is not registered calls it")
    before, made = Snapshot(), dict[str, nn.Module]()
    try:
        for number, (key, (owner, method)) in enumerate(methods.items()):
            snapshot.take(owner)
            before.take(owner)
            new = partial(_new, owner=owner, root=root, to=to, inplace=isinstance(item.new, InPlace))
            if isinstance(owner, nn.Sequential):
                added = _split_edges(owner, item, partial(new, found), keeps_first=number == 0)
            else:
                slots = Slots(owner, new)
                rewrite_by_graph(owner, Target(method, {}, {id(item.module): (found, number == 0)}), slots)
                added = slots.made
            made.update({f"{paths[key]}.{name}" if paths[key] else name: module for name, module in added.items()})
    except TraceRefusedError:
        before.restore()
        raise
    sites = tuple(_site(path, item, new) for path, new in made.items())
    return Split(item, len(places), frozenset(methods), tuple(made.values()), sites, before)


def _split_edges(
    owner: nn.Sequential, item: Planned, new: Callable[[], nn.Module | None], keeps_first: bool
) -> dict[str, nn.Module]:
    """Put one activation for each entry of a container: it runs whatever is registered, slots too."""
    entries = [name for name, child in owner._modules.items() if child is item.module]
    made = {name: module for name in entries[keeps_first:] if (module := new()) is not None}
    owner._modules.update(made)
    return made


def _new(found: Found, owner: nn.Module, root: nn.Module, to: To, inplace: bool) -> nn.Module | None:
    new = build(found, to)
    return settle(InPlace(new) if inplace else new, None, owner, root) if new is not None else None


def _site(path: str, item: Planned, new: nn.Module) -> Site:
    spec, smooth = described(new)
    entry = not path.rpartition(".")[2].startswith(SLOT)
    return Site(
        path,
        "module" if entry else "call",
        spelled(item.found) if item.found else item.site.function,
        item.site.smooth,
        qualified_name(type(new)),
        becomes=spec,
        becomes_smooth=smooth,
        how="module" if entry else "graph",
        note="a further call of a shared activation, learned by itself",
    )
