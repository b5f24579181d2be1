"""Generated subclasses: how one module instance gets a rewritten method and stays what it is otherwise."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cached_property, wraps
from inspect import getattr_static
from types import MethodType
from typing import Any

from torch import nn
from torch.nn.utils import parametrize

from smoothify.surgery.rewriting.baked import is_empty, is_registered
from smoothify.surgery.rewriting.runtime import redirected
from smoothify.surgery.rewriting.subclasses import subclass
from smoothify.surgery.rewriting.texts import Code
from smoothify.surgery.sites import Found

RECIPE = "_smoothify_recipe"
_NOTHING = object()
_PLAIN = (bool, int, float, str, bytes)

Seen = tuple[tuple[str, int, str], Found, str]
"""File, line and spelled function of a rewritten call; what was found there; its slot."""
Split = tuple[str, int, Found, str]
"""The name of a shared activation, the number of the call, what the activation was; the slot of that call."""


@dataclass(frozen=True)
class Method:
    """A rewritten method: its code, and that of the functions that it calls."""

    name: str
    how: str
    code: Code
    helpers: Mapping[str, Code] = field(default_factory=dict)
    reads: frozenset[str] = frozenset()
    """Plain attributes whose value the text has baked in."""
    redirected: Mapping[str, str] = field(default_factory=dict)
    """For ``otherwise``: the slot of each function, by its spelling."""
    seen: tuple[Seen, ...] = ()
    """Every rewritten call: what a new trace is matched with."""
    split: tuple[Split, ...] = ()
    """Likewise, the further calls of shared activations."""


@dataclass(frozen=True)
class Recipe:
    """Everything that a generated class adds to its base; it can be pickled."""

    methods: tuple[Method, ...]


def generate(base: type[nn.Module], recipe: Recipe) -> type[nn.Module]:
    """Return a subclass of ``base``, of the same name, with the methods of a recipe."""
    namespace: dict[str, Any] = {
        "__module__": base.__module__,
        "__qualname__": base.__qualname__,
        "__doc__": base.__doc__,
        "__copy__": _copy,
        "__deepcopy__": _deepcopy,
        "__reduce_ex__": _reduce,
        "__init__": _original(base),  # what ``type(model)(config)`` makes has not been converted
        RECIPE: recipe,
        "_smoothify_base": base,
    }
    if any(method.how == "graph" for method in recipe.methods):
        baked = frozenset(name for method in recipe.methods for name in method.reads)
        namespace.update(_noticing(base, baked))
    cls = subclass(base, namespace)
    for method in recipe.methods:
        original, built = getattr_static(base, method.name), _built(cls, base, method)
        for name in dir(base):
            if name == method.name or getattr_static(base, name) is original:  # ``forward = run``, say
                setattr(cls, name, _as_the(original, built, name, cls))
    return cls


def _as_the(original: Any, built: Callable[..., Any], name: str, cls: type[nn.Module]) -> Any:
    """Let a rewritten function be what the original was: a method, a property, or one that is computed once."""
    if isinstance(original, property):
        return property(built, original.fset, original.fdel, original.__doc__)
    if isinstance(original, cached_property):
        once = cached_property(built)
        once.__set_name__(cls, name)
        return once
    return built


def _function_of(base: type[nn.Module], name: str) -> Callable[..., Any]:
    held: Any = getattr_static(base, name)
    if isinstance(held, cached_property):
        return held.func
    function: Callable[..., Any] = held.fget if isinstance(held, property) and held.fget else getattr(base, name)
    return function


def _original(base: type[nn.Module]) -> Callable[..., None]:
    @wraps(base.__init__)
    def construct(self: nn.Module, *args: Any, **kwargs: Any) -> None:
        object.__setattr__(self, "__class__", original_class(type(self)))
        type(self).__init__(self, *args, **kwargs)

    return construct


def _built(cls: type[nn.Module], base: type[nn.Module], method: Method) -> Callable[..., Any]:
    otherwise = redirected(_function_of(base, method.name), method.redirected)
    helpers: dict[str, Callable[..., Any]] = {}

    title = f"{base.__qualname__}.{method.name}"
    for name, code in method.helpers.items():
        helpers[name] = code.function(title, cls, otherwise, helpers)
    return method.code.function(title, cls, otherwise, helpers)


def adopt(module: nn.Module, recipe: Recipe) -> None:
    """Give an instance the class that a recipe generates, beneath a parametrization if it has one."""
    cls = type(module)
    if not parametrize.is_parametrized(module):
        module.__class__ = generate(cls, recipe)
        _rebind(module, recipe)
        return
    own = {key: value for key, value in vars(cls).items() if key not in ("__dict__", "__weakref__")}
    beneath = generate(cls.__mro__[1], recipe)
    module.__class__ = type(cls.__name__, (beneath,), own)


def _rebind(module: nn.Module, recipe: Recipe) -> None:
    """Let the module's own methods that it holds in attributes be the rewritten ones."""
    rewritten = {method.name for method in recipe.methods}
    for name, value in module.__dict__.items():
        if isinstance(value, MethodType) and value.__self__ is module and value.__name__ in rewritten:
            module.__dict__[name] = getattr(module, value.__name__)


