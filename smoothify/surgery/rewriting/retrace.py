"""A rewritten method brought up to date, where what its graph has baked in was changed."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

from torch import nn

from smoothify.errors import UnconvertedError
from smoothify.surgery.recognition.slots import Place, Slots, Target, has_tensors
from smoothify.surgery.rewriting.ambient import TraceRefusedError
from smoothify.surgery.rewriting.definition import SourceRefusedError
from smoothify.surgery.rewriting.generated import Method, Recipe, generate, original_class, recipes
from smoothify.surgery.rewriting.rewrite import OTHERWISE, by_graph
from smoothify.surgery.rewriting.source import rewrite_source
from smoothify.surgery.rules.base import spelled
from smoothify.surgery.sites import Found


def retrace(module: nn.Module) -> None:
    """Bring a module whose baked-in attribute was set up to date: by its source, a new trace, or redirected."""
    before = type(module)
    module.__class__ = original_class(before)
    try:
        for recipe in recipes(before):
            methods = [_again(module, method) if method.how == "graph" else method for method in recipe.methods]
            module.__class__ = generate(type(module), Recipe(tuple(methods)))
    except BaseException:
        module.__class__ = before
        raise


def _again(module: nn.Module, method: Method) -> Method:
    known = Slots(module, lambda found: None)
    calls: dict[Place, Found] = {}
    times: dict[Place, int] = defaultdict(int)
    for place, found, name in method.seen:
        times[place] += 1
        calls[place] = found
        word = (place[2], "in place") if found.inplace else (place[2],)
        known._by_call[(*word, *map(str, place), str(times[place]))] = name
        if not has_tensors(getattr(module, name)):
            known._by_call[word] = name
    shared: dict[int, tuple[Found, bool]] = {}
    for child, count, found, name in method.split:
        word = (spelled(found), "in place") if found.inplace else (spelled(found),)
        known._by_call[(*word, "shared", child, str(count))] = name
        key = id(module.get_submodule(child))
        shared[key] = found, shared.get(key, (found, True))[1] and count > 1
    names: dict[Place, set[str]] = defaultdict(set)
    for place, _, name in method.seen:
        names[place].add(name)

    def only(found: Found, file: str, line: int, column: int) -> str | None:
        there = names[file, line, spelled(found)]
        return next(iter(there)) if len(there) == 1 else None

    try:  # once it changes it may change again, at every call even
        if not method.split:
            lines = frozenset((file, line) for file, line, _ in calls)
            return Method(method.name, "source", *rewrite_source(getattr(type(module), method.name), lines, only))
    except SourceRefusedError:
        pass
    try:
        again = by_graph(module, Target(method.name, calls, shared), known)
        return replace(again, redirected=method.redirected, seen=method.seen)
    except TraceRefusedError as error:
        if method.split or known.tells_calls_apart({name for _, _, name in method.seen}):
            raise UnconvertedError(
                f"{type(module).__qualname__}.{method.name} was rewritten, so that each call of a shared activation "
                f"learns its own, and cannot be rewritten after this change ({error}); convert a model that has it"
            ) from error
    return Method(method.name, "runtime", OTHERWISE, redirected=method.redirected)
