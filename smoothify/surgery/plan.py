"""Plan: the sites that can be seen without running the model, and what each site would become."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from torch import nn
from torch.nn.utils.parametrize import ParametrizationList

from smoothify.surgery.probing.events import Event
from smoothify.surgery.recognition.attributes import Held, held, held_function
from smoothify.surgery.recognition.edges import Node, walk
from smoothify.surgery.recognition.modules import (
    build,
    described,
    has_own_forward,
    is_smooth,
    learns,
    recognised,
    settle,
)
from smoothify.surgery.recognition.slots import has_tensors
from smoothify.surgery.rules.base import Target, known_function, qualified_name, rule_for_class, spelled
from smoothify.surgery.scope import Scope
from smoothify.surgery.sites import Found, Site

OF_WEIGHT = "kept: a function of a weight alone, which the input does not reach"


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
    deferred: bool = False
    """Whether a function in an attribute stays there, and its calls are what changes."""

    def is_replaced_by(self, call: Planned) -> bool:
        """Whether a call that changes is one of the function that this site has in an attribute."""
        same = call.module is self.module and call.site.function == self.site.function
        return self.deferred and same and call.new is not None


def seen_sites(root: nn.Module) -> list[Planned]:
    """Return the sites that can be seen without running the model."""
    nodes = walk(root)
    inside = _inside_smooth(nodes)
    parametrizing = _parametrizing(nodes)
    seen = [
        _of_weight(site) if id(node.module) in parametrizing else site
        for node in nodes
        if id(node.module) not in inside and (site := _module_site(node))
    ]
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
    smooth = is_smooth(found)
    site = Site(thing.path, "attribute", spelled(found), smooth, owner, aliases=thing.aliases, how="attribute")
    return Planned(site, module, found, held=place)


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


def _of_weight(item: Planned) -> Planned:
    return replace(item, site=replace(item.site, smooth=True, note=OF_WEIGHT))


def _parametrizing(nodes: list[Node]) -> set[int]:
    """Return the instances that stand only where torch's parametrizations of weights do."""
    lists = [path for node in nodes if isinstance(node.module, ParametrizationList) for path in node.paths]
    beneath = tuple(f"{path}." for path in lists)
    return {id(node.module) for node in nodes if lists and all(path.startswith(beneath) for path in node.paths)}


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


def plan(
    root: nn.Module, sites: Iterable[Planned], to: Target, scope: Scope, made: Collection[int] = ()
) -> list[Planned]:
    """Build every replacement that the caller asked for; sites that stay keep ``new=None``.

    ``made`` are modules by id that stand where ``to`` has put them: what they call is theirs.
    """
    parents = {id(node.module): node.parent for node in walk(root)}
    return [
        _of_the_replacement(item) if id(item.module) in made else _planned(root, parents, item, to, scope)
        for item in sites
    ]


def _of_the_replacement(item: Planned) -> Planned:
    note = "" if item.site.smooth else "it runs in what to= builds; register_activation says so if the whole is smooth"
    return replace(item, site=replace(item.site, note=note))


def _planned(root: nn.Module, parents: dict[int, nn.Module | None], item: Planned, to: Target, scope: Scope) -> Planned:
    site, found, parent = item.site, item.found, parents.get(id(item.module))
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
    if learns(new, found) and id(item.module) not in parents:
        note = (
            f"{spec} is learned, and nobody would see its parameters: a module that holds this one does not register it"
        )
        return replace(item, site=replace(site, note=note))
    if item.held is not None and item.held.value is not item.module and (has_tensors(new) or smooth is None):
        return replace(item, deferred=True)  # it learns, or may depend on the mode: the pass over calls registers it
    if spec == spelled(found) and not to.keeps(found.function):
        return item
    return replace(item, site=replace(site, becomes=spec, becomes_smooth=smooth), new=new)


def wants(scope: Scope, site: Site, found: Found) -> bool:
    """Whether a site is to be replaced: gates (sigmoid, tanh) only where they are named or not smooth."""
    if scope.replace == "all" and site.smooth and known_function(found.function).gate:
        return False
    return scope.wants(found.function, site.smooth)
