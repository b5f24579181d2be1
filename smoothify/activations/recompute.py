"""Training in ReLU's memory: an activation's output is recomputed from its input instead of being kept twice.

ReLU keeps its output, which the next layer keeps anyway: one tensor. silu, gelu or SmoothReLU keep their
input, and the next layer keeps their output: two. Here the second is recognised when the next layer saves it,
dropped, and computed again from the first when backward asks for it. Results are the same to the bit.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from smoothify.activations.catalogue import describe, parse
from smoothify.activations.modules import Pointwise
from smoothify.activations.nested import with_slots
from smoothify.activations.paths import kernel_path, preference
from smoothify.errors import UnsupportedModelError

Compute = Callable[[Tensor], Tensor]


@contextmanager
def recompute(model: nn.Module) -> Iterator[None]:
    """Save memory in every forward pass of a model that runs in this block; backward may come later.

    Works on the activations of the catalogue that keep their input; those that keep their output cost nothing to
    begin with. While the block lasts, they run out of place, since in place they would copy their input. Gradients
    are the same, with ``create_graph``, autocast and checkpointing too. A tensor or parameter that is changed in
    place between forward and backward raises RuntimeError, as it does in autograd.

    Raises:
        UnsupportedModelError: a compiled model, which already recomputes what is cheap.

    >>> model = nn.Sequential(nn.Linear(2, 2), nn.SiLU(), nn.Linear(2, 1))
    >>> with recompute(model):
    ...     loss = model(torch.ones(1, 2)).sum()
    >>> loss.backward()
    """
    sites = [module for module in with_slots(model) if _pays(module)]
    for path, module in model.named_modules():
        if "_orig_mod" in module._modules or module._compiled_call_impl is not None:
            raise UnsupportedModelError(
                f"{path or 'the model'} is compiled, and compiled code recomputes cheap operations itself; "
                f"call recompute on the model before torch.compile, or leave it out"
            )
    ledger = _Ledger()
    token = _active.set(ledger)
    with ExitStack() as undo:
        undo.callback(_active.reset, token)
        for module in sites:
            if getattr(module, "inplace", False):
                setattr(module, "inplace", False)  # noqa: B010 (torch types attributes as tensors)
                undo.callback(setattr, module, "inplace", True)
            undo.callback(module.register_forward_hook(_note).remove)
        with saved_tensors_hooks(ledger.pack, _unpack):
            yield


def remember(output: Tensor, source: Tensor, compute: Compute) -> None:
    """Tell the enclosing `recompute` what an output was computed from; without one, do nothing.

    For activations that are called as functions rather than as modules.

    Args:
        output: ``compute(source)``, of the same shape.
        source: what it was computed from.
        compute: elementwise; returns the same values whenever it is called, and does not write into its argument.

    >>> remember(torch.ones(2), torch.zeros(2), torch.exp)
    """
    ledger = _active.get()
    if ledger is not None and torch.is_grad_enabled() and not torch.compiler.is_compiling():
        ledger.remember(output, source, compute)


@dataclass
class _Record:
    """How to make a tensor again, and everything that must not have changed when it is made."""

    output: weakref.ref[Tensor]
    version: int
    size: torch.Size
    stride: tuple[int, ...]
    offset: int
    dtype: torch.dtype
    source: Tensor
    source_version: int
    compute: Compute
    autocast: tuple[bool, torch.dtype]
    path: Any

    def makes(self, tensor: Tensor) -> bool:
        """Whether ``tensor`` is this output or a view of it, and still holds what was computed."""
        return (
            self.output() is not None
            and tensor._version == self.version
            and tensor.dtype == self.dtype
            and self.source._version == self.source_version
        )

    def make(self) -> Tensor:
        _check(self.source, self.source_version)
        enabled, dtype = self.autocast
        device = self.source.device.type
        with torch.no_grad(), kernel_path(self.path), torch.autocast(device, dtype=dtype, enabled=enabled):
            made = self.compute(self.source)
        if made.stride() != self.stride:
            made = torch.empty_strided(self.size, self.stride, dtype=made.dtype, device=made.device).copy_(made)
        return made


@dataclass(frozen=True)
class _Kept:
    """What autograd holds in place of a tensor: a record, and which view of its result is wanted."""

    record: _Record
    size: torch.Size
    stride: tuple[int, ...]
    offset: int


@dataclass(frozen=True)
class _Whole:
    """A tensor kept as it is, but without its graph, with which a later in-place change closes a cycle."""

    tensor: Tensor
    version: int


class _Ledger:
    """The outputs of activations that are alive, by the address of their storage."""

    def __init__(self) -> None:
        self.records: dict[int, _Record] = {}

    def remember(self, output: Tensor, source: Tensor, compute: Compute) -> None:
        if not _is_plain(output) or not _is_plain(source) or output.numel() == 0 or output.is_inference():
            return
        address = output.untyped_storage().data_ptr()
        if address == source.untyped_storage().data_ptr():
            return
        records = self.records

        def forget(reference: weakref.ref[Tensor]) -> None:
            if address in records and records[address].output is reference:
                del records[address]

        device = source.device.type
        kept = source.detach()
        records[address] = _Record(
            output=weakref.ref(output, forget),
            version=output._version,
            size=output.size(),
            stride=output.stride(),
            offset=int(output.storage_offset()),
            dtype=output.dtype,
            source=kept,
            source_version=kept._version,
            compute=compute,
            autocast=(torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)),
            path=preference(),
        )

    def pack(self, tensor: Tensor) -> Tensor | _Whole | _Kept:
        if not _is_plain(tensor) or tensor.numel() == 0:
            return tensor
        record = self.records.get(tensor.untyped_storage().data_ptr())
        if record is None or not record.makes(tensor):
            return _Whole(tensor.detach(), tensor._version)
        return _Kept(record, tensor.size(), tensor.stride(), int(tensor.storage_offset()) - record.offset)


def _unpack(kept: Tensor | _Whole | _Kept) -> Tensor:
    if isinstance(kept, Tensor):
        return kept
    if isinstance(kept, _Whole):
        _check(kept.tensor, kept.version)
        return kept.tensor
    return kept.record.make().as_strided(kept.size, kept.stride, kept.offset)


def _check(tensor: Tensor, version: int) -> None:
    if tensor._version != version:
        raise RuntimeError(
            "recompute: a tensor needed for backward was changed in place after forward; "
            "change it out of place, or after backward"
        )


def _is_plain(tensor: Tensor) -> bool:
    return type(tensor) in (Tensor, nn.Parameter) and tensor.layout == torch.strided and not tensor.is_meta


def _pays(module: nn.Module) -> bool:
    spec = describe(module)
    if spec is None:
        return False
    entry, _ = parse(spec)
    # In place, torch's elu and celu keep their output.
    return entry.keeps == "input" and not (isinstance(module, nn.ELU | nn.CELU) and module.inplace)


def _note(module: nn.Module, arguments: tuple[Any, ...], output: Any) -> None:
    if len(arguments) == 1 and isinstance(output, Tensor):
        remember(output, arguments[0], _compute(module))


def _compute(module: nn.Module) -> Compute:
    """The function that ``module`` is now, whatever is set or learned on it afterwards."""
    if isinstance(module, Pointwise):
        return _frozen(type(module).function, [getattr(module, name) for name in module.settings])
    entry, parameters = parse(describe(module) or "")
    return functools.partial(entry.functional, **{**entry.defaults, **parameters})


def _frozen(function: Callable[..., Tensor], settings: list[Tensor | float]) -> Compute:
    values = [value.detach() if isinstance(value, Tensor) else value for value in settings]
    versions = [value._version if isinstance(value, Tensor) else 0 for value in values]

    def compute(x: Tensor) -> Tensor:
        if any(isinstance(v, Tensor) and v._version != seen for v, seen in zip(values, versions, strict=True)):
            raise RuntimeError(
                "recompute: a learned activation was updated between forward and backward; "
                "step the optimizer after backward"
            )
        return function(x, *values)

    return compute


_active: ContextVar[_Ledger | None] = ContextVar("recompute", default=None)
