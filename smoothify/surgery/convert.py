"""The verbs: ``convert`` returns a smooth copy, ``convert_`` changes in place, ``inspect`` only looks."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import replace as with_fields
from typing import Any, TypeVar, cast

from torch import nn

from smoothify.activations import recompute_
from smoothify.errors import UnconvertedError, UnverifiedWarning
from smoothify.surgery.conversions import Conversion, remember
from smoothify.surgery.execute import become_smooth, built_by, execute
from smoothify.surgery.hosts import descriptions
from smoothify.surgery.look import look_at, operations
from smoothify.surgery.plan import plan, seen_sites
from smoothify.surgery.probing.model_copy import copy_of
from smoothify.surgery.recognition.attributes import held
from smoothify.surgery.recognition.edges import unwrapped, walk
from smoothify.surgery.recognition.fused import unfuse
from smoothify.surgery.recognition.graphs import keep_modes
from smoothify.surgery.recognition.modules import Snapshot
from smoothify.surgery.recognition.slots import SLOT
from smoothify.surgery.report import Report
from smoothify.surgery.rules.base import Target, To
from smoothify.surgery.scope import Globs, Replace, Scope
from smoothify.surgery.shared import put_back, split_shared
from smoothify.surgery.sites import Site

Model = TypeVar("Model", bound=nn.Module)


def convert(
    model: Model,
    to: To = "silu",
    *,
    only: Globs = None,
    exclude: Globs = None,
    replace: Replace = "nonsmooth",
    strict: bool = True,
    example_input: Any = None,
    recompute: bool = False,
) -> Model:
    """Return a copy of a model in which every activation is smooth; the model itself stays as it is.

    The copy has the same class, keys, hooks, modes, dtypes and devices; a model that ``torch.compile`` wrapped comes
    back unwrapped. It is verified by running a shell of it on fake tensors.

    Args:
        model: of any host; it is not changed.
        to: a spec ("silu", "celu(alpha=1.4)"), a factory (``nn.SiLU``), or a mapping of such per function
            ({"relu": "silu", "elu": "celu"}). What each function becomes is the table of rules in the documentation.
        only: globs over module paths; nothing else is converted than these and what is beneath them.
        exclude: globs over module paths; these and what is beneath them are left as they are.
        replace: "nonsmooth", "all", or a set of function names; "all" leaves the gates: sigmoid, tanh, softsign,
            tanhshrink and logsigmoid.
        strict: refuse to leave a non-smooth activation within ``only`` and ``exclude``.
        example_input: what the shell is run on: a tensor, a tuple of arguments, or a mapping of keyword arguments;
            by default what the host says it takes, such as (1, 3, 224, 224).
        recompute: let it train in the memory of its ReLU original, as `smoothify.activations.recompute_` does.

    Raises:
        UnconvertedError: a non-smooth activation would remain; the message names every site.
        UnsupportedModelError: a scripted, quantised, lazy or wrapped model, or one that keeps tensors with their graph.
        SmoothifyError: the model does not run on ``example_input``; its own error is the cause.

    Warns:
        UnverifiedWarning: the result could not be verified, or has a kink that is no activation; the message says why.

    >>> import torch
    >>> convert(nn.Sequential(nn.Linear(2, 2), nn.ReLU()), to="silu")[1]
    SiLU()
    """
    root = unwrapped(model)
    copied = cast(Model, copy_of(root))
    keep_modes(copied, root)
    report = convert_(
        copied,
        to,
        only=only,
        exclude=exclude,
        replace=replace,
        strict=strict,
        example_input=example_input,
        recompute=recompute,
    )
    unknown = {site.becomes or site.function for site in report.unknown if strict}
    doubts = (*report.doubts, *(f"nobody knows whether {name} is smooth" for name in sorted(unknown)))
    if doubts:
        shown = "; ".join(doubts[:5]) + " …" * (len(doubts) > 5)
        warnings.warn(f"{report.model}: {shown}", UnverifiedWarning, stacklevel=2)
    return copied


def convert_(
    model: nn.Module,
    to: To = "silu",
    *,
    only: Globs = None,
    exclude: Globs = None,
    replace: Replace = "nonsmooth",
    strict: bool = True,
    example_input: Any = None,
    recompute: bool = False,
) -> Report:
    """Make every activation of a model smooth, in place, all or nothing; arguments and errors as for ``convert``.

    >>> model = nn.Sequential(nn.ReLU(), nn.Hardswish())
    >>> [site.becomes for site in convert_(model, to="mish").sites]
    ['mish', 'silu']
    """
    root = unwrapped(model)
    target, scope = Target(to), Scope.of(only, exclude, replace)
    paths = [path for node in walk(root) for path in node.paths]
    scope.check(root, [*paths, *(path for thing in held(root) for path in (thing.path, *thing.aliases))])
    snapshot = Snapshot()
    try:
        # Modules first: without function calls, the run that looks for calls is the proof as well.
        planned = plan(root, seen_sites(root), target, scope)
        look = become_smooth(root, planned, example_input, snapshot)
        planned, splits = split_shared(root, look.seen, look.runs, target, snapshot)
        ran = look.runs
        look = look_at(root, planned, example_input) if splits else with_fields(look, seen=tuple(planned))
        planned, undone = put_back(planned, splits, look.runs)
        if undone:
            splits = [split for split in splits if split not in undone]
            look = look_at(root, planned, example_input)
        calls = plan(root, look.calls, target, scope, built_by(planned))
        outcome = execute(root, look, calls, target)
        seen = [item for item in look.seen if not any(map(item.is_replaced_by, calls))]
        sites = (
            *(item.site for item in seen),
            *(site for split in splits for site in split.sites),
            *outcome.sites,
            *outcome.left,
        )
        if ran and not outcome.runs:
            outcome.undo()
            raise UnconvertedError(
                f"this {type(root).__name__} runs as it is, and not with its calls rewritten: {outcome.note}; leave "
                f"the module that fails out with exclude="
            )
        left = _left(sites, scope) if strict else []
        if left:
            outcome.undo()
            raise UnconvertedError(_refusal(root, left))
    except BaseException:
        snapshot.restore()
        raise
    if recompute:
        recompute_(root)
    changed = any(site.becomes is not None for site in sites)
    followed = ""
    if changed:
        unfuse(root)
        remember(root, Conversion.of(target, scope, strict, sites))
        followed = descriptions.follow(root, sites)
    return Report(
        type(root).__name__,
        sites,
        operations(root, "nonsmooth", outcome.runs),
        operations(root, "unverified", outcome.runs),
        tuple(dict.fromkeys(run.mode for run in outcome.runs)),
        applied=changed,
        note=outcome.note,
        followed=followed,
    )


def inspect(model: nn.Module, *, example_input: Any = None) -> Report:
    """Report every activation of a model and whether it is smooth; `convert` says what becomes of each.

    Args:
        model: of any host; it is not changed.
        example_input: an input that shows the way through the model, as for `convert`.

    Raises:
        UnsupportedModelError: a scripted, quantised, lazy or wrapped model.

    >>> report = inspect(nn.Sequential(nn.ReLU(), nn.Sigmoid()))
    >>> [(site.path, site.function, site.smooth) for site in report.sites]
    [('0', 'relu', False), ('1', 'sigmoid', True)]
    """
    root = unwrapped(model)
    look = look_at(root, seen_sites(root), example_input)
    return Report(
        type(root).__name__,
        tuple(_once([item.site for item in look.seen], [item.site for item in look.calls])),
        look.operations,
        look.unverified,
        look.modes,
        note=look.note,
    )


def _once(seen: list[Site], calls: list[Site]) -> list[Site]:
    """Return all sites; what stands for a rewritten call is listed as that call, if it was seen to run."""
    ran = {(site.path, site.function) for site in calls}
    places = [site.path.rpartition(".") for site in seen]
    pairs = zip(seen, places, strict=True)
    return [
        *(site for site, (owner, _, name) in pairs if not (name.startswith(SLOT) and (owner, site.function) in ran)),
        *calls,
    ]


def _left(sites: Iterable[Site], scope: Scope) -> list[Site]:
    """Return the sites in scope that would not be smooth."""
    return [
        with_fields(site, note=site.note or f"{_fate(site)}, which is not smooth")
        for site in sites
        if site.now_smooth is False and not site.note.startswith("kept: ") and scope.holds((site.path, *site.aliases))
    ]


def _fate(site: Site) -> str:
    return f"stays {site.function}" if site.becomes is None else f"becomes {site.becomes}"


def _refusal(root: nn.Module, left: list[Site]) -> str:
    listed = "\n".join(f"  {site}" for site in left)
    return (
        f"{len(left)} activation{'s' if len(left) > 1 else ''} of this {type(root).__name__} would not be "
        f"smooth:\n{listed}\nchoose another to= or exclude=, describe the function with "
        f"smoothify.register_rule, show another way through the model with example_input=, or pass "
        f"strict=False to convert the rest and keep these"
    )
