"""Reading a function call: which activation it is, with which arguments, on which tensor."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from smoothify.surgery.rules.base import Rule, rule_for_callable
from smoothify.surgery.sites import Found

# Called with a second tensor besides the input: F.prelu's weight, the threshold of max(x, τ).
BINARY: frozenset[str] = frozenset({"prelu", "maximum"})


@dataclass(frozen=True, slots=True)
class Call:
    """A recognised call: what it computes and the tensors (or graph nodes) it is computed on."""

    found: Found
    operands: tuple[Any, ...]
    asked: Any = False
    """What was given as ``inplace``: of a call that is read and not made, an expression or a graph node."""


def read_call(function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Call | None:
    """Return the activation that a call computes, or None where it is no activation or cannot be read.

    >>> import torch
    >>> call = read_call(torch.nn.functional.leaky_relu, ("x",), {"negative_slope": 0.2, "inplace": True})
    >>> call.found.arguments, call.found.inplace, call.operands
    ({'negative_slope': 0.2}, True, ('x',))
    >>> read_call(torch.Tensor.clamp_, ("x",), {"min": 0}).found.arguments
    {'min': 0, 'max': None}
    """
    rule = rule_for_callable(function)
    if rule is None:
        return None
    names = _parameter_names(function, rule)
    if len(args) > len(names):
        return None
    given = {**dict(zip(names, args, strict=False)), **kwargs}
    if given.get("out") is not None:
        return None
    operands = tuple(given.pop(name) for name in _operand_names(rule, given) if name in given)
    if len(operands) != (2 if rule.function in BINARY else 1) or isinstance(operands[-1], int):
        return None
    asked = given.pop("inplace", False)
    inplace = bool(asked) or function.__name__.rstrip("_") + "_" == function.__name__
    arguments = {name: given.get(name, default) for name, default in rule.arguments}
    if rule.function == "rrelu":
        found = _rrelu(arguments, given.get("training", False), inplace)
        return None if found is None else Call(found, operands, asked)
    if rule.function == "hardtanh" and (arguments["min_val"], arguments["max_val"]) == (0, 6):
        return Call(Found("relu6", {}, inplace), operands, asked)
    if any(not isinstance(value, (int, float, str, type(None))) for value in arguments.values()):
        return None
    return Call(Found(rule.function, arguments, inplace), operands, asked)


def _rrelu(arguments: Mapping[str, Any], training: Any, inplace: bool) -> Found | None:
    """Read ``F.rrelu``: outside training it is a leaky ReLU of the mean slope."""
    bounds = tuple(arguments.values())
    if not all(isinstance(value, (int, float)) for value in (*bounds, training)):
        return None
    if training:
        return Found("rrelu", arguments, inplace)
    return Found("leaky_relu", {"negative_slope": sum(bounds) / 2}, inplace)


def _operand_names(rule: Rule, given: Mapping[str, Any]) -> tuple[str, ...]:
    first = next((name for name in ("input", "self", "x") if name in given), "input")
    return (first, *(name for name in ("weight", "other") if rule.function in BINARY and name in given))


@cache
def _parameter_names(function: Callable[..., Any], rule: Rule) -> tuple[str, ...]:
    try:
        return tuple(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        pass
    if rule.function in BINARY:
        return ("input", "weight" if rule.function == "prelu" else "other")
    arguments = tuple(name for name, _ in rule.arguments)
    if function.__name__ in ("rrelu", "rrelu_"):
        arguments = (*arguments, "training")
    return ("input", *arguments)
