"""Activation modules: recognising them, building what replaces them, and becoming it in place."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize

from smoothify import activations
from smoothify.errors import SmoothifyError
from smoothify.surgery.rules.base import Target, known_function, rule_for_class, spelled
from smoothify.surgery.rules.composites import Composite, RandomLeaky
from smoothify.surgery.sites import Found

_MODULE_STATE = frozenset(nn.Module().__dict__)
_TENSOR_TABLES = ("_parameters", "_buffers", "_modules")


def recognised(module: nn.Module) -> Found | None:
    """Return the activation function that a module is, or None; own forwards are not guessed at.

    >>> recognised(nn.LeakyReLU(0.2)).arguments
    {'negative_slope': 0.2}
    """
    match = rule_for_class(type(module))
    if match is None:
        return _in_catalogue(module)
    if has_own_forward(module):
        return None
    rule, _ = match
    arguments = {name: getattr(module, name, default) for name, default in rule.arguments}
    learned = {name: value for name, value in module._parameters.items() if value is not None}
    learned |= {name: getattr(module, name) for name in parametrized_names(module)}
    return Found(rule.function, arguments, bool(getattr(module, "inplace", False)), learned)


def _in_catalogue(module: nn.Module) -> Found | None:
    spec = activations.describe(module)
    if spec is None:
        return None
    entry, parameters = activations.parse(spec)
    return Found(entry.name, {**entry.defaults, **parameters}, bool(getattr(module, "inplace", False)))


def has_own_forward(module: nn.Module) -> bool:
    """Whether a subclass of a known activation brings a forward, or a call around it, that no rule names."""
    match = rule_for_class(type(module))
    if match is None:
        return False
    own, known = type(module).forward, match[1].forward
    return own is not known or "forward" in module.__dict__ or type(module).__call__ is not nn.Module.__call__


def parametrized_names(module: nn.Module) -> tuple[str, ...]:
    """Return the names of a module's parametrized tensors."""
    held = module._modules.get("parametrizations")
    return tuple(held) if isinstance(held, nn.ModuleDict) else ()


def is_smooth(found: Found) -> bool:
    """Whether a recognised function is smooth (C1)."""
    return known_function(found.function).smoothness(found) >= 1


def build(found: Found, to: Target) -> nn.Module | None:
    """Build what a recognised function becomes; None where no rule has anything for it.

    Raises:
        SmoothifyError: the rule builds something else than a module.
    """
    rule = known_function(found.function)
    keep = to.keeps(found.function)
    made = (rule.original(found) if rule.original else None) if keep else rule.becomes(found, to)
    if made is not None and not isinstance(made, nn.Module):
        raise SmoothifyError(
            f"rule {rule.function!r}: {'original' if keep else 'becomes'} returned {type(made).__name__}; let it "
            "return a torch.nn.Module such as to.make(found), or None to leave the function as it is"
        )
    return made


def described(module: nn.Module) -> tuple[str, bool | None]:
    """Return the spec or formula of a replacement, and whether it is smooth (None: nobody knows).

    Of an instance that has a ``forward`` of its own nobody does, whatever its class is.

    >>> described(nn.SiLU())
    ('silu', True)
    """
    if isinstance(module, Composite) and "forward" not in module.__dict__:
        inner, smooth = described(module.activation)
        return module.formula(inner), smooth
    spec = activations.describe(module)
    if spec is not None:
        return spec, activations.is_smooth(spec)
    found = recognised(module)
    return (spelled(found), is_smooth(found)) if found else (type(module).__name__, None)


def settle(new: nn.Module, old: nn.Module | None, parent: nn.Module | None, root: nn.Module) -> nn.Module:
    """Give new parameters the device and dtype of what stands around the site, and the training flag."""
    like = next((t for near in (old, parent, root) if near for t in _floating(near)), None)
    kept = set(map(id, old.parameters())) if old is not None else set()
    if like is not None and any(id(tensor) not in kept for tensor in (*new.parameters(), *new.buffers())):
        keep = dict(new._parameters)
        new.to(device=like.device, dtype=like.dtype)
        new._parameters.update({name: t for name, t in keep.items() if t is not None and id(t) in kept})
    if old is None and isinstance(new, (RandomLeaky, nn.RReLU)):
        return new.train()  # a call that draws slopes was told to, by its argument
    return new.train(old.training if old is not None else (parent or root).training)


