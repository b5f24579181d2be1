"""Three ways to run the same formulas: whole, in blocks that stay in the cache, or compiled.

``whole`` is plain torch and works everywhere. ``blocks`` is plain torch on a CPU, one cache-sized piece at a
time, so that temporaries never reach main memory. ``compiled`` fuses everything into one loop with
``torch.compile``; it needs a C++ compiler on a CPU and Triton on a GPU. The choice depends on size, dtype and
device alone, never on what ran before, so that a resumed run repeats the run that was interrupted.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil
import types
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

from smoothify.activations.formulas import Number

Preference = Literal["auto", "plain", "compiled"]
Path = Literal["whole", "blocks", "compiled"]

SMALL = 1 << 12  # elements: up to here whatever is called, calling it is what costs
BLOCK = 1 << 17  # elements: 512 KiB of float32, about what a core's second-level cache can work in
LARGE = 1 << 16  # elements: from here on ``auto`` compiles

_preference: ContextVar[Preference] = ContextVar("kernel_path", default="auto")
_compiled: dict[str, Callable[..., Any]] = {}
_refused: dict[str, str] = {}
_latest: dict[str, Path] = {}


@dataclass(frozen=True)
class Program:
    """Formulas to run: the first result is elementwise, further results are summed into scalars.

    ``in_place`` are the same formulas for blocks, where there are cheaper ones than ``formulas``.
    """

    name: str
    formulas: Callable[..., tuple[Tensor, ...]]
    in_place: Callable[..., tuple[Tensor, ...]] | None = None


@contextmanager
def kernel_path(path: Preference) -> Iterator[None]:
    """Choose how our kernels run in this block: ``auto``, ``plain`` (never compile) or ``compiled``.

    ``auto`` compiles for tensors of 65,536 elements or more where a compiler is at hand; ``compiled`` does
    so at every size, and still falls back to plain code, with a warning, where compiling fails. Raises
    ValueError for another word.

    >>> with kernel_path("plain"):
    ...     pass
    """
    if path not in get_args(Preference):
        raise ValueError(f"kernel_path: unknown path {path!r}; give one of {get_args(Preference)}")
    token = _preference.set(path)
    try:
        yield
    finally:
        _preference.reset(token)


def preference() -> Preference:
    """What ``kernel_path`` says at this moment.

    >>> preference()
    'auto'
    """
    return _preference.get()


def kernel_report() -> dict[str, str]:
    """Which path each of our kernels took last, by kernel and direction; with the reason if compiling failed.

    >>> from smoothify.activations import functional
    >>> _ = functional.mish(torch.zeros(3))
    >>> kernel_report()["mish.forward"]
    'whole'
    """
    return {
        name: f"{path} (could not be compiled: {_refused[name]})" if name in _refused else path
        for name, path in sorted(_latest.items())
    }


def widen(x: Tensor) -> Tensor:
    """float16 and bfloat16 as float32, everything else as it is."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def run_whole(program: Program, tensors: Sequence[Tensor], parameters: Sequence[Number]) -> list[Tensor]:
    """Run on whole tensors with plain operations; what every tracer and transform can follow."""
    first, *rest = program.formulas(*map(widen, tensors), *parameters)
    return [first.to(tensors[0].dtype), *(each.sum() for each in rest)]


def run(program: Program, tensors: Sequence[Tensor], parameters: Sequence[Number]) -> list[Tensor]:
    """Run on whichever path suits; ``tensors`` share one shape, parameters are scalars."""
    path = _choose(program, tensors, parameters)
    if path == "compiled":
        try:
            outputs = _run_compiled(program, tensors, parameters)
        except torch.OutOfMemoryError:  # nothing that a compiler did: the plain path needs no less
            raise
        except Exception as error:  # whatever a compiler can throw: the plain path is still right
            _refused[program.name] = f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"
            message = f"{program.name} runs on its plain path: {_refused[program.name]}"
            warnings.warn(message, RuntimeWarning, stacklevel=3)
            path = _choose(program, tensors, parameters)
    if path == "blocks":
        outputs = _run_blocks(program, tensors, parameters)
    elif path == "whole":
        outputs = run_whole(program, tensors, parameters)
    _latest[program.name] = path
    return outputs


