"""The catalogue: every activation by name, with its formula, smoothness order, source and constructors."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

import torch
from torch import Tensor, nn

from smoothify.activations.spec import is_name, join_spec, split_spec
from smoothify.errors import SmoothifyError, SpecError, UnknownNameError, nearest, suggestion

Reader = Callable[[Any], Mapping[str, float] | None]


@dataclass(frozen=True)
class Activation:
    """One entry of the catalogue.

    ``smoothness`` is the number of continuous derivatives: 0 for a kink, ``math.inf`` for all of them. It is
    a number, or, where it depends on the parameters, a function of them. ``module`` and ``functional`` take
    the parameters as keywords. ``keeps`` is the tensor that forward keeps for backward. ``readers`` say, per
    exact module type, how to read the parameters back (None from a reader: this module computes something
    else); without any, a class given as ``module`` is read by its attributes. ``sharpness`` names the
    parameter whose growth turns the function into ReLU.

    >>> entry = get("celu")
    >>> entry.source, dict(entry.defaults), entry.order()
    ('Barron 2017 (ref. 3); paper eq. 8', {'alpha': 1.0}, 1)
    """

    name: str
    formula: str
    source: str
    module: Callable[..., nn.Module]
    functional: Callable[..., Tensor]
    smoothness: float | Callable[..., float]
    defaults: Mapping[str, float] = field(default_factory=dict)
    learnable: bool = False
    inplace: bool = False
    keeps: Literal["input", "output"] = "input"
    readers: Mapping[type[nn.Module], Reader] = field(default_factory=dict)
    sharpness: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "defaults", MappingProxyType(dict(self.defaults)))
        object.__setattr__(self, "readers", MappingProxyType(dict(self.readers) or self._own_reader()))

    def order(self, **parameters: float) -> float:
        """The number of continuous derivatives for these parameters (the defaults for those not given).

        >>> get("elu").order(), get("elu").order(alpha=1.4), get("silu").order()
        (1, 0, inf)
        """
        if callable(self.smoothness):
            return self.smoothness(**{**self.defaults, **parameters})
        return self.smoothness

    def _own_reader(self) -> dict[type[nn.Module], Reader]:
        if not isinstance(self.module, type):
            return {}
        names = tuple(self.defaults)
        return {self.module: lambda module: {name: float(getattr(module, name)) for name in names}}


_ENTRIES: dict[str, Activation] = {}
_READERS: dict[type[nn.Module], list[tuple[str, Reader]]] = {}


def register_activation(entry: Activation) -> Activation:
    """Add an entry of your own, which every function of this package then knows by its name.

    A process knows it that has run this call: put it into a module, and import that (``--imports`` of the commands).

    Raises:
        SmoothifyError: where the name is taken, names are never overwritten; where no spec can name it so; where the
            defaults do not build its module, or the module does not keep them as attributes.

    >>> register_activation(get("silu"))
    Traceback (most recent call last):
    smoothify.errors.SmoothifyError: activation 'silu' is registered already; choose another name
    """
    if entry.name in _ENTRIES:
        raise SmoothifyError(f"activation {entry.name!r} is registered already; choose another name")
    _check(entry)
    _ENTRIES[entry.name] = entry
    for kind, reader in entry.readers.items():
        _READERS.setdefault(kind, []).append((entry.name, reader))
    return entry


def _check(entry: Activation) -> None:
    """Build the module once as ``create`` will, and read it as ``describe`` will."""
    where = f"activation {entry.name!r}"
    if not is_name(entry.name):
        raise SmoothifyError(f"{where} cannot be named in a spec; choose letters, digits and '_', no digit first")
    given = f"defaults={dict(entry.defaults)}"
    try:
        with torch.random.fork_rng(devices=[]):  # a module may draw its initial values
            made = entry.module(**entry.defaults)
    except TypeError as error:
        raise SmoothifyError(
            f"{where}: its module cannot be built with {given} ({error}); name there what it takes, with values"
        ) from error
    if not isinstance(made, nn.Module):
        raise SmoothifyError(f"{where}: module= built {type(made).__name__}; give what builds a torch.nn.Module")
    try:
        entry.readers.get(type(made), lambda _: None)(made)
    except (AttributeError, TypeError, ValueError) as error:
        raise SmoothifyError(
            f"{where}: its parameters cannot be read back ({error}); let the module keep {given} as numbers in "
            "attributes of the same names, or pass readers="
        ) from error


def names() -> tuple[str, ...]:
    """All names, in the order of registration.

    >>> names()[:3]
    ('relu', 'softplus', 'parametric_softplus')
    """
    return tuple(_ENTRIES)


def get(name: str) -> Activation:
    """The entry called ``name``.

    Raises:
        UnknownNameError: where there is none; the message lists the nearest names.

    >>> get("celu").defaults["alpha"]
    1.0
    """
    if name not in _ENTRIES:
        raise UnknownNameError("activation", name, _ENTRIES, listing="smoothify.activations.names()")
    return _ENTRIES[name]


def parse(spec: str) -> tuple[Activation, dict[str, float]]:
    """Read a spec such as ``"silu"`` or ``"celu(alpha=1.4)"`` into its entry and the parameters it gives.

    Raises:
        SpecError: where the text cannot be read or names a parameter that the entry lacks.
        UnknownNameError: where no entry has the name.

    >>> entry, parameters = parse("celu(alpha=1.4)")
    >>> entry.name, parameters
    ('celu', {'alpha': 1.4})
    """
    name, parameters = split_spec(spec)
    entry = get(name)
    for key in parameters:
        if key not in entry.defaults:
            takes = ", ".join(entry.defaults) or "no parameters"
            hint = suggestion(nearest(key, entry.defaults))
            raise SpecError(f"activation spec {spec!r}: {name} has no {key!r}, it takes {takes}{hint}")
    return entry, parameters


def create(spec: str, *, inplace: bool = False) -> nn.Module:
    """Build the module that a spec describes.

    Args:
        spec: a name of the catalogue, with or without parameters: "silu", "celu(alpha=1.4)".
        inplace: honoured where the entry supports it.

    Raises:
        SpecError: where the spec cannot be read or its parameters are refused by the module.
        UnknownNameError: where no entry has the name.

    >>> create("celu(alpha=1.4)", inplace=True)
    CELU(alpha=1.4, inplace=True)
    """
    entry, parameters = parse(spec)
    options = {"inplace": True} if inplace and entry.inplace else {}
    try:
        return entry.module(**{**entry.defaults, **parameters}, **options)
    except ValueError as error:
        raise SpecError(f"activation spec {spec!r}: {error}") from error


def smoothness(spec: str) -> float:
    """The number of continuous derivatives of the activation that a spec describes.

    >>> smoothness("elu"), smoothness("elu(alpha=1.4)"), smoothness("celu(alpha=1.4)")
    (1, 0, 1)
    """
    entry, parameters = parse(spec)
    return entry.order(**parameters)


def is_smooth(spec: str) -> bool:
    """Whether the activation is C1: its first derivative is continuous everywhere (the paper's footnote 1).

    >>> is_smooth("silu"), is_smooth("relu")
    (True, False)
    """
    return smoothness(spec) >= 1


def describe(module: nn.Module) -> str | None:
    """The spec of a module, or None where it is no activation of the catalogue: the inverse of ``create``.

    Types are compared exactly: a subclass may compute anything, and so may a ``forward`` that somebody put on the
    instance. For a learned parameter the value it started from is given; the value it has now is in the state dict.

    >>> describe(nn.CELU(1.4)), describe(nn.Softplus(beta=5)), describe(nn.Linear(1, 1))
    ('celu(alpha=1.4)', 'parametric_softplus(alpha=5)', None)
    """
    for name, reader in _READERS.get(type(module), ()) if "forward" not in module.__dict__ else ():
        parameters = reader(module)
        if parameters is not None and all(map(math.isfinite, parameters.values())):
            return join_spec(name, parameters, get(name).defaults)
    return None


def learned_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that the activations of a model learn, by name: those to keep out of weight decay.

    >>> model = nn.Sequential(nn.Linear(2, 2), create("smoothrelu"), create("silu"))
    >>> list(learned_parameters(model))
    ['1.root']
    """
    return {
        f"{path}.{name}" if path else name: parameter
        for path, module in model.named_modules()
        if describe(module) is not None
        for name, parameter in module.named_parameters(recurse=False)
    }