def learns(new: nn.Module, found: Found) -> bool:
    """Whether a replacement has parameters that the original did not have."""
    kept = {id(tensor) for tensor in found.parameters.values()}
    return any(id(parameter) not in kept for parameter in new.parameters())


def leaves_its_input(new: nn.Module, found: Found) -> bool:
    """Whether an in-place function is replaced by one that writes its result elsewhere."""
    return found.inplace and not getattr(new, "inplace", False)


def _floating(module: nn.Module) -> list[torch.Tensor]:
    tensors = (*module.parameters(), *module.buffers())
    return [tensor for tensor in tensors if tensor.is_floating_point()]


class Snapshot:
    """Remembers module instances, so that everything done to them can be undone."""

    def __init__(self) -> None:
        self._states: dict[int, tuple[nn.Module, type[nn.Module], dict[str, Any]]] = {}

    def take(self, module: nn.Module) -> None:
        """Remember a module as it is now; later calls for the same instance change nothing."""
        if id(module) not in self._states:
            self._states[id(module)] = module, type(module), _tables_copied(module.__dict__)

    def restore(self) -> None:
        """Put every remembered module back."""
        for module, cls, state in self._states.values():
            module.__class__ = cls
            module.__dict__.clear()
            module.__dict__.update(_tables_copied(state))


def _tables_copied(state: dict[str, Any]) -> dict[str, Any]:
    return {
        key: value.copy() if key in _MODULE_STATE and type(value) in (dict, list, set) else value
        for key, value in state.items()
    }


def become(module: nn.Module, new: nn.Module) -> None:
    """Turn an activation instance into another one, in place.

    The instance stays the same object, so every alias, list, closure and registered hook follows it, a root
    too. It takes the class, construction attributes, parameters and children of ``new`` and keeps its hooks,
    training flag and every attribute that its old class did not construct.

    >>> relu = nn.ReLU()
    >>> become(relu, nn.SiLU())
    >>> relu
    SiLU()
    """
    match = rule_for_class(type(module))
    known = match[1] if match else type(module)
    state = {key: value for key, value in module.__dict__.items() if key not in _constructed(known)}
    state.update({key: value for key, value in new.__dict__.items() if key not in _MODULE_STATE})
    kept = new.kept if isinstance(new, Composite) else frozenset()
    owned = _own_tensors(known)
    for table in _TENSOR_TABLES:
        old_entries = {name: value for name, value in state[table].items() if name not in owned or name in kept}
        state[table] = {**old_entries, **new.__dict__[table]}
    for name in parametrized_names(module):
        state.pop(name, None)
    state["_non_persistent_buffers_set"] = module._non_persistent_buffers_set | new._non_persistent_buffers_set
    cls = _beneath_parametrization(module, type(new))
    module.__dict__.clear()
    module.__dict__.update(state)
    module.__class__ = cls


def _constructed(known: type[nn.Module]) -> set[str]:
    constants = {name for base in known.__mro__ for name in getattr(base, "__constants__", ())}
    return (constants | set(inspect.signature(known.__init__).parameters)) - _MODULE_STATE


def _own_tensors(known: type[nn.Module]) -> set[str]:
    """Return the names of the parameters and children that a known activation class makes for itself."""
    try:
        fresh = known()
    except TypeError:
        return set()
    return {name for table in _TENSOR_TABLES for name in fresh.__dict__[table]}


def _beneath_parametrization(module: nn.Module, cls: type[nn.Module]) -> type[nn.Module]:
    if not parametrize.is_parametrized(module):
        return cls
    own = {key: value for key, value in vars(type(module)).items() if key not in ("__dict__", "__weakref__")}
    return type(f"Parametrized{cls.__name__}", (cls,), own)
