"""Activation calls as nodes of a torch.fx graph, and modules that are nothing but a graph."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import fx, nn

from smoothify.surgery.recognition.calls import Call, read_call
from smoothify.surgery.recognition.slots import Slots, Target
from smoothify.surgery.rules.base import spelled


def call_in(node: fx.Node) -> Call | None:
    """Return the activation that a node calls as a function or tensor method, or None.

    >>> graph = fx.Graph()
    >>> node = graph.call_method("clamp", (graph.placeholder("x"),), {"min": 0})
    >>> call_in(node).found.arguments
    {'min': 0, 'max': None}
    """
    function = node.target if node.op == "call_function" else None
    if node.op == "call_method":
        function = getattr(torch.Tensor, str(node.target), None)
    call = read_call(function, node.args, node.kwargs) if callable(function) else None
    if call is None or any(not isinstance(operand, fx.Node) for operand in call.operands):
        return None
    return call


def put_slot(graph: fx.Graph, node: fx.Node, call: Call, name: str) -> None:
    """Let a module run in place of a call; what is read of the input after an in-place call is the result."""
    with graph.inserting_before(node):
        new = graph.create_node("call_module", name, call.operands, {})
    if call.found.inplace:
        after = False
        for other in list(graph.nodes):
            if after:
                other.replace_input_with(call.operands[0], new)
            after = after or other is node
    node.replace_all_uses_with(new)
    graph.erase_node(node)


def rewrite_graph_module(module: fx.GraphModule, targets: Sequence[Target], slots: Slots) -> None:
    """Rewrite the graphs that a GraphModule holds: what is later edited, copied or pickled is a graph.

    torchvision's feature extractors hold one for each mode. The activations become children, which is
    where torch.fx looks for what a graph calls.
    """
    words = {word for target in targets for *_, word in target.places}
    held = {name: value for name, value in vars(module).items() if isinstance(value, fx.Graph)}
    new = {id(graph): _rewritten(graph, words, slots) for graph in held.values()}
    module.__dict__.update({name: new[id(graph)] for name, graph in held.items()})
    module._modules.update(slots.made)
    module.__class__ = class_apart(module)
    module.graph = new[id(held["_graph"])]


def _rewritten(graph: fx.Graph, words: set[str], slots: Slots) -> fx.Graph:
    changed = deepcopy(graph)
    for node in list(changed.nodes):
        call = call_in(node)
        if call is None or spelled(call.found) not in words:
            continue
        name = slots.name(call.found, node.name)
        if name is not None:
            put_slot(changed, node, call, name)
    return changed


def class_apart(module: nn.Module) -> type[Any]:
    """Return the class for a shell of a module: another one for a GraphModule, which keeps its code in its class.

    Its code is put there by ``recompile``.
    """
    cls = type(module)
    if not isinstance(module, fx.GraphModule) or "_wrapped_call" not in vars(cls):
        return cls
    names = {"__module__": cls.__module__, "__qualname__": cls.__qualname__, "__doc__": cls.__doc__}
    return type(cls.__name__, cls.__bases__, names)


def keep_modes(copied: nn.Module, module: nn.Module) -> None:
    """Put every GraphModule of a copy into the mode of its original, which torch.fx forgets when it copies one."""
    originals = dict(module.named_modules())
    for path, ours in copied.named_modules():
        if isinstance(ours, fx.GraphModule) and ours.training != originals[path].training:
            ours.train(originals[path].training)
            for below, child in ours.named_modules(prefix=path):
                child.training = originals[below].training
