"""Find and plan: every site, and what it would become. Nothing is changed here."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import nn

from smoothify.surgery.edges import Node, walk
from smoothify.surgery.modules import build, described, has_own_forward, is_smooth, recognised, settle
from smoothify.surgery.rules import Target, qualified_name, rule_for_class, spelled
from smoothify.surgery.scope import Scope
from smoothify.surgery.sites import Found, Site


@dataclass(frozen=True, slots=True)
class Planned:
    """A site with the instance that stands there and, where it is to change, the module it becomes."""

    site: Site
    module: nn.Module
    found: Found | None = None
    new: nn.Module | None = None


def find(root: nn.Module) -> list[Planned]:
    """Return every site that can be seen without running the model."""
    nodes = walk(root)
    inside = _inside_smooth(nodes)
    return [
        planned
        for node in nodes
        if id(node.module) not in inside and (planned := _module_site(node)) is not None
    ]


def _module_site(node: Node) -> Planned | None:
    module = node.module
    owner = qualified_name(type(module))
    found = recognised(module)
    if found is not None:
        site = Site(
            node.path, "module", spelled(found), is_smooth(found), owner, aliases=node.aliases, how="module"
        )
        return Planned(site, module, found)
    if has_own_forward(module):
        known = rule_for_class(type(module))
        function = known[0].function if known else "unknown"
        note = f"{type(module).__qualname__} has a forward of its own; register_rule says what it is"
        return Planned(
            Site(node.path, "module", function, None, owner, aliases=node.aliases, note=note), module
        )
    return None


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


def plan(root: nn.Module, sites: list[Planned], to: Target, scope: Scope) -> list[Planned]:
    """Build every replacement that the caller asked for; sites that stay keep ``new=None``."""
    parents = {id(node.module): node.parent for node in walk(root)}
    return [_planned(root, parents.get(id(item.module)), item, to, scope) for item in sites]


def _planned(root: nn.Module, parent: nn.Module | None, item: Planned, to: Target, scope: Scope) -> Planned:
    site, found = item.site, item.found
    if found is None or not scope.wants(found.function, site.smooth):
        return item
    if not scope.holds((site.path, *site.aliases)):
        return replace(item, site=replace(site, note="outside only= / exclude="))
    new = build(found, to)
    if new is None:
        return replace(item, site=replace(site, note=f"no rule says what {spelled(found)} becomes"))
    new = settle(new, item.module, parent, root)
    spec, smooth = described(new)
    if spec == spelled(found) and not to.keeps(found.function):
        return item
    return replace(item, site=replace(site, becomes=spec, becomes_smooth=smooth), new=new)
