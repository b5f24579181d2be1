"""A structural shell of a model: the same tree of modules over fake tensors, to be run and thrown away."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn

from smoothify.errors import UnsupportedModelError
from smoothify.surgery.probing.copies import Copies, slots_of
from smoothify.surgery.recognition.edges import COMPILED
from smoothify.surgery.recognition.graphs import class_apart
from smoothify.surgery.rules.base import qualified_name

_HOOKS = frozenset(name for name in nn.Module().__dict__ if name.endswith(("_hooks", "_with_kwargs"))) | {
    "_forward_hooks_always_called"
}


HOOKS_OF_HOSTS = ("transformers.utils.output_capturing",)


class Shell:
    """Copies the structure of a model: containers copied, tensors passed through ``tensor``, no hooks.

    Some hosts cache tensors on themselves while they run; on a shell that harms nobody.
    """

    def __init__(self, model: nn.Module, tensor: Callable[[Tensor], Tensor]) -> None:
        self._copies = Copies(tensor, self._module)
        self.original: dict[int, nn.Module] = {}
        """The original of each module in the shell, by the id of the shell's."""
        self.modules: list[nn.Module] = []
        self.root: nn.Module = self._module(model)

    def copy_of(self, module: nn.Module) -> nn.Module | None:
        """Return the shell's copy of a module of the model; None for another."""
        copied: nn.Module | None = self._copies.memo.get(id(module))
        return copied

    def original_of(self, module: nn.Module, path: str) -> nn.Module:
        """Return the original of a module in the shell.

        Raises:
            UnsupportedModelError: it has none, since a run has put it there.
        """
        if id(module) not in self.original:
            raise UnsupportedModelError(
                f"{path} ({type(module).__name__}): the forward of the model builds it when it first runs; build it in "
                "__init__, or run the model once, and then convert it"
            )
        return self.original[id(module)]

    def has_copy_of(self, tensor: Tensor) -> bool:
        """Whether a tensor is one of the model's, of which the shell has a copy."""
        return id(tensor) in self._copies.memo

    def holds(self, tensor: Tensor) -> bool:
        """Whether a tensor is the shell's copy of one of the model's."""
        return any(tensor is copied for copied in self._copies.memo.values())

    def forget(self) -> None:
        """Let go of everything, so that what is still there afterwards is held by somebody else."""
        for module in self.modules:
            module.__dict__.clear()
        self._copies.memo.clear()
        self.modules.clear()
        self.original.clear()

    @staticmethod
    def shallow(module: nn.Module) -> nn.Module:
        """Return a copy of one module over the same children and tensors."""
        copied: nn.Module = object.__new__(type(module))
        copied.__dict__.update(
            {name: value.copy() if type(value) in (dict, list) else value for name, value in module.__dict__.items()}
        )
        for name in slots_of(type(module)):
            if hasattr(module, name):
                object.__setattr__(copied, name, getattr(module, name))
        return copied

    def _module(self, module: nn.Module) -> nn.Module:
        if id(module) in self._copies.memo:
            known: nn.Module = self._copies.memo[id(module)]
            return known
        if qualified_name(type(module)) == COMPILED:  # its forward is bound to the original
            self._copies.memo[id(module)] = self._module(module.get_submodule("_orig_mod"))
            return self._module(module)
        copied: nn.Module = object.__new__(class_apart(module))
        self._copies.memo[id(module)] = copied
        self.original[id(copied)] = module
        self.modules.append(copied)
        state = {name: value for name, value in module.__dict__.items() if name not in _HOOKS}
        copied.__dict__.update({name: _own_hooks(module, name) for name in _HOOKS & module.__dict__.keys()})
        for name, value in state.items():
            copied.__dict__[name] = self._copies.of(value)
        if type(copied) is not type(module) and isinstance(copied, fx.GraphModule):
            copied.recompile()
        copied.__dict__.pop("_compiled_call_impl", None)
        for name in slots_of(type(module)):
            if hasattr(module, name):
                object.__setattr__(copied, name, self._copies.of(getattr(module, name)))
        return copied


def _own_hooks(module: nn.Module, table: str) -> Any:
    """Return the entries of a hook table that the host installed itself: its forward may need them."""
    entries = module.__dict__[table]
    kept = type(entries)()
    for key, hook in entries.items():
        if getattr(hook, "__module__", "").startswith(HOOKS_OF_HOSTS):
            kept[key] = hook
    return kept


def has_hooks(module: nn.Module) -> bool:
    """Whether somebody else than the host or torch has put a hook on the forward of a module.

    A shell leaves those out. torch's own compute a weight before the forward (weight and spectral norm).
    """
    hooks = (
        hook
        for table in ("_forward_hooks", "_forward_pre_hooks")
        for key, hook in module.__dict__[table].items()
        if key not in _own_hooks(module, table)
    )
    return any(not getattr(hook, "__module__", "").startswith("torch.nn.utils.") for hook in hooks)


def fake_tensor(mode: Any) -> Callable[[Tensor], Tensor]:
    """Return what makes a fake tensor of a real one, inside a ``FakeTensorMode``."""

    def faked(tensor: Tensor) -> Tensor:
        if type(tensor) not in (Tensor, nn.Parameter, nn.Buffer) or tensor.layout is not torch.strided:
            converted: Tensor = mode.from_tensor(tensor, static_shapes=True)
            return converted
        # The mode's own conversion keeps view relations, which a run does not need, at ten times the cost.
        made = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=tensor.device)
        return made.requires_grad_(tensor.requires_grad)

    return faked


def real_tensor(tensor: Tensor) -> Tensor:
    """Return a copy of a tensor, for the models that do not run on fake ones: they may write into their weights."""
    copied = tensor.detach().clone()
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(copied, tensor.requires_grad)
    return copied.requires_grad_(tensor.requires_grad and tensor.is_leaf)


def spec_of(value: Any, device: torch.device, tensor: Callable[[Tensor], Tensor], attacked: bool = False) -> Any:
    """Copy an example input, every tensor of it through ``tensor``; one on meta stands for any of its shape.

    ``attacked`` asks for its gradients, as an attack does.
    """

    @torch.enable_grad()
    def prepared(example: Tensor) -> Tensor:
        if example.is_meta and device.type != "meta":
            made = torch.rand(example.shape, device=device).to(example.dtype)
        else:
            made = tensor(example).to(device)
        asked = attacked and made.is_floating_point()
        return made.requires_grad_().clone() if asked else made  # a leaf could not be written into

    copies = Copies(prepared)

    def part(value: Any) -> Any:  # a tensor that is given twice may be two in the next call
        return prepared(value) if isinstance(value, Tensor) else copies.of(value)

    return torch.utils._pytree.tree_map(part, value)
