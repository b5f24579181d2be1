"""Rewriting the calls inside one module's methods: by graph, else by source, else while running."""

from __future__ import annotations

import inspect
import textwrap
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from torch import fx, nn

from smoothify.errors import UnconvertedError
from smoothify.surgery.generated import Code, Method, Recipe, Seen, adopt, generate, original_class, recipes
from smoothify.surgery.graphs import call_in, put_slot, rewrite_graph_module
from smoothify.surgery.rules import spelled
from smoothify.surgery.runtime import RedirectedCallable
from smoothify.surgery.sites import Found, How
from smoothify.surgery.slots import Build, Place, Slots, Target, has_tensors
from smoothify.surgery.source import SourceRefusedError, mentions_checkpoint, rewrite_source
from smoothify.surgery.tracing import Traced, TraceRefusedError, trace

_OTHERWISE = Code("def make(__class__, otherwise, captured, helpers):\n    return otherwise\n")
WAYS: tuple[How, ...] = ("graph", "source", "runtime")


def rewrite(module: nn.Module, targets: Sequence[Target], build: Build, ways: Iterable[How]) -> How:
    """Rewrite the calls of one module in the first way that works; returns which. Changes the module."""
    slots = Slots(module, build)
    if isinstance(module, fx.GraphModule) and "graph" in ways:
        rewrite_graph_module(module, targets, slots)
        return "graph"
    used: How = "graph"
    methods: list[Method] = []
    for target in targets:
        if target.method in module.__dict__:  # a function that somebody put over the method of the class
            own = module.__dict__[target.method]
            module.__dict__[target.method] = RedirectedCallable(module, own, _redirections(target, slots))
            used = "runtime"
            continue
        method, how = _method(module, target, slots, tuple(ways))
        methods.append(method)
        used = max(used, how, key=WAYS.index)
    slots.install()
    adopt(module, Recipe(tuple(methods)))
    return used


def rewrite_by_graph(module: nn.Module, target: Target, slots: Slots) -> None:
    """Rewrite one method by its graph; raises TraceRefusedError and then changes nothing."""
    method = _by_graph(module, target, slots)
    slots.install()
    adopt(module, Recipe((method,)))


def _method(module: nn.Module, target: Target, slots: Slots, ways: Sequence[How]) -> tuple[Method, How]:
    function = getattr(type(module), target.method)
    checkpoints = mentions_checkpoint(function)  # what runs again in the backward pass is not redirected there
    for way in (way for way in ways if way != "graph" or not checkpoints):
        try:
            with slots.attempt():
                if way == "graph":
                    return _by_graph(module, target, slots), way
                if way == "source":
                    return _by_source(function, target, slots), way
        except (TraceRefusedError, SourceRefusedError):
            continue
    if checkpoints:
        raise UnconvertedError(
            f"{type(module).__qualname__}.{target.method} uses checkpoint and its source cannot be rewritten; leave "
            f"the module out with exclude=, or call its activations in a method of their own"
        )
    return _by_mode(target, slots), "runtime"


def _redirections(target: Target, slots: Slots) -> dict[str, str]:
    names = ((word, slots.shared(found)) for (*_, word), found in target.calls.items())
    return {word: name for word, name in names if name is not None}


def _by_mode(target: Target, slots: Slots) -> Method:
    return Method(target.method, "runtime", _OTHERWISE, redirected=_redirections(target, slots))


def _by_source(function: Any, target: Target, slots: Slots) -> Method:
    def slot(found: Found, file: str, line: int, column: int) -> str | None:
        seen = target.calls.get((file, line, spelled(found)))
        return slots.name(replace(found, inplace=seen.inplace), file, line, column) if seen else None

    code, helpers = rewrite_source(function, frozenset((file, line) for file, line, _ in target.places), slot)
    return Method(target.method, "source", code, helpers)


def _by_graph(module: nn.Module, target: Target, slots: Slots) -> Method:
    seen: list[Seen] = []
    modes: dict[bool, tuple[Traced, str, dict[str, Any]]] = {}
    for training in (True, False):
        traced = trace(module, target.method, training)
        seen += [item for item in _replace(traced.graph, target, slots) if item not in seen]
        _split(module, traced.graph, target, slots)
        code = traced.graph.python_code("self")
        modes[training] = traced, _body(code.src), dict(code.globals)
    if {place for place, _, _ in seen} != target.places:
        raise TraceRefusedError("the trace does not pass by every call")
    return _assembled(module, target, modes, seen, _redirections(target, slots))


