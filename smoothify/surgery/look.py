"""Look: run a shell of a model, and say which sites, and what else that is not smooth, were seen to run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from smoothify.surgery import hosts
from smoothify.surgery.compare import proven_smooth
from smoothify.surgery.hosts import examples
from smoothify.surgery.plan import OF_WEIGHT, Planned
from smoothify.surgery.probing.events import Event
from smoothify.surgery.probing.probe import Example, ProbeError, Run, probe
from smoothify.surgery.probing.shell import has_hooks
from smoothify.surgery.recognition.attributes import everything
from smoothify.surgery.recognition.edges import Node
from smoothify.surgery.recognition.modules import is_smooth
from smoothify.surgery.rules.base import qualified_name, spelled
from smoothify.surgery.sites import Found, Operation, Site


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

    @property
    def read_after(self) -> frozenset[int]:
        """The watched modules, by id, whose input was read after their call in some run."""
        return frozenset().union(*(run.read_after for run in self.runs))


def look_at(
    root: nn.Module, seen: list[Planned], example_input: Any = None, watched: frozenset[int] = frozenset()
) -> Look:
    """Run a shell of the model and add to the sites that can be seen those that only show by running."""
    example, runs, note = run(root, example_input, watched)
    events = [event for one in runs for event in one.events]
    return Look(
        tuple(_settled(seen, events, runs)),
        tuple(_call_sites(events, {id(node.module): node for node in everything(root)})),
        operations(root, "nonsmooth", runs),
        operations(root, "unverified", runs),
        tuple(runs),
        example,
        note,
    )


def run(root: nn.Module, example_input: Any, watched: frozenset[int]) -> tuple[Example | None, list[Run], str]:
    """Probe with the caller's input or the first of the host's that works; say why where none does."""
    if example_input is not None:
        example = examples.from_input(example_input)
        runs = probe(root, example, watched)
        return example, runs, unseen(root, runs)
    note = "no example input is known for this model; pass example_input="
    for example in examples.examples(root):
        try:
            runs = probe(root, example, watched)
            return example, runs, unseen(root, runs)
        except ProbeError as error:
            note = f"{error}; pass example_input="
    return None, [], note


def unseen(root: nn.Module, runs: Collection[Run]) -> str:
    """Say what the probe has not seen, forward hooks and what its runs doubt; '' where it has seen everything."""
    paths = [node.path or "(root)" for node in everything(root) if has_hooks(node.module)]
    shown = f"{', '.join(paths[:3])}{' …' * (len(paths) > 3)}"
    hooks = [f"the forward hooks of {shown} were not run"] if paths else []
    return "; ".join(dict.fromkeys((*hooks, *(doubt for one in runs for doubt in one.doubts))))


def _settled(sites: list[Planned], events: list[Event], runs: list[Run]) -> Iterable[Planned]:
    """Decide subclasses with their own forward, and replacements that nobody knows, by what they were seen to run."""
    seen = {key for one in runs for key in one.looked_into}
    doubtful = {id(event.module) for event in events if event.category != "activation"}
    calling = {id(event.module) for event in events if event.category == "activation"}
    for item in sites:
        if item.site.becomes_smooth is None and item.new is not None:
            inside = {id(item.module)} if item.held is None else set[int]()
            inside |= {id(module) for module in item.new.modules()}
            proven = proven_smooth(runs, inside)
            yield replace(item, site=replace(item.site, becomes_smooth=True)) if proven else item
        elif item.site.smooth is not None or id(item.module) not in seen or id(item.module) in doubtful:
            yield item
        elif id(item.module) not in calling:  # else its calls are sites of their own
            name = type(item.module).__qualname__
            note = f"{name} has a forward of its own, all of whose operations are smooth"
            yield replace(item, site=replace(item.site, smooth=True, note=note))


def _call_sites(events: list[Event], paths: dict[int, Node]) -> list[Planned]:
    sites: dict[tuple[Any, ...], Planned] = {}
    for event in sorted(events, key=lambda event: event.of_weight):  # a line that does both is one of activations
        if event.category != "activation" or event.found is None:
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
    if event.of_weight:
        note = OF_WEIGHT
    return Site(
        node.path,
        "fused" if event.name == "fused" else "call",
        spelled(found),
        is_smooth(found) or event.of_weight,
        owner,
        aliases=node.aliases,
        source=event.source,
        note=note,
    )


def operations(root: nn.Module, category: str, runs: Collection[Run]) -> tuple[Operation, ...]:
    """Return what ran, averaged over the runs, of one category: "nonsmooth" or "unverified"."""
    paths = {id(node.module): node.path for node in everything(root)}
    counts = Counter(
        (paths[id(event.module)], event.name, event.source)
        for one in runs
        for event in one.events
        if event.category == category
    )
    times = max(len(runs), 1)
    return tuple(Operation(path, name, source, -(-count // times)) for (path, name, source), count in counts.items())
