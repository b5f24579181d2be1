"""Find and plan: every site, and what it would become. Nothing is changed here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from smoothify.surgery import hosts
from smoothify.surgery.attributes import Held, held, held_function
from smoothify.surgery.edges import Node, walk
from smoothify.surgery.hosts import examples
from smoothify.surgery.modules import build, described, has_own_forward, is_smooth, recognised, settle
from smoothify.surgery.probe import Example, ProbeError, Run, probe
from smoothify.surgery.recorder import Event
from smoothify.surgery.rules import Target, known_function, qualified_name, rule_for_class, spelled
from smoothify.surgery.scope import Scope
from smoothify.surgery.shell import has_hooks
from smoothify.surgery.sites import Found, Operation, Site


@dataclass(frozen=True, slots=True)
class Planned:
    """A site with the instance that it belongs to and, where it is to change, what it becomes."""

    site: Site
    module: nn.Module
    found: Found | None = None
    event: Event | None = None
    """For a call: where it was seen to run."""
    held: Held | None = None
    """For a function in an attribute: where it is held."""
    new: nn.Module | None = None


@dataclass(frozen=True, slots=True)
class Look:
    """What was found in a model: its sites, what else is not smooth, and the runs that showed it."""

    seen: tuple[Planned, ...]
    calls: tuple[Planned, ...]
    operations: tuple[Operation, ...] = ()
    unverified: tuple[Operation, ...] = ()
    runs: tuple[Run, ...] = ()
    example: Example | None = None
    note: str = ""

    @property
    def modes(self) -> tuple[str, ...]:
        """The modes that were run."""
        return tuple(dict.fromkeys(run.mode for run in self.runs))


def seen_sites(root: nn.Module) -> list[Planned]:
    """Return the sites that can be seen without running the model."""
    nodes = walk(root)
    inside = _inside_smooth(nodes)
    seen = [site for node in nodes if id(node.module) not in inside and (site := _module_site(node))]
    return [*seen, *(site for thing in held(root) if (site := _held_site(thing)) is not None)]


def _held_site(thing: Held) -> Planned | None:
    if isinstance(thing.value, nn.Module):
        found = recognised(thing.value)
        owner, module, place = qualified_name(type(thing.value)), thing.value, None
    else:
        found = held_function(thing.value)
        owner, module, place = qualified_name(type(thing.owner)), thing.owner, thing
    if found is None:
        return None
    site = Site(thing.path, "attribute", spelled(found), is_smooth(found), owner, how="attribute")
    return Planned(site, module, found, held=place)


def look_at(root: nn.Module, seen: list[Planned], example_input: Any = None) -> Look:
    """Run a shell of the model and add to the sites that can be seen those that only show by running."""
    nodes = walk(root)
    example, runs, note = run(root, example_input)
    events = [event for one in runs for event in one.events]
    paths = {id(node.module): node for node in nodes}
    return Look(
        tuple(_settled(seen, events, runs)),
        tuple(_call_sites(events, paths)),
        _operations(events, "nonsmooth", paths, runs),
        _operations(events, "unverified", paths, runs),
        tuple(runs),
        example,
        note,
    )


def run(root: nn.Module, example_input: Any) -> tuple[Example | None, list[Run], str]:
    """Probe with the caller's input or the first of the host's that works; say why where none does."""
    if example_input is not None:
        example = examples.from_input(example_input)
        return example, probe(root, example), hooks_left_out(root)
    note = "no example input is known for this model; pass example_input="
    for example in examples.examples(root):
        try:
            return example, probe(root, example), hooks_left_out(root)
        except ProbeError as error:
            note = f"{error}; pass example_input="
    return None, [], note


def hooks_left_out(root: nn.Module) -> str:
    """Say of which modules the probe does not run the forward hooks; '' where there are none."""
    paths = [node.path or "(root)" for node in walk(root) if has_hooks(node.module)]
    return f"the forward hooks of {', '.join(paths[:3])}{' …' * (len(paths) > 3)} were not run" if paths else ""


def _module_site(node: Node) -> Planned | None:
    module = node.module
    owner = qualified_name(type(module))
    found = recognised(module)
    if found is not None:
        site = Site(node.path, "module", spelled(found), is_smooth(found), owner, aliases=node.aliases, how="module")
        return Planned(site, module, found)
    if has_own_forward(module):
        known = rule_for_class(type(module))
        function = known[0].function if known else "unknown"
        note = f"{type(module).__qualname__} has a forward of its own; register_rule says what it is"
        return Planned(Site(node.path, "module", function, None, owner, aliases=node.aliases, note=note), module)
    return None


def _settled(sites: list[Planned], events: list[Event], runs: list[Run]) -> Iterable[Planned]:
    """Decide the subclasses with their own forward by what they were seen to run."""
    called = {key for one in runs for key in one.called}
    doubtful = {id(event.module) for event in events if event.category != "activation"}
    calling = {id(event.module) for event in events if event.category == "activation"}
    for item in sites:
        if item.site.smooth is not None or id(item.module) not in called or id(item.module) in doubtful:
            yield item
        elif id(item.module) not in calling:  # else its calls are sites of their own
            name = type(item.module).__qualname__
            note = f"{name} has a forward of its own, all of whose operations are smooth"
            yield replace(item, site=replace(item.site, smooth=True, note=note))


def _call_sites(events: list[Event], paths: dict[int, Node]) -> list[Planned]:
    sites: dict[tuple[Any, ...], Planned] = {}
    for event in events:
        if event.category != "activation" or event.found is None or id(event.module) not in paths:
            continue
        key = (id(event.module), event.method, event.file, event.line, spelled(event.found))
        if key not in sites:
            sites[key] = Planned(
                _call_site(event, event.found, paths[id(event.module)]), event.module, event.found, event
            )
    return list(sites.values())


def _call_site(event: Event, found: Found, node: Node) -> Site:
    owner = qualified_name(type(event.module))
    constraint = hosts.OUTPUT_CONSTRAINTS.get(owner, "")
    note = f"kept: {constraint}" if constraint else ""
    if event.own_backward:
        note = "it stands in an autograd.Function, whose backward is its own; register_rule says what its class is"
    return Site(
        node.path,
        "fused" if event.name == "fused" else "call",
        spelled(found),
        is_smooth(found),
        owner,
        aliases=node.aliases,
        source=event.source,
        note=note,
    )


def _operations(events: list[Event], category: str, paths: dict[int, Node], runs: list[Run]) -> tuple[Operation, ...]:
    counts = Counter(
        (paths[id(event.module)].path, event.name, event.source)
        for event in events
        if event.category == category and id(event.module) in paths
    )
    times = max(len(runs), 1)
    return tuple(Operation(path, name, source, -(-count // times)) for (path, name, source), count in counts.items())


def _inside_smooth(nodes: list[Node]) -> set[int]:
    """Return the instances that run only inside a module which is smooth as a whole (relu(x)², say)."""
    whole = [
        path
        for node in nodes
        if node.module._modules and (found := recognised(node.module)) is not None and is_smooth(found)
        for path in node.paths
    ]
    beneath = tuple(f"{path}." if path else "" for path in whole)
    return {
        id(node.module)
        for node in nodes
        if whole and all(path.startswith(beneath) and path not in whole for path in node.paths)
    }


def plan(root: nn.Module, sites: Iterable[Planned], to: Target, scope: Scope) -> list[Planned]:
    """Build every replacement that the caller asked for; sites that stay keep ``new=None``."""
    parents = {id(node.module): node.parent for node in walk(root)}
    return [_planned(root, parents.get(id(item.module)), item, to, scope) for item in sites]


def _planned(root: nn.Module, parent: nn.Module | None, item: Planned, to: Target, scope: Scope) -> Planned:
    site, found = item.site, item.found
    if found is None or site.note or not wants(scope, site, found):
        return item
    if not scope.holds((site.path, *site.aliases)):
        return replace(item, site=replace(site, note="outside only= / exclude="))
    new = build(found, to)
    if new is None:
        return replace(item, site=replace(site, note=f"no rule says what {spelled(found)} becomes"))
    own = item.event is None and item.held is None
    new = settle(new, item.module, parent, root) if own else settle(new, None, item.module, root)
    spec, smooth = described(new)
    if item.held is not None and next(new.parameters(), None) is not None:
        return item  # a learned one belongs to the call: the pass over calls registers it
    if spec == spelled(found) and not to.keeps(found.function):
        return item
    return replace(item, site=replace(site, becomes=spec, becomes_smooth=smooth), new=new)


def wants(scope: Scope, site: Site, found: Found) -> bool:
    """Whether a site is to be replaced: gates (sigmoid, tanh) only where they are named or not smooth."""
    if scope.replace == "all" and site.smooth and known_function(found.function).gate:
        return False
    return scope.wants(found.function, site.smooth)
