"""Modules and weights that a forward uses past the shell: a closure or an object that cannot be copied holds them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor

from smoothify.surgery.probing.shell import Shell, real_tensor

_HOLDS = "a closure, an object or a global variable holds it, and in a copy of a model it may still be the original's"


class Strangers:
    """Finds what runs in place of a module that the shell does not have, so that nothing of the real one moves.

    ``doubts`` say why what was seen proves less than it seems to.
    """

    def __init__(self, shell: Shell, tensor: Callable[[Tensor], Tensor]) -> None:
        self.doubts: list[str] = []
        self._shell, self._tensor = shell, tensor
        self._shells: dict[int, Shell] = {}
        self._ours: set[int] = set()

    def instead_of(self, module: nn.Module) -> nn.Module:
        """Return the shell's copy of the model's own module, or a copy of one with weights that the model lacks.

        A module that the forward has made, or that has no weights, is returned as it is.
        """
        copied = self._shell.copy_of(module)
        if copied is not None:
            return copied
        if id(module) in self._ours or not any(map(self._is_real, (*module.parameters(), *module.buffers()))):
            return module
        if id(module) not in self._shells:
            self._shells[id(module)] = Shell(module, self._tensor)
            self._ours |= set(map(id, self._shells[id(module)].modules))
            self.doubts.append(f"the forward calls a {type(module).__name__} that is no module of this model; {_HOLDS}")
        return self._shells[id(module)].root

    def given(self, tensors: Iterable[Tensor]) -> None:
        """Tensors are given to an operation: in a run on fake ones, a real one that learns is no shell's."""
        for tensor in tensors if self._tensor is not real_tensor else ():
            learns = isinstance(tensor, nn.Parameter) or (tensor.requires_grad and tensor.is_floating_point())
            if learns and not isinstance(tensor, FakeTensor) and not self._shell.has_copy_of(tensor):
                self.doubts.append(f"the forward computes with a weight that is none of this model; {_HOLDS}")

    def elsewhere(self, module: nn.Module) -> None:
        """A module is called in another thread."""
        if id(module) in self._shell.original:
            self.doubts.append("modules were called in another thread, where nothing is seen")

    def _is_real(self, tensor: Tensor) -> bool:
        return not isinstance(tensor, FakeTensor) and not self._shell.holds(tensor)
