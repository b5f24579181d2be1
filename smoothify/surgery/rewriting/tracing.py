"""The local graph pass: tracing one method of one module, its children as leaves, or saying why not.

A trace bakes in whatever it does not see as a tensor. Everything that could make the generated code differ
from the method is refused here (``TraceRefusedError``), so that another way is taken.
"""

from __future__ import annotations

import gc
import inspect
import random
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from typing import Any

from torch import fx, nn
from torch.utils._python_dispatch import TorchDispatchMode

from smoothify.surgery.probing.bytecode import tells_none_apart
from smoothify.surgery.probing.frames import ALONE, is_of_a_model
from smoothify.surgery.probing.shell import Shell
from smoothify.surgery.recognition.modules import described
from smoothify.surgery.rewriting.ambient import Ambient, TraceRefusedError
from smoothify.surgery.rewriting.baked import (
    goes_past_setting,
    is_empty,
    is_registered,
    numpy_draws,
    of_the_class,
    of_the_insides,
    refusal,
    watched,
)
from smoothify.surgery.rewriting.proxies import StandIn
from smoothify.surgery.rewriting.subclasses import subclass

_STATE = frozenset(nn.Module().__dict__)


@dataclass(frozen=True, slots=True)
class Traced:
    """The graph of one method in one mode, and what was concretized and read on the way."""

    graph: fx.Graph
    constants: Mapping[str, Any]
    """Parameters of the method that hold their default value in the graph."""
    reads: frozenset[str]
    """Plain attributes of the module that the trace read."""
    empty: frozenset[str]
    """Children, parameters and buffers that are None, which the trace asked for."""
    absent: frozenset[str]
    """What the module has not, though the trace asked for it."""
    children: Mapping[str, tuple[str, ...]]
    """The names of the children of each module, by path, that the trace went through."""
    tells_none_apart: bool
    """Whether an argument, of the method or of a function that it calls, is asked whether it is a constant."""


def trace(module: nn.Module, method: str, training: bool) -> Traced:
    """Trace a method of a module as it stands, in one mode; raises TraceRefusedError."""
    function = getattr(type(module), method, None)
    if not inspect.isfunction(function) or hasattr(function, "__wrapped__"):
        raise TraceRefusedError(f"{method} is no plain method")
    names, constants = _signature(function)
    copied = Shell.shallow(module)
    reads: set[str] = set()
    empty: set[str] = set()
    absent: set[str] = set()
    copied.training = training
    copied.__class__ = _watching(type(module), function, names, constants, (reads, empty, absent))
    tracer = _Tracer()
    state, drawn = random.getstate(), numpy_draws()
    try:
        with ALONE, _uncollected(), watched(copied, _refuse), _NoKernels(), Ambient() as ambient:
            graph = tracer.trace(copied)
    except TraceRefusedError:
        raise
    except Exception as error:
        raise TraceRefusedError(f"{type(error).__name__}: {error}") from error
    if random.getstate() != state:
        random.setstate(state)
        raise TraceRefusedError("it draws random numbers in Python")
    if drawn is not None and repr(numpy_draws()) != repr(drawn):
        sys.modules["numpy"].random.set_state(drawn)
        raise TraceRefusedError("it draws random numbers in numpy")
    if any(node.op == "get_attr" and "_tensor_constant" in str(node.target) for node in graph.nodes):
        raise TraceRefusedError("it computes a constant tensor")
    if reads | absent and goes_past_setting(type(module)):
        raise TraceRefusedError("a method of its class takes its __dict__, and may set there what the trace has read")
    gone_through = ((path, below) for path, below in copied.named_modules() if id(below) in ambient.counted)
    return Traced(
        graph,
        constants,
        frozenset((reads | absent) - {"training"}),
        frozenset(empty),
        frozenset(absent),
        {path: tuple(below._modules) for path, below in gone_through},
        any(map(tells_none_apart, ambient.codes)),
    )


def _refuse(why: str) -> None:
    raise TraceRefusedError(why)


def _signature(function: Callable[..., Any]) -> tuple[list[str], dict[str, Any]]:
    names: list[str] = []
    constants: dict[str, Any] = {}
    for name, parameter in list(inspect.signature(function).parameters.items())[1:]:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.KEYWORD_ONLY):
            raise TraceRefusedError(f"its signature has {parameter}")
        if parameter.default is parameter.empty:
            names.append(name)
        elif type(parameter.default) in (bool, int, float, str, type(None)):  # an enum is written otherwise
            constants[name] = parameter.default
        else:
            raise TraceRefusedError(f"the default of {name} is no constant")
    return names, constants


