"""Identity surgery: every non-smooth function is rewritten, into itself, and nothing may change by a bit."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

import smoothify
from smoothify.surgery.hosts.examples import examples

FUNCTIONS = (
    *("relu", "relu6", "clamp", "threshold", "leaky_relu", "prelu", "rrelu", "elu", "selu"),
    *("hardtanh", "hardswish", "hardsigmoid", "hard_mish", "maximum"),
)
SIDE = 64


def identical(model: nn.Module) -> tuple[int, list[str]]:
    """Rewrite a copy of the model with the identity.

    Returns:
        How many sites were rewritten; what differs between the two, by mode and tensor.
    """
    same = smoothify.convert(model, {name: name for name in FUNCTIONS}, replace=set(FUNCTIONS), strict=False)
    inputs = _inputs(copy.deepcopy(model))  # a forward in train mode moves the statistics of batch norm
    rewritten = len(smoothify.inspect(same).sites)
    differing = []
    for training in (True, False):
        before, after = (_outputs(one.train(training), **inputs) for one in (model, same))
        if before.keys() != after.keys():
            differing.append(f"{'train' if training else 'eval'}: other gradients")
        differing += [
            f"{'train' if training else 'eval'}: {name}"
            for name in before.keys() & after.keys()
            if not torch.equal(before[name], after[name])
        ]
    return rewritten, differing


def _inputs(model: nn.Module) -> dict[str, Any]:
    """The host's own example input, small where the model takes it so."""
    example = next(iter(examples(model)))
    described = example.args, dict(example.kwargs or {})
    if example.real:
        if example.prepare:
            example.prepare(model)
        return {"args": described[0], "kwargs": described[1]}
    for fill in (_small, _filled):
        args, kwargs = torch.utils._pytree.tree_map_only(Tensor, fill, described)
        try:
            with torch.no_grad():
                model.train()(*args, **kwargs)
        except (RuntimeError, ValueError, AssertionError):  # it takes its own size only
            continue
        return {"args": args, "kwargs": kwargs}
    raise AssertionError("the model does not run on its host's example input")


def _outputs(model: nn.Module, args: Any, kwargs: Any) -> dict[str, Tensor]:
    torch.manual_seed(0)
    model.zero_grad()
    outputs = [
        leaf
        for leaf in torch.utils._pytree.tree_leaves(_plain(model(*args, **kwargs)))
        if isinstance(leaf, Tensor) and leaf.requires_grad
    ]
    sum(output.float().square().mean() for output in outputs).backward()
    found = {f"output {number}": output.detach() for number, output in enumerate(outputs)}
    return found | {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}


def _plain(output: Any) -> Any:
    return output.to_tuple() if hasattr(output, "to_tuple") else output


def _small(tensor: Tensor) -> Tensor:
    if tensor.ndim >= 4:
        return _filled(torch.empty(*tensor.shape[:-2], SIDE, SIDE, dtype=tensor.dtype))
    return _filled(tensor)


def _filled(tensor: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    if tensor.is_floating_point():
        return torch.rand(tensor.shape, generator=generator, dtype=tensor.dtype)
    return torch.ones(tensor.shape, dtype=tensor.dtype)