def _choose(program: Program, tensors: Sequence[Tensor], parameters: Sequence[Number]) -> Path:
    x = tensors[0]
    size, wish = x.numel(), _preference.get()
    if (size < SMALL and wish != "compiled") or not _is_simple(x, tensors, parameters):
        return "whole"
    wanted = wish == "compiled" or (wish == "auto" and size >= LARGE)
    if wanted and program.name not in _refused and size > 1 and _compiler_for(x.device.type):
        return "compiled"
    return "blocks" if x.device.type == "cpu" and size >= SMALL else "whole"


def _is_simple(x: Tensor, tensors: Sequence[Tensor], parameters: Sequence[Number]) -> bool:
    """Real dense tensors with scalar parameters, watched by nobody: memory may be walked in a line."""
    return (
        all(type(tensor) in (Tensor, torch.nn.Parameter) and tensor.shape == x.shape for tensor in tensors)
        and all(map(torch._C._has_storage, tensors))  # batched gradients come as tensors that have none
        and all(not isinstance(parameter, Tensor) or parameter.numel() == 1 for parameter in parameters)
        and x.device.type in ("cpu", "cuda")
        and _is_dense(x)
        and not is_in_torch_dispatch_mode()
        and torch._C._len_torch_function_stack() == 0
    )


def _is_dense(x: Tensor) -> bool:
    return (
        x.is_contiguous()
        or (x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last))
        or (x.dim() == 5 and x.is_contiguous(memory_format=torch.channels_last_3d))
    )


def _flat(x: Tensor) -> Tensor:
    return x.detach().as_strided((x.numel(),), (1,))


def _aligned(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The tensors as flat memory in the order of the first; one with other strides is copied into order."""
    x = tensors[0]
    ordered = [
        tensor if tensor.stride() == x.stride() else torch.empty_like(x, dtype=tensor.dtype).copy_(tensor)
        for tensor in tensors
    ]
    return [_flat(tensor) for tensor in ordered]


def _run_blocks(program: Program, tensors: Sequence[Tensor], parameters: Sequence[Number]) -> list[Tensor]:
    output = torch.empty_like(tensors[0])
    flat_output, flat = _flat(output), _aligned(tensors)
    formulas = program.in_place or program.formulas
    sums: list[Tensor] = []
    for start in range(0, output.numel(), BLOCK):
        piece = slice(start, start + BLOCK)
        first, *rest = formulas(*(widen(tensor[piece]) for tensor in flat), *parameters)
        flat_output[piece].copy_(first)
        partial = [each.sum() for each in rest]
        sums = [total + each for total, each in zip(sums, partial, strict=True)] if sums else partial
    return [output, *sums]


def _run_compiled(program: Program, tensors: Sequence[Tensor], parameters: Sequence[Number]) -> list[Tensor]:
    # Parameters go in as scalar tensors: as Python numbers each value would be compiled anew.
    wide = torch.float64 if tensors[0].dtype == torch.float64 else torch.float32
    scalars = [
        parameter.detach().reshape(()) if isinstance(parameter, Tensor) else torch.tensor(parameter, dtype=wide)
        for parameter in parameters
    ]
    output = torch.empty_like(tensors[0])
    if program.name not in _compiled:
        _compiled[program.name] = _compile(program)
    flat_output, flat = _flat(output), _aligned(tensors)
    for tensor in (flat_output, *flat):
        # Not dynamic=True: that would turn every constant of a polynomial into an argument of each call.
        torch._dynamo.maybe_mark_dynamic(tensor, 0)
    with torch.no_grad():
        sums: list[Tensor] = _compiled[program.name](flat_output, flat, scalars)
    return [output, *sums]


def _compile(program: Program) -> Callable[..., Any]:
    def loop(output: Tensor, tensors: list[Tensor], parameters: list[Tensor]) -> list[Tensor]:
        first, *rest = program.formulas(*(widen(tensor) for tensor in tensors), *parameters)
        output.copy_(first)
        return [each.sum() for each in rest]

    # torch.compile counts recompilations per code object: each program needs one of its own.
    own = types.FunctionType(
        loop.__code__.replace(co_name=program.name), loop.__globals__, program.name, None, loop.__closure__
    )
    compiled: Callable[..., Any] = torch.compile(own, fullgraph=True)
    return compiled


@functools.cache
def _compiler_for(device: str) -> bool:
    if device == "cuda":
        return importlib.util.find_spec("triton") is not None
    return any(shutil.which(name) for name in (os.environ.get("CXX"), "g++", "clang++") if name)