def _watching(
    cls: type[nn.Module],
    function: Callable[..., Any],
    names: list[str],
    constants: Mapping[str, Any],
    noted: tuple[set[str], set[str], set[str]],
) -> type[nn.Module]:
    reads, empty, absent = noted

    def read(self: nn.Module, name: str) -> Any:
        caller = sys._getframe(1)
        state, of_a_model = object.__getattribute__(self, "__dict__"), is_of_a_model(caller)
        if of_the_insides(name, caller) or (name == "__class__" and of_a_model):
            raise TraceRefusedError(f"it reads self.{name}, which may change inside")
        if is_empty(state, name) and of_a_model:
            empty.add(name)
        try:
            value = object.__getattribute__(self, name)
        except AttributeError:
            if of_a_model and not is_registered(state, name):
                absent.add(name)
            raise
        if name not in _STATE and name in state:
            if (why := refusal(name, value)) and of_a_model:
                raise TraceRefusedError(why)
            reads.add(name)
        elif of_a_model and of_the_class(self, name, value):
            raise TraceRefusedError(f"it reads {name} of its class, which may change")
        return value

    def write(self: nn.Module, name: str, value: Any) -> None:
        raise TraceRefusedError(f"it sets self.{name}")

    passed = ", ".join(["self", *names])
    scope: dict[str, Any] = {"function": function, "constants": dict(constants)}
    exec(compile(f"def forward({passed}):\n    return function({passed}, **constants)", __file__, "exec"), scope)
    return subclass(cls, {"forward": scope["forward"], "__getattribute__": read, "__setattr__": write})


class _Tracer(fx.Tracer):
    """Keeps every child as a leaf and notes the source line of every call."""

    proxy_buffer_attributes = True  # else the shape and dtype of a buffer would be kept

    def __init__(self) -> None:
        super().__init__()
        self._paths: dict[int, list[str]] = defaultdict(list)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return True

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return StandIn(node, self)

    def create_node(self, *args: Any, **kwargs: Any) -> fx.Node:
        node = super().create_node(*args, **kwargs)
        node.meta["place"] = place()
        return node

    def path_of_module(self, mod: nn.Module) -> str:
        if any("__call__" in vars(cls) for cls in type(mod).__mro__ if cls is not nn.Module):
            raise TraceRefusedError(f"a {type(mod).__name__} is called in a way of its own, which would run twice")
        if not self._paths:
            for path, module in self.root.named_modules(remove_duplicate=False):
                self._paths[id(module)].append(path)
        paths = sorted(self._paths[id(mod)], key=lambda path: path.count("."))
        if len(paths) > 1 and described(mod)[1] is None:
            raise TraceRefusedError(f"it calls {paths[0]}, which is {paths[1]} too, and one of the two may be replaced")
        return paths[0] if paths else super().path_of_module(mod)

    def create_arg(self, a: Any) -> Any:
        if isinstance(a, Enum):
            raise TraceRefusedError("it passes an enum on, which a graph cannot write")
        known = isinstance(a, (fx.Proxy, type)) or not is_dataclass(a)
        if not known and not self._can_be_made_again(a):
            raise TraceRefusedError(f"it makes a {type(a).__name__}, which is another one when made of its own fields")
        return super().create_arg(a)

    def _can_be_made_again(self, made: Any) -> bool:
        """Whether a dataclass that is constructed from its own fields, as a graph does, computes nothing anew."""
        known, values = len(self.graph.nodes), {one.name: getattr(made, one.name) for one in fields(made)}
        again = type(made)(**values)
        return len(self.graph.nodes) == known and all(getattr(again, name) is values[name] for name in values)


def place() -> tuple[str, int]:
    """Return file and line of the innermost frame that belongs to a model."""
    frame = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        if is_of_a_model(frame):
            return file, frame.f_lineno
        if frame.f_back is None:
            break
        frame = frame.f_back
    return "", 0


class _NoKernels(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch does not type its modes
    """A kernel that runs while tracing makes a constant, random ones included."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # as above

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func._schema.name.startswith("prim::"):
            return func(*args, **(kwargs or {}))
        raise TraceRefusedError(f"{func} does not depend on the input and would become a constant")


@contextmanager
def _uncollected() -> Iterator[None]:
    """Put garbage collection off: what others do when it runs, such as asking the time, is not the model's doing."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
