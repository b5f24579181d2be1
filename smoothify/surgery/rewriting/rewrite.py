"""Rewriting the calls inside one module's methods: by graph, else by source, else while running."""

from __future__ import annotations

import inspect
import textwrap
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

from torch import fx, nn

from smoothify.errors import UnconvertedError
from smoothify.surgery.recognition.graphs import call_in, put_slot, rewrite_graph_module
from smoothify.surgery.recognition.slots import Build, Slots, Target
from smoothify.surgery.rewriting.ambient import TraceRefusedError
from smoothify.surgery.rewriting.definition import SourceRefusedError
from smoothify.surgery.rewriting.generated import Method, Recipe, Seen, Split, adopt
from smoothify.surgery.rewriting.runtime import RedirectedCallable
from smoothify.surgery.rewriting.source import mentions_checkpoint, rewrite_source
from smoothify.surgery.rewriting.texts import Code
from smoothify.surgery.rewriting.tracing import Traced, trace
from smoothify.surgery.rules.base import spelled
from smoothify.surgery.sites import Found, How

OTHERWISE: Code = Code("def make(__class__, otherwise, captured, helpers):\n    return otherwise\n")
"""The code of a method that is what it was, with its calls redirected."""
_OTHERWISE = "_smoothify_otherwise"  # no parameter of a forward is called that
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
            if target.again:
                raise _refused_checkpoint(module, target)
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
    method = by_graph(module, target, slots)
    slots.install()
    adopt(module, Recipe((method,)))


def _method(module: nn.Module, target: Target, slots: Slots, ways: Sequence[How]) -> tuple[Method, How]:
    function = getattr(type(module), target.method)
    # What runs again in the backward pass is not redirected there.
    checkpoints = target.again or mentions_checkpoint(function)
    for way in (way for way in ways if way != "graph" or not checkpoints):
        try:
            with slots.attempt():
                if way == "graph":
                    return by_graph(module, target, slots), way
                if way == "source":
                    return _by_source(function, target, slots), way
        except (TraceRefusedError, SourceRefusedError):
            continue
    if checkpoints:
        raise _refused_checkpoint(module, target)
    return _by_mode(target, slots), "runtime"


def _refused_checkpoint(module: nn.Module, target: Target) -> UnconvertedError:
    return UnconvertedError(
        f"{type(module).__qualname__}.{target.method} uses checkpoint and its source cannot be rewritten; leave "
        f"the module out with exclude=, or call its activations in a method of their own"
    )


def _redirections(target: Target, slots: Slots) -> dict[str, str]:
    names = ((word, slots.shared(found)) for (*_, word), found in target.calls.items())
    return {word: name for word, name in names if name is not None}


def _by_mode(target: Target, slots: Slots) -> Method:
    return Method(target.method, "runtime", OTHERWISE, redirected=_redirections(target, slots))


def _by_source(function: Any, target: Target, slots: Slots) -> Method:
    def slot(found: Found, file: str, line: int, column: int) -> str | None:
        seen = target.calls.get((file, line, spelled(found)))
        return slots.name(replace(found, inplace=seen.inplace), file, line, column) if seen else None

    code, helpers = rewrite_source(function, frozenset((file, line) for file, line, _ in target.places), slot)
    return Method(target.method, "source", code, helpers)


def by_graph(module: nn.Module, target: Target, slots: Slots) -> Method:
    """Rewrite a method by its graphs in train and eval mode; raises TraceRefusedError."""
    seen: list[Seen] = []
    split: list[Split] = []
    modes: dict[bool, tuple[Traced, str, dict[str, Any]]] = {}
    for training in (True, False):
        traced = trace(module, target.method, training)
        seen += [item for item in _replace(traced.graph, target, slots) if item not in seen]
        split += [item for item in _split(module, traced.graph, target, slots) if item not in split]
        code = traced.graph.python_code("self")
        modes[training] = traced, _body(code.src), dict(code.globals)
    if {place for place, _, _ in seen} != target.places:
        raise TraceRefusedError("the trace does not pass by every call")
    method = replace(_assembled(module, target, modes, seen, _redirections(target, slots)), split=tuple(split))
    learns = split or slots.tells_calls_apart({name for *_, name in seen})
    (train, *_), (evaluation, *_) = modes[True], modes[False]
    if learns and any(_by_arguments(_required(module, target, train), train, evaluation)):
        raise TraceRefusedError("for some arguments the method itself runs, whose calls that learn are not told apart")
    return method


def _required(module: nn.Module, target: Target, traced: Traced) -> list[str]:
    _, *others = inspect.signature(getattr(type(module), target.method)).parameters
    return [name for name in others if name not in traced.constants]


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
    required = _required(module, target, train)
    other = [*_by_arguments(required, train, evaluation), *_by_state(train, evaluation)]
    if other:
        lines += [f"    if {' or '.join(other)}:", f"        return {_OTHERWISE}({', '.join(parameters)})"]
    if train_body == eval_body:
        lines.append(train_body)
    else:
        lines += ["    if self.training:", textwrap.indent(train_body, "    "), eval_body]
    text = f"def make(__class__, {_OTHERWISE}, captured, helpers):\n" + textwrap.indent("\n".join(lines), "    ")
    text += f"\n    return {target.method}\n"
    return Method(
        target.method,
        "graph",
        Code(text, scope={**train_scope, **eval_scope}),
        reads=train.reads | evaluation.reads,
        redirected=redirections,
        seen=tuple(seen),
    )


def _by_arguments(required: Iterable[str], train: Traced, evaluation: Traced) -> Iterator[str]:
    """Return the conditions on its arguments under which the graphs are not what the method would do."""
    for name, value in train.constants.items():  # a tensor may equal a number, and learn
        if value is None or isinstance(value, bool):
            yield f"{name} is not {value!r}"
        else:
            yield f"type({name}) is not {type(value).__name__} or {name} != {value!r}"
    if train.tells_none_apart or evaluation.tells_none_apart:
        names = tuple(required)
        yield from (f"{name} is None or {name} is True or {name} is False" for name in names)
        yield from (f"{one} is {other}" for one, other in combinations(names, 2))


def _by_state(train: Traced, evaluation: Traced) -> Iterator[str]:
    """Likewise, the conditions on the module."""
    for name in sorted(train.empty | evaluation.empty):
        yield f"self.{name} is not None"
    yield from (f"hasattr(self, {name!r})" for name in sorted(train.absent | evaluation.absent))
    for path, names in {**train.children, **evaluation.children}.items():
        yield f"tuple(self.get_submodule({path!r})._modules) != {names!r}"


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
        if isinstance(call.asked, fx.Node):
            raise TraceRefusedError("its input decides whether a call is in place")
        times[place] += 1
        name = slots.name(call.found, *place, times[place])
        if name is None:
            continue
        put_slot(graph, node, call, name)
        seen.append((place, call.found, name))
    return seen


def _split(module: nn.Module, graph: fx.Graph, target: Target, slots: Slots) -> Iterator[Split]:
    """Give every call of a shared activation module a slot of its own."""
    times: dict[int, int] = defaultdict(int)
    for node in graph.nodes:
        called = module.get_submodule(str(node.target)) if node.op == "call_module" and target.shared else None
        if id(called) not in target.shared:
            continue
        found, keeps_first = target.shared[id(called)]
        times[id(called)] += 1
        if times[id(called)] > 1 or not keeps_first:
            shared = str(node.target)
            name = slots.name(found, "shared", shared, times[id(called)])
            if name is not None:
                node.target = name
                yield shared, times[id(called)], found, name
