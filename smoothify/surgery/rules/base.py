"""How one function becomes smooth: the rule, the registry of rules, and what the caller asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from smoothify import activations
from smoothify.errors import UnknownNameError
from smoothify.surgery.sites import Found

To = str | Callable[[], nn.Module] | Mapping[str, "str | Callable[[], nn.Module]"]


class Target:
    """The activation that a caller wants, for every function or per function: the T of the rules.

    >>> Target("celu(alpha=2)").make(Found("relu"))
    CELU(alpha=2.0)
    >>> Target({"elu": "celu"}).make(Found("relu")) is None
    True
    """

    def __init__(self, to: To) -> None:
        self.to = to
        if isinstance(to, Mapping):
            for function, wanted in to.items():
                known_function(function)
                _checked(wanted, same=function)
        else:
            _checked(to)

    def names(self, function: str) -> bool:
        """Whether the caller named this very function in a mapping."""
        return isinstance(self.to, Mapping) and function in self.to

    def wanted(self, function: str) -> str | Callable[[], nn.Module] | None:
        """Return the spec or factory for a function; a rectifier that is not named follows ``relu``."""
        if not isinstance(self.to, Mapping):
            return self.to
        if function in self.to:
            return self.to[function]
        return self.to.get("relu") if function in _RULES and _RULES[function].rectifier else None

    def keeps(self, function: str) -> bool:
        """Whether the caller maps the function to itself, arguments included."""
        return self.names(function) and self.wanted(function) == function

    def is_celu(self, function: str) -> bool:
        """Whether CELU is wanted with no α given, so that it takes the one it replaces (paper §4.3)."""
        return self.wanted(function) == "celu"

    def make(self, found: Found, *, inplace: bool = False) -> nn.Module | None:
        """Build a new T for what was found; None where the caller asked for nothing."""
        wanted = self.wanted(found.function)
        if wanted is None:
            return None
        if isinstance(wanted, str):
            return activations.create(wanted, inplace=inplace)
        try:
            made = wanted()
        except TypeError as error:
            raise TypeError(
                f"to={wanted!r} cannot be called without arguments ({error}); give a factory such as nn.SiLU, not a "
                f"function of tensors, or a spec such as 'silu'"
            ) from error
        if not isinstance(made, nn.Module):
            raise TypeError(f"to= must build an nn.Module; {wanted!r} returned {type(made).__name__}")
        return made

    def recorded(self) -> str | dict[str, str] | None:
        """Return ``to`` as JSON-able values, or None where a factory is part of it."""
        if isinstance(self.to, str):
            return self.to
        if isinstance(self.to, Mapping) and all(isinstance(value, str) for value in self.to.values()):
            return {key: str(value) for key, value in self.to.items()}
        return None


Becomes = Callable[[Found, Target], "nn.Module | None"]
ModuleKey = type[nn.Module] | str
CallKey = Callable[..., Any] | str


@dataclass(frozen=True, slots=True)
class Rule:
    """How one function is recognised and what it becomes.

    ``order`` is how often the function itself is continuously differentiable: 0 marks it non-smooth, and a
    callable decides by the arguments. ``modules`` are the classes whose forward is this function (a string
    is a qualified name, so that nothing need be imported), ``functions`` the plain functions. ``arguments``
    names the function's arguments after the input, in order, with their defaults; a module is expected to
    hold them as attributes. ``original`` rebuilds the function as a module.

    >>> rule = Rule("ramp", becomes=lambda found, to: to.make(found), arguments=(("slope", 1.0),))
    >>> rule.smoothness(Found("ramp")), rule.becomes(Found("ramp"), Target("silu"))
    (0, SiLU())
    """

    function: str
    becomes: Becomes
    order: float | Callable[[Found], float] = 0
    modules: tuple[ModuleKey, ...] = ()
    functions: tuple[CallKey, ...] = ()
    arguments: tuple[tuple[str, Any], ...] = ()
    rectifier: bool = False
    original: Callable[[Found], nn.Module] | None = None
    gate: bool = False
    """Whether the function usually scales another tensor: ``replace="all"`` then leaves it alone."""

    def smoothness(self, found: Found) -> float:
        """Return how often what was found is continuously differentiable."""
        return self.order(found) if callable(self.order) else self.order


_RULES: dict[str, Rule] = {}
_MODULES: dict[ModuleKey, Rule] = {}
_FUNCTIONS: dict[CallKey, Rule] = {}


def register_rule(rule: Rule) -> Rule:
    """Add a rule, so that conversion recognises its classes and functions; returns it.

    Raises:
        ValueError: a rule names the function, a class or a callable already.

    >>> class Ramp(nn.Module):
    ...     def forward(self, x):
    ...         return x * (x > 0)
    >>> rule = Rule("ramp", becomes=lambda found, to: to.make(found), modules=(Ramp,))
    >>> _ = register_rule(rule)
    >>> known_function("ramp").modules == (Ramp,)
    True
    >>> unregister_rule("ramp")
    """
    if rule.function in _RULES:
        raise ValueError(f"a rule for {rule.function!r} exists already; choose another function name")
    _claim(rule, rule.modules, rule.functions)
    _RULES[rule.function] = rule
    return rule


def recognise(function: str, *, modules: Iterable[ModuleKey] = (), functions: Iterable[CallKey] = ()) -> None:
    """Let further classes and plain functions be recognised as a function that has a rule already."""
    _claim(known_function(function), tuple(modules), tuple(functions))


def _claim(rule: Rule, modules: tuple[ModuleKey, ...], functions: tuple[CallKey, ...]) -> None:
    taken = [f"{key!r} already belongs to {_MODULES[key].function!r}" for key in modules if key in _MODULES]
    taken += [f"{key!r} already belongs to {_FUNCTIONS[key].function!r}" for key in functions if key in _FUNCTIONS]
    if taken:
        raise ValueError("; ".join(taken))
    _MODULES.update(dict.fromkeys(modules, rule))
    _FUNCTIONS.update(dict.fromkeys(functions, rule))


def unregister_rule(function: str) -> None:
    """Remove a rule that `register_rule` added, by the name of its function.

    Raises:
        UnknownNameError: no rule has that name.

    >>> _ = register_rule(Rule("ramp", becomes=lambda found, to: to.make(found)))
    >>> unregister_rule("ramp")
    """
    if function not in _RULES:
        raise UnknownNameError("rule", function, _RULES)
    rule = _RULES.pop(function)
    for key in [key for key, owner in _MODULES.items() if owner is rule]:
        del _MODULES[key]
    for call in [call for call, owner in _FUNCTIONS.items() if owner is rule]:
        del _FUNCTIONS[call]


def known_function(function: str) -> Rule:
    """Return the rule of a function; raises UnknownNameError with the nearest names."""
    if function in _RULES:
        return _RULES[function]
    if function not in activations.names():
        known = (*_RULES, *activations.names())
        raise UnknownNameError("function", function, known, listing="smoothify.activations.names()")
    entry = activations.get(function)
    return Rule(
        function,
        lambda found, to: to.make(found, inplace=found.inplace),
        lambda found: entry.order(**found.arguments),
        arguments=tuple(entry.defaults.items()),
    )


def spelled(found: Found) -> str:
    """Return what was found as a spec, arguments that have their default value left out.

    >>> spelled(Found("leaky_relu", {"negative_slope": 0.2})), spelled(Found("elu", {"alpha": 1.0}))
    ('leaky_relu(negative_slope=0.2)', 'elu')
    """
    defaults = dict(known_function(found.function).arguments)
    given = {key: value for key, value in found.arguments.items() if value != defaults.get(key)}
    inside = ", ".join(f"{key}={_number(value)}" for key, value in given.items())
    return f"{found.function}({inside})" if inside else found.function


def _number(value: Any) -> str:
    return f"{value:.12g}" if isinstance(value, (int, float)) else str(value)


def rules() -> Iterator[Rule]:
    """Iterate over all rules."""
    return iter(_RULES.values())


def rule_for_class(cls: type[nn.Module]) -> tuple[Rule, type[nn.Module]] | None:
    """Return the rule of the nearest class in the method resolution order, and that class."""
    for base in cls.__mro__:
        rule = _MODULES.get(base) or _MODULES.get(qualified_name(base))
        if rule is not None:
            return rule, base
    return None


def rule_for_callable(function: Callable[..., Any]) -> Rule | None:
    """Return the rule of a plain function, a builtin or a method descriptor."""
    try:
        found = _FUNCTIONS.get(function)
    except TypeError:  # an unhashable callable object
        return None
    return found or _FUNCTIONS.get(qualified_name(function))


def qualified_name(thing: Any) -> str:
    """Return ``module.Class`` (``module.function``), as the host tables spell it."""
    module, name = getattr(thing, "__module__", None), getattr(thing, "__qualname__", None)
    return f"{module}.{name}" if module and name else ""


def _checked(wanted: Any, same: str | None = None) -> None:
    if isinstance(wanted, str):
        if wanted != same:
            activations.parse(wanted)
    elif not callable(wanted) or isinstance(wanted, nn.Module):
        raise TypeError(
            f"to= takes a spec such as 'silu', a factory such as nn.SiLU, or a mapping of these per "
            f"function; got {wanted!r}"
        )
