"""One row of the zoo sweep: build a model, convert a copy, and compare the two.

The check that nothing non-smooth runs is independent of the surgery's own probe: it only looks at the names
of the operations that a forward on the meta device dispatches.
"""

from __future__ import annotations

import copy
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import smoothify
from smoothify.surgery.hosts.examples import examples

ACTIVATIONS = """
    relu relu6 hardtanh leaky_relu _prelu_kernel prelu rrelu_with_noise hardswish hardsigmoid threshold
    hardshrink softshrink _transformer_encoder_layer_fwd
"""
KINKED = frozenset(ACTIVATIONS.split())
# relu(x)² is C1 as a whole, although a ReLU is what is dispatched.
SQUARED = ("StarReLU", "SquaredReLU", "ReLUSquaredActivation")


@dataclass(frozen=True)
class Row:
    """What became of one model; it holds where there is nothing in ``failures``."""

    name: str
    sites: int = 0
    converted: int = 0
    how: tuple[str, ...] = ()
    verified: bool = False
    unverified: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()
    seconds: float = 0.0
    """Of processor time."""
    extra: dict[str, Any] = field(default_factory=dict)


class Names(TorchDispatchMode):
    """Collects the names of the non-smooth activations that are dispatched."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name.partition("::")[2].rstrip("_")
        alpha = args[1] if name == "elu" and len(args) > 1 else 1
        if name in KINKED or alpha != 1:
            self.seen.add(name)
        return func(*args, **(kwargs or {}))


def sweep_row(name: str, build: Callable[[], nn.Module], *, own_input: Any = None) -> Row:
    """Build, convert and compare one model; errors are part of the row."""
    begun = time.process_time()
    try:
        return _row(name, build, begun)
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{last.filename.rsplit('/', 1)[-1]}:{last.lineno}"
        text = f"{type(error).__name__} at {where}: {str(error)[:1500]}"
        return Row(name, failures=(text,), seconds=time.process_time() - begun)


def _row(name: str, build: Callable[[], nn.Module], begun: float) -> Row:
    try:
        model = build()
    except (ImportError, ValueError, TypeError, NotImplementedError, AttributeError, KeyError) as error:
        return Row(name, extra={"skipped": f"does not build by default: {type(error).__name__}: {error}"[:300]})
    example = next(iter(examples(model)), None)
    if example is not None:
        try:
            _forward(copy.deepcopy(model), example, False)
        except Exception as error:  # whatever the host raises: it does not run as built, so there is no row
            return Row(name, extra={"skipped": f"does not run as built: {type(error).__name__}: {error}"[:300]})
    converted = copy.deepcopy(model)
    classes = [type(module) for module in model.modules()]
    flags = [module.training for module in model.modules()]
    report = smoothify.convert_(converted, to="silu")
    failures = []
    if not isinstance(converted, type(model)) or type(converted).__name__ != type(model).__name__:
        failures.append("another class")
    if _shapes(converted) != _shapes(model):
        failures.append("other state_dict keys or shapes")
    if not report.applied and [type(module) for module in converted.modules()] != classes:
        failures.append("a smooth model was changed")
    if not report.applied and [module.training for module in converted.modules()] != flags:
        failures.append("train/eval flags differ")
    failures += _flags(model, converted)
    if example is None:
        failures.append("no example input")
    else:
        squared = any(type(module).__name__ in SQUARED for module in model.modules())
        kept = any(site.note.startswith("kept: ") for site in report.remaining)
        for mode in (True, False):
            kinked = _forward(converted, example, mode)
            if kept or (squared and kinked == {"relu"}):
                kinked -= {"relu"}  # an output constraint that conversion leaves, and says so
            if kinked:
                failures.append(f"{sorted(kinked)} still run in {'train' if mode else 'eval'} mode")
    if not report.modes:
        failures.append(f"no probe ran: {report.note}")
    return Row(
        name,
        len(report.sites),
        len(report.converted),
        tuple(sorted({site.how or "" for site in report.converted})),
        report.verified,
        tuple(sorted({operation.name for operation in report.unverified})),
        tuple(failures),
        time.process_time() - begun,
        {"kept": sorted({operation.name for operation in report.operations})},
    )


def _shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in model.state_dict().items() if isinstance(value, Tensor)}


def _flags(model: nn.Module, converted: nn.Module) -> list[str]:
    before = {path: module.training for path, module in model.named_modules()}
    after = {path: module.training for path, module in converted.named_modules()}
    differing = [path for path, flag in before.items() if after.get(path, flag) != flag]
    missing = [path for path in before if path not in after and "." not in path]
    return [f"train/eval flags differ at {differing[:3]}"] * bool(differing) + [
        f"modules are gone: {missing[:3]}"
    ] * bool(missing)


def _forward(model: nn.Module, example: Any, training: bool) -> set[str]:
    device = next((p.device for p in model.parameters()), torch.device("cpu"))

    def placed(tensor: Tensor) -> Tensor:
        if tensor.is_meta and device.type != "meta":
            return torch.rand(tensor.shape, device=device).to(tensor.dtype)
        return tensor.to(device)

    args, kwargs = torch.utils._pytree.tree_map_only(Tensor, placed, (example.args, dict(example.kwargs or {})))
    model.train(training)
    if example.prepare:
        example.prepare(model)
    names = Names()
    with torch.no_grad(), names:
        model(*args, **kwargs)
    return names.seen
