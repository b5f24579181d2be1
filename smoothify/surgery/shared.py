"""Learnable activations are per call: one module instance called three times becomes three."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial

from torch import nn

from smoothify.surgery.ambient import TraceRefusedError
from smoothify.surgery.composites import InPlace
from smoothify.surgery.edges import walk
from smoothify.surgery.modules import Snapshot, build, described, learns, settle
from smoothify.surgery.plan import Planned
from smoothify.surgery.probe import Run
from smoothify.surgery.rewrite import rewrite_by_graph
from smoothify.surgery.rules import Target as To
from smoothify.surgery.rules import qualified_name, spelled
from smoothify.surgery.sites import Found, Site
from smoothify.surgery.slots import Slots, Target


def split_shared(
    root: nn.Module, planned: Sequence[Planned], runs: Iterable[Run], to: To, snapshot: Snapshot
) -> tuple[list[Planned], list[Site]]:
    """Give the second and later calls of a learnable activation one of their own, as the paper's layers have.

    Returns the plan, with a note where that was impossible, and the sites that were added.
    """
    every = max((run.shared for run in runs), key=lambda shared: sum(map(len, shared.values())), default={})
    noted: list[Planned] = []
    added: list[Site] = []
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
            added += _split(root, item, item.found, places, to, snapshot)
            noted.append(item)
        except TraceRefusedError as error:
            note = f"one learned activation is shared by {len(places)} calls: {error}"
            noted.append(replace(item, site=replace(item.site, note=note)))
    return noted, added


def _split(
    root: nn.Module,
    item: Planned,
    found: Found,
    places: Sequence[tuple[nn.Module, str]],
    to: To,
    snapshot: Snapshot,
) -> list[Site]:
    paths = {id(node.module): node.path for node in walk(root)}
    methods: dict[int, tuple[nn.Module, str]] = {}
    for owner, method in places:
        if id(owner) in methods and methods[id(owner)][1] != method:
            raise TraceRefusedError("several methods of one module call it")
        methods.setdefault(id(owner), (owner, method))
    if any(key not in paths for key in methods):
        raise TraceRefusedError("a module that is not registered calls it")
    made: dict[int, Slots] = {}
    for number, (key, (owner, method)) in enumerate(methods.items()):
        made[key] = Slots(owner, partial(_new, owner=owner, root=root, to=to, inplace=isinstance(item.new, InPlace)))
        snapshot.take(owner)
        rewrite_by_graph(owner, Target(method, {}, {id(item.module): (found, number == 0)}), made[key])
    return [
        _site(f"{paths[key]}.{name}" if paths[key] else name, item, new)
        for key, slots in made.items()
        for name, new in slots.made.items()
    ]


def _new(found: Found, owner: nn.Module, root: nn.Module, to: To, inplace: bool) -> nn.Module | None:
    new = build(found, to)
    return settle(InPlace(new) if inplace else new, None, owner, root) if new is not None else None


def _site(path: str, item: Planned, new: nn.Module) -> Site:
    spec, smooth = described(new)
    return Site(
        path,
        "call",
        spelled(item.found) if item.found else item.site.function,
        item.site.smooth,
        qualified_name(type(new)),
        becomes=spec,
        becomes_smooth=smooth,
        how="graph",
        note="a further call of a shared activation, learned by itself",
    )
