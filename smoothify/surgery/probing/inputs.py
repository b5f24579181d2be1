"""The inputs of what was in place: whether anybody reads one after the call, who would have read the result."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from smoothify.surgery.probing.contents import contents, home
from smoothify.surgery.probing.shell import Shell


class Inputs:
    """Watches the inputs of modules, by id, that leave them as they were where the original wrote over them.

    ``read_after`` gets the modules whose input was read after their call.
    """

    def __init__(self, shell: Shell, watched: frozenset[int]) -> None:
        self.shell, self.watched = shell, watched
        self.read_after: set[int] = set()
        self._stale: dict[int, int] = {}
        self._alive: list[Any] = []

    def returned(self, module: nn.Module, args: Any, result: Any) -> None:
        """A module of the shell has returned: of a watched one, nobody may read the input any more."""
        key = id(self.shell.original[id(module)])
        if key in self.watched and args:
            memory, alive = home(args[0])
            if all(home(tensor)[0] != memory for tensor in tensors(result)):
                self._alive.append(alive)
                self._stale[memory] = key

    def read(self, value: Any) -> None:
        """Something reads tensors."""
        for tensor in tensors(value) if self._stale else ():
            key = self._stale.get(home(tensor)[0])
            if key is not None:
                self.read_after.add(key)

    def ended(self, result: Any) -> None:
        """The forward has ended: what it returns, or keeps in attributes, may be read."""
        held = [result, *(list(vars(module).values()) for module in self.shell.modules)]
        self.read([item for item in contents(held) if isinstance(item, Tensor)] if self._stale else [])


def tensors(value: Any) -> list[Tensor]:
    """Return the tensors in a value, inside lists, tuples and dicts too."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, (list, tuple)):
        return [tensor for item in value for tensor in tensors(item)]
    if isinstance(value, dict):
        return [tensor for item in value.values() for tensor in tensors(item)]
    return []


def form(value: Any) -> Any:
    """Return what a value is built of: types, the keys of dicts and the shapes of tensors."""
    if isinstance(value, (list, tuple)):
        return type(value).__name__, [form(item) for item in value]
    if isinstance(value, dict):
        return type(value).__name__, {key: form(item) for key, item in value.items()}
    sized = isinstance(value, Tensor) and not value.is_nested
    return (type(value).__name__, *map(str, value.shape)) if sized else type(value).__name__