def original_class(cls: type[nn.Module]) -> type[nn.Module]:
    """Return the class that a generated one was made from, in the end; any other class itself."""
    while RECIPE in vars(cls):
        cls = vars(cls)["_smoothify_base"]
    return cls


def recipes(cls: type[nn.Module]) -> tuple[Recipe, ...]:
    """Return the recipes that a class was generated from, the first one first."""
    found: list[Recipe] = []
    while RECIPE in vars(cls):
        found.insert(0, vars(cls)[RECIPE])
        cls = vars(cls)["_smoothify_base"]
    return tuple(found)


def _reduce(self: nn.Module, protocol: Any) -> Any:
    return _new, (original_class(type(self)), recipes(type(self))), self.__getstate__(), None, None, _restore  # type: ignore[no-untyped-call]  # torch leaves it untyped


def _new(base: type[nn.Module], chain: tuple[Recipe, ...]) -> nn.Module:
    cls = base
    for recipe in chain:
        cls = generate(cls, recipe)
    made: nn.Module = object.__new__(cls)
    return made


def _copy(self: Any) -> Any:
    copied = object.__new__(type(self))
    _restore(copied, _state(self))
    return copied


def _deepcopy(self: Any, memo: dict[int, Any]) -> Any:
    copied = object.__new__(type(self))
    memo[id(self)] = copied
    _restore(copied, deepcopy(_state(self), memo))
    return copied


def _state(module: Any) -> Any:
    """Return what a copy is made of; a parametrized module may be copied, and only refuses to be pickled."""
    return dict(vars(module)) if parametrize.is_parametrized(module) else module.__getstate__()


def _restore(made: Any, state: Any) -> None:
    """Set the state of a copy, which is complete whatever ``__deepcopy__`` or ``__reduce__`` the class has.

    These often construct the module anew, and would lose what was rewritten. A ``__setstate__`` is left out
    where it belongs to a ``__reduce__`` of the class.
    """
    base = original_class(type(made))
    reduces = base.__reduce__ is not object.__reduce__ or base.__reduce_ex__ is not object.__reduce_ex__
    if reduces and base.__getstate__ is nn.Module.__getstate__:
        nn.Module.__setstate__(made, state)  # type: ignore[no-untyped-call]  # as above
    else:
        made.__setstate__(state)


def _noticing(base: type[nn.Module], baked: frozenset[str]) -> dict[str, Callable[..., None]]:
    """Return what notices that an attribute which a graph has baked in is set anew or deleted."""

    def set_attribute(self: nn.Module, name: str, value: Any) -> None:
        before, known = is_empty(self.__dict__, name), self.__dict__.get(name, _NOTHING)
        base.__setattr__(self, name, value)
        same = name in baked and type(known) is type(value) and isinstance(value, _PLAIN) and known == value
        of_the_class = hasattr(base, name) and name not in ("training", "__class__")
        if (name in baked and not same) or of_the_class or is_empty(self.__dict__, name) != before:
            _retrace(self)

    def delete_attribute(self: nn.Module, name: str) -> None:
        registered = is_registered(self.__dict__, name)
        base.__delattr__(self, name)
        if name in baked or registered:
            _retrace(self)

    return {"__setattr__": set_attribute, "__delattr__": delete_attribute}


def _retrace(module: nn.Module) -> None:
    from smoothify.surgery.rewriting.retrace import retrace

    retrace(module)
