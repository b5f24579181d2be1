"""What is rewritten in a method, and the activations that the rewritten calls run."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import chain

from torch import nn

from smoothify.surgery.recognition.modules import described
from smoothify.surgery.rules.base import spelled
from smoothify.surgery.sites import Found

SLOT = "smoothify_"
"""What the names of the attributes begin with that hold the activations of rewritten calls."""

Build = Callable[[Found], "nn.Module | None"]


Place = tuple[str, int, str]
"""File, line and spelled function of a call."""


@dataclass(frozen=True, slots=True)
class Target:
    """The calls to rewrite in one method, and what was found at each place."""

    method: str
    calls: Mapping[Place, Found]
    shared: Mapping[int, tuple[Found, bool]] = field(default_factory=dict)
    """Activation modules by id whose calls get one activation each; whether the first keeps its own."""

    again: bool = False
    """Whether a call stands in what ``checkpoint`` runs again in the backward pass."""

    @property
    def places(self) -> frozenset[Place]:
        """Where the calls stand."""
        return frozenset(self.calls)


def has_tensors(new: nn.Module) -> bool:
    """Whether an activation has parameters or buffers, which its owner must know of."""
    return next(chain(new.parameters(), new.buffers()), None) is not None


@dataclass
class Slots:
    """The activations that rewritten calls run, as attributes of the module that holds the calls.

    Those with parameters or buffers are registered, each call its own, and so are those of which nobody knows
    whether they depend on the mode. The others stay out of the module tree, so that neither keys nor children
    change. Calls of the same function share one.
    """

    module: nn.Module
    build: Build
    made: dict[str, nn.Module] = field(default_factory=dict)
    _by_call: dict[tuple[str, ...], str] = field(default_factory=dict)

    def name(self, found: Found, *call: object) -> str | None:
        """Return the slot of one call, built if need be; None where nothing replaces the function."""
        plain = (spelled(found), "in place") if found.inplace else (spelled(found),)
        own = (*plain, *map(str, call))
        if plain in self._by_call:
            return self._by_call[plain]
        if own in self._by_call:
            return self._by_call[own]
        new = self.build(found)
        if new is None:
            return None
        free = (f"{SLOT}{number}" for number in range(10_000))
        name = next(word for word in free if word not in self.made and not hasattr(self.module, word))
        self.made[name] = new
        self._by_call[own if has_tensors(new) else plain] = name
        return name

    def shared(self, found: Found) -> str | None:
        """Return a slot of this function, whichever call it was made for."""
        made = (name for (word, *_), name in self._by_call.items() if word == spelled(found))
        return next(made, None) or self.name(replace(found, inplace=False), "shared")

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Forget the slots made inside where the attempt fails."""
        before = dict(self.made), dict(self._by_call)
        try:
            yield
        except Exception:
            self.made, self._by_call = before
            raise

    def tells_calls_apart(self, names: Collection[str]) -> bool:
        """Whether some of these activations learn, and so are one for each call."""
        held = (self.made.get(name) or getattr(self.module, name, None) for name in names)
        return len(names) > 1 and any(isinstance(one, nn.Module) and has_tensors(one) for one in held)

    def install(self) -> None:
        """Put the activations on the module."""
        for name, new in self.made.items():
            if has_tensors(new) or described(new)[1] is None:
                self.module._modules[name] = new
            else:
                self.module.__dict__[name] = new
