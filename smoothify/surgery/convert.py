"""The verbs: ``convert`` returns a smooth copy, ``convert_`` changes in place, ``inspect`` only looks."""

from __future__ import annotations

import copy
from dataclasses import replace as with_fields
from typing import TypeVar, cast

from torch import nn

from smoothify.errors import UnconvertedError
from smoothify.surgery.conversions import Conversion, remember
from smoothify.surgery.edges import unwrapped, walk
from smoothify.surgery.modules import Snapshot, become
from smoothify.surgery.plan import Planned, find, plan
from smoothify.surgery.report import Report
from smoothify.surgery.rules import Target, To
from smoothify.surgery.scope import Globs, Replace, Scope

Model = TypeVar("Model", bound=nn.Module)


def convert(
    model: Model,
    to: To = "silu",
    *,
    only: Globs = None,
    exclude: Globs = None,
    replace: Replace = "nonsmooth",
    strict: bool = True,
) -> Model:
    """Return a copy of a model in which every activation is smooth; the model itself stays as it is.

    The copy has the same class, keys, hooks, modes, dtypes and devices; a model that ``torch.compile``
    wrapped comes back unwrapped. ``to`` is a spec ("silu",
    "celu(alpha=1.4)"), a factory (``nn.SiLU``) or a mapping per function ({"relu": "silu", "elu": "celu"}).
    ``only`` and ``exclude`` are globs over module paths; ``replace`` is "nonsmooth", "all" or a set of
    function names. What each function becomes is the table of rules in the documentation.

    Raises UnconvertedError, naming every site, where a non-smooth activation would remain
    (``strict=False`` returns nevertheless), and UnsupportedModelError for scripted or wrapped models.

    >>> import torch
    >>> convert(nn.Sequential(nn.Linear(2, 2), nn.ReLU()), to="silu")[1]
    SiLU()
    """
    copied = cast(Model, copy.deepcopy(unwrapped(model)))
    convert_(copied, to, only=only, exclude=exclude, replace=replace, strict=strict)
    return copied


def convert_(
    model: nn.Module,
    to: To = "silu",
    *,
    only: Globs = None,
    exclude: Globs = None,
    replace: Replace = "nonsmooth",
    strict: bool = True,
) -> Report:
    """Make every activation of a model smooth, in place, all or nothing; arguments as for ``convert``.

    >>> model = nn.Sequential(nn.ReLU(), nn.Hardswish())
    >>> [site.becomes for site in convert_(model, to="mish").sites]
    ['mish', 'silu']
    """
    root = unwrapped(model)
    target, scope = Target(to), Scope.of(only, exclude, replace)
    scope.check(root, [path for node in walk(root) for path in node.paths])
    planned = plan(root, find(root), target, scope)
    if strict:
        refuse_unconverted(root, planned, scope)
    changed = apply(planned)
    if changed:
        remember(root, Conversion.of(target, scope, strict, planned))
    return _report(root, planned, applied=bool(changed))


def inspect(model: nn.Module) -> Report:
    """Report every activation of a model, whether it is smooth, and how it would be rewritten.

    >>> report = inspect(nn.Sequential(nn.ReLU(), nn.Sigmoid()))
    >>> [(site.path, site.function, site.smooth) for site in report.sites]
    [('0', 'relu', False), ('1', 'sigmoid', True)]
    """
    root = unwrapped(model)
    return _report(root, find(root), applied=False)


def apply(planned: list[Planned]) -> list[Planned]:
    """Carry a plan out; on any failure every module is put back and the error is raised."""
    changes = [item for item in planned if item.new is not None]
    snapshot = Snapshot()
    try:
        for item in changes:
            snapshot.take(item.module)
            if item.new is not None:
                become(item.module, item.new)
    except BaseException:
        snapshot.restore()
        raise
    return changes


def refuse_unconverted(root: nn.Module, planned: list[Planned], scope: Scope) -> None:
    """Raise one UnconvertedError for all sites in scope that would not be smooth."""
    left = [
        item.site
        for item in planned
        if item.site.now_smooth is False and scope.holds((item.site.path, *item.site.aliases))
    ]
    if not left:
        return
    sites = [
        with_fields(site, note=site.note or f"becomes {site.becomes}, which is not smooth") for site in left
    ]
    listed = "\n".join(f"  {site}" for site in sites)
    raise UnconvertedError(
        f"{len(left)} activation{'s' if len(left) > 1 else ''} of this {type(root).__name__} would not be "
        f"smooth:\n{listed}\nchoose another to= or exclude=, describe the function with "
        f"smoothify.register_rule, or pass strict=False to convert the rest and keep these"
    )


def _report(root: nn.Module, planned: list[Planned], *, applied: bool) -> Report:
    return Report(type(root).__name__, tuple(item.site for item in planned), applied=applied)