def _assembled(
    module: nn.Module,
    target: Target,
    modes: dict[bool, tuple[Traced, str, dict[str, Any]]],
    seen: list[Seen],
    redirections: dict[str, str],
) -> Method:
    (train, train_body, train_scope), (evaluation, eval_body, eval_scope) = modes[True], modes[False]
    _, *others = inspect.signature(getattr(type(module), target.method)).parameters
    parameters = ["self", *others]  # whatever the method calls it
    arguments = [f"{name}={train.constants[name]!r}" if name in train.constants else name for name in parameters]
    lines = [f"def {target.method}({', '.join(arguments)}):"]
    if train.constants:
        other = " or ".join(  # a tensor may equal a number, and learn
            f"{name} is not {value!r}"
            if value is None or isinstance(value, bool)
            else f"type({name}) is not {type(value).__name__} or {name} != {value!r}"
            for name, value in train.constants.items()
        )
        lines += [f"    if {other}:", f"        return otherwise({', '.join(parameters)})"]
    if train_body == eval_body:
        lines.append(train_body)
    else:
        lines += ["    if self.training:", textwrap.indent(train_body, "    "), eval_body]
    text = "def make(__class__, otherwise, captured, helpers):\n" + textwrap.indent("\n".join(lines), "    ")
    text += f"\n    return {target.method}\n"
    return Method(
        target.method,
        "graph",
        Code(text, scope={**train_scope, **eval_scope}),
        reads=train.reads | evaluation.reads,
        redirected=redirections,
        seen=tuple(seen),
    )


def _body(text: str) -> str:
    lines = text.split("\n")
    start = next(index for index, line in enumerate(lines) if line.startswith("def forward("))
    return "\n".join(line for line in lines[start + 1 :] if line.strip())


def _replace(graph: fx.Graph, target: Target, slots: Slots) -> list[Seen]:
    seen: list[Seen] = []
    times: dict[tuple[str, int, str], int] = defaultdict(int)
    for node in list(graph.nodes):
        call = call_in(node)
        if call is None:
            continue
        place = (*node.meta["place"], spelled(call.found))
        if place not in target.places:
            continue
        times[place] += 1
        name = slots.name(call.found, *place, times[place])
        if name is None:
            continue
        put_slot(graph, node, call, name)
        seen.append((place, call.found, name))
    return seen


def _split(module: nn.Module, graph: fx.Graph, target: Target, slots: Slots) -> None:
    """Give every call of a shared activation module a slot of its own."""
    times: dict[int, int] = defaultdict(int)
    for node in graph.nodes:
        called = module.get_submodule(str(node.target)) if node.op == "call_module" and target.shared else None
        if id(called) not in target.shared:
            continue
        found, keeps_first = target.shared[id(called)]
        times[id(called)] += 1
        if times[id(called)] > 1 or not keeps_first:
            node.target = slots.name(found, "shared", node.target, times[id(called)]) or node.target


def retrace(module: nn.Module) -> None:
    """Bring a module whose baked-in attribute was set up to date: trace anew, or run it redirected."""
    chain = recipes(type(module))
    module.__class__ = original_class(type(module))
    for recipe in chain:
        methods = [_again(module, method) if method.reads else method for method in recipe.methods]
        module.__class__ = generate(type(module), Recipe(tuple(methods)))


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
    names: dict[Place, set[str]] = defaultdict(set)
    for place, _, name in method.seen:
        names[place].add(name)

    def only(found: Found, file: str, line: int, column: int) -> str | None:
        there = names[file, line, spelled(found)]
        return next(iter(there)) if len(there) == 1 else None

    try:
        again = _by_graph(module, Target(method.name, calls), known)
        return replace(again, redirected=method.redirected, seen=method.seen)
    except TraceRefusedError:
        pass
    try:
        lines = frozenset((file, line) for file, line, _ in calls)
        return Method(method.name, "source", *rewrite_source(getattr(type(module), method.name), lines, only))
    except SourceRefusedError:
        return Method(method.name, "runtime", _OTHERWISE, redirected=method.redirected)
