"""Proving that a rebuilt model is the model: equal logits, bit for bit, with its weights and with disturbed
ones.

The second comparison matters: a residual branch whose last weight is still zero hides every activation before
it.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call

from smoothify.errors import HubError
from smoothify.hub.weights import disagreements
from smoothify.surgery.probing.model_copy import without_graphs

BATCH = 2
DISTURBANCE = 0.1
SHOWN = 5


def twin(model: nn.Module) -> nn.Module:
    """Return a copy of ``model`` in eval mode, on the CPU, that shares its parameters if they are there already.

    Running the copy leaves ``model`` as it is: mode, hooks' handles, caches, gradients, and buffers, which a forward
    may change.

    >>> layer = nn.Linear(2, 1)
    >>> twin(layer).weight is layer.weight
    True
    """
    tensors = without_graphs(model)
    tensors |= {id(parameter): _on_cpu(parameter) for parameter in model.parameters()}
    tensors |= {id(buffer): buffer.detach().to("cpu", copy=True) for buffer in model.buffers()}
    return copy.deepcopy(model, tensors).cpu().eval()


def difference(original: nn.Module, rebuilt: nn.Module, size: tuple[int, int, int], *, tolerance: float = 0.0) -> str:
    """Say how ``rebuilt`` differs from ``original`` (a ``twin``), or return '' when their logits are equal.

    Both are run on ``BATCH`` random images of ``size`` (channels, height, width), without gradients and without
    touching the global random state; ``rebuilt`` is brought into the memory layout of ``original``. ``tolerance``
    is relative to the largest logit; 0 means bit for bit.

    >>> difference(nn.Flatten(), nn.Flatten(), (1, 2, 2))
    ''
    """
    expected = original.state_dict()
    found = disagreements(rebuilt.state_dict(), expected)
    if found:
        return "; ".join(found[:SHOWN])
    _lay_out_like(rebuilt, expected)
    first = next((tensor for tensor in expected.values() if tensor.is_floating_point()), torch.zeros(()))
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(BATCH, *size, generator=generator).to(first)
    changed = _disturbed(original, generator)
    with torch.no_grad():
        for weights, how in (({}, "its own weights"), (changed, "disturbed weights")):
            # eval() each time: some hosts (LeViT) cache what they computed from weights until the mode is
            # set.
            ours = _logits(original.eval(), weights, images)
            theirs = _logits(rebuilt.eval(), weights, images)
            if ours.shape != theirs.shape:
                return f"the logits have the shape {tuple(theirs.shape)}, not {tuple(ours.shape)}"
            scale = ours.nan_to_num().abs().max().item()
            if not torch.allclose(ours, theirs, rtol=0.0, atol=tolerance * scale, equal_nan=True):
                apart = (ours.double() - theirs.double()).abs().max().item()
                where = _different_modules(original, rebuilt)
                return f"the logits differ by up to {apart:.3g} with {how}{where}"
    return ""


def _on_cpu(parameter: nn.Parameter) -> nn.Parameter:
    if parameter.device.type == "cpu":
        return parameter
    return nn.Parameter(parameter.detach().cpu(), parameter.requires_grad)


def _logits(model: nn.Module, weights: Mapping[str, Tensor], images: Tensor) -> Tensor:
    output = functional_call(model, dict(weights), (images,), strict=False) if weights else model(images)
    logits = getattr(output, "logits", output)
    if not isinstance(logits, Tensor):
        raise HubError(f"the model returns {type(output).__name__}, not logits; publish the classifier itself")
    return logits


def _disturbed(model: nn.Module, generator: torch.Generator) -> dict[str, Tensor]:
    """Every parameter with noise of a tenth of its own scale added (of one, where it is all zero)."""
    changed = {}
    for name, parameter in model.named_parameters():
        if parameter.is_floating_point():
            value = parameter.detach()
            scale = value.double().square().mean().sqrt().nan_to_num().item() or 1.0
            noise = torch.randn(value.shape, generator=generator).mul_(DISTURBANCE * scale).to(value)
            changed[name] = value + noise
    return changed


def _lay_out_like(model: nn.Module, expected: Mapping[str, Tensor]) -> None:
    """Kernels differ in the last bit between memory layouts, so a channels_last original is compared with its
    like.
    """
    for name, value in model.state_dict(keep_vars=True).items():
        wanted = expected[name]
        if value.stride() != wanted.stride() or value.dtype != wanted.dtype:
            value.data = torch.empty_like(wanted).copy_(value.data)


def _different_modules(original: nn.Module, rebuilt: nn.Module) -> str:
    ours = {name: type(module).__name__ for name, module in original.named_modules()}
    theirs = {name: type(module).__name__ for name, module in rebuilt.named_modules()}
    found = [
        f"{name or '(root)'} is {ours.get(name, 'absent')}, rebuilt as {theirs.get(name, 'absent')}"
        for name in sorted({*ours, *theirs})
        if ours.get(name) != theirs.get(name)
    ]
    return f" ({'; '.join(found[:SHOWN])})" if found else ""
