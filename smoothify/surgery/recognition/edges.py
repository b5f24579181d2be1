"""The walk over module edges: every instance once, with every path that leads to it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from smoothify.errors import UnsupportedModelError
from smoothify.surgery.rules.base import qualified_name

COMPILED = "torch._dynamo.eval_frame.OptimizedModule"
WRAPPERS = {
    "torch.nn.parallel.distributed.DistributedDataParallel": "DistributedDataParallel",
    "torch.nn.parallel.data_parallel.DataParallel": "DataParallel",
    "torch.distributed.fsdp.fully_sharded_data_parallel.FullyShardedDataParallel": "FSDP",
    "torch.distributed.fsdp.FSDPModule": "FSDP (fully_shard)",
}
_PATHS = 100
_QUANTISED = ("torch.ao.nn.quantized", "torch.ao.nn.intrinsic.quantized")
_FLOAT = ("FloatFunctional", "FXFloatFunctional")  # they stand beside them, and compute in floating point


@dataclass(frozen=True, slots=True)
class Node:
    """A module instance with the paths that lead to it; the first is the one that a walk meets first."""

    module: nn.Module
    paths: tuple[str, ...]
    parent: nn.Module | None

    @property
    def path(self) -> str:
        """The first path ('' for the root)."""
        return self.paths[0]

    @property
    def aliases(self) -> tuple[str, ...]:
        """All further paths."""
        return self.paths[1:]


def walk(root: nn.Module) -> list[Node]:
    """Return every module instance once, parents first, with all its paths.

    Aliases count: an instance registered under two names, or with two parents, has two paths. (torch's
    ``named_modules`` reports only the first.) A cycle of modules ends the path where it closes. Where a hundred paths
    lead to a module, no more are followed through it: blocks that register all before them have 2ⁿ.

    >>> act = nn.ReLU()
    >>> [node.paths for node in walk(nn.Sequential(act, nn.Sequential(act)))]
    [('',), ('0', '1.0'), ('1',)]
    """
    paths: dict[int, list[str]] = {}
    modules: dict[int, tuple[nn.Module, nn.Module | None]] = {}
    for path, module, parent in _edges(root, "", None, frozenset(), Counter()):
        paths.setdefault(id(module), []).append(path)
        modules.setdefault(id(module), (module, parent))
    return [Node(module, tuple(paths[key]), parent) for key, (module, parent) in modules.items()]


def _edges(
    module: nn.Module, path: str, parent: nn.Module | None, above: frozenset[int], times: Counter[int]
) -> Iterator[tuple[str, nn.Module, nn.Module | None]]:
    yield path, module, parent
    times[id(module)] += 1
    if id(module) in above or times[id(module)] > _PATHS:
        return
    inside = above | {id(module)}
    for name, child in module._modules.items():
        if child is not None:
            yield from _edges(child, f"{path}.{name}" if path else name, module, inside, times)


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the module inside ``torch.compile``'s wrapper; raise for what cannot be worked on.

    Raises UnsupportedModelError for scripted, quantised and lazy modules and for DDP, DataParallel and FSDP wrappers.
    """
    if not isinstance(model, nn.Module):
        raise UnsupportedModelError(f"expected a torch.nn.Module, got {type(model).__name__}")
    while qualified_name(type(model)) == COMPILED:
        model = model.get_submodule("_orig_mod")
    for path, module in model.named_modules():
        where = f"{path!r} is" if path else "the model is"
        if isinstance(module, torch.jit.ScriptModule):
            raise UnsupportedModelError(
                f"{where} a ScriptModule, whose code is fixed; convert the eager model, then use torch.export"
            )
        if type(module).__module__.startswith(_QUANTISED) and type(module).__name__ not in _FLOAT:
            raise UnsupportedModelError(
                f"{where} quantised ({type(module).__name__}), which has no derivative; convert the float model first"
            )
        if any(is_lazy(tensor) for tensor in module._parameters.values()):
            raise UnsupportedModelError(f"{where} lazy ({type(module).__name__}); run it once, then convert it")
        for base in type(module).__mro__:
            wrapper = WRAPPERS.get(qualified_name(base))
            if wrapper is not None:
                raise UnsupportedModelError(
                    f"{where} wrapped by {wrapper}, which has registered its parameters already; convert "
                    f"first, wrap later (its ``.module`` can be converted before another wrap)"
                )
    return model
