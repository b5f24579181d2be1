"""One short name for all that a measurement depends on: the model, the attack, the images."""

from __future__ import annotations

import copyreg
import hashlib
from collections.abc import Iterator, Sequence
from itertools import chain
from types import FunctionType, MappingProxyType

import numpy as np
import torch
from torch import Tensor, nn

from smoothify.attacks import forget_caches

_PLAIN = (bool, int, float, complex, str, bytes, type(None))
_HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")
# what every module has besides its settings, its training mode among it
_TORCHS = frozenset({*vars(nn.Module()), "_compiled_call_impl", "_is_torch_compile"})

Description = tuple[str | bytes, Sequence[object]]
"""What is said of a value itself, and the values that it is made of."""


def checksum(*things: object) -> str:
    """Return a checksum of models, attacks and other values: of their classes and all that they hold.

    Tensors and arrays count by their content, whatever device they are on; functions by their names and what they
    close over; other objects by what pickle would rebuild them from. Of what nothing can be read, as of a lock, its
    class counts. No address is part of it, so that another process comes to the same; nor is a module's mode.

    >>> from smoothify.attacks import PGD, ThreatModel
    >>> checksum(PGD(steps=5)) == checksum(PGD(steps=5)), checksum(PGD(steps=5)) == checksum(PGD(steps=6))
    (True, False)
    >>> first, second = nn.Flatten(), nn.Flatten()
    >>> second.mean = torch.tensor([0.5])
    >>> checksum(first) == checksum(second)
    False
    """
    for thing in things:
        if isinstance(thing, nn.Module):
            forget_caches(thing)
    known, met = hashlib.sha256(), dict[int, tuple[int, object]]()
    left: list[object] = [things]  # a list and no recursion: an object may lead to many others, and back to itself
    while left:
        value = left.pop()
        if isinstance(value, nn.Module):
            value = getattr(value, "_orig_mod", value)  # what torch.compile wraps
        again = met.get(id(value))
        told, parts = (f"number {again[0]}", ()) if again else _described(value)
        if parts and not isinstance(value, tuple):  # whether equal tuples are one object is an accident
            met[id(value)] = (len(met), value)  # which is kept, or another one could get its id
        told = told if isinstance(told, bytes) else told.encode()
        known.update(f"{len(told)} {len(parts)} ".encode() + told)
        left.extend(reversed(parts))
    return known.hexdigest()[:16]


def _described(value: object) -> Description:
    name = _name(type(value))
    if type(value) in _PLAIN:
        return f"{name} {value!r}", ()
    if isinstance(value, type):
        return _name(value), ()
    if isinstance(value, Tensor):
        return f"tensor {value.dtype} {tuple(value.shape)} ".encode() + _content(value), ()
    if isinstance(value, np.ndarray):
        told = f"array {value.dtype} {value.shape} "
        return (told, value.ravel().tolist()) if value.dtype.hasobject else (told.encode() + value.tobytes(), ())
    if isinstance(value, nn.Module):
        return _of_module(value)
    if isinstance(value, FunctionType):
        return _name(value), (value.__defaults__, value.__kwdefaults__, *_closed_over(value))
    if isinstance(value, dict | MappingProxyType):
        return name, [*chain.from_iterable(value.items())]
    if isinstance(value, list | tuple):
        return name, value
    if isinstance(value, set | frozenset):
        return name, sorted(value, key=lambda one: str(_described(one)[0]))
    if isinstance(value, torch.device):  # each of several processes has its own
        return name, ()
    return name, _rebuilt_from(value)


def _of_module(module: nn.Module) -> Description:
    own = [(name, value) for name, value in sorted(vars(module).items()) if name not in _TORCHS]
    tensors = [*module._parameters.items(), *module._buffers.items()]
    hooks = [[*getattr(module, name).values()] for name in _HOOKS]  # their keys count every hook of the process
    return _name(type(module)), (own, tensors, hooks, [*module._modules.items()])


def _content(tensor: Tensor) -> bytes:
    tensor = tensor.detach()
    if tensor.is_meta:
        return b""
    if tensor.is_quantized:
        tensor = tensor.dequantize()
    if tensor.layout is not torch.strided:
        tensor = tensor.to_dense()
    return tensor.cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()


def _closed_over(function: FunctionType) -> Iterator[object]:
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # nothing was ever put into it
            yield None


def _rebuilt_from(value: object) -> Sequence[object]:
    reducer = copyreg.dispatch_table.get(type(value))
    try:
        told = reducer(value) if reducer else value.__reduce_ex__(4)
    except Exception:  # a lock, a stream, a handle: each refuses in a way of its own, and has nothing to be read
        return ()
    return (told,) if isinstance(told, str) else [list(one) if isinstance(one, Iterator) else one for one in told]


def _name(of: type | FunctionType) -> str:
    return f"{of.__module__}.{of.__qualname__}"
