"""model.safetensors: bytes from a model, tensors from bytes, and nothing else; never a pickle."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import safetensors
import safetensors.torch
import torch
from torch import nn

from smoothify.errors import HubError
from smoothify.hub.checks import SHOWN, printable

_PRECISIONS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def weights_of(model: nn.Module) -> bytes:
    """Return the model's state dict in safetensors format, tied tensors written under each of their names.

    >>> tensors = read_weights(weights_of(nn.Linear(2, 1)), "model.safetensors")
    >>> sorted(tensors)
    ['bias', 'weight']
    """
    state = model.state_dict()
    other = sorted(name for name, value in state.items() if not isinstance(value, torch.Tensor))
    if other:
        raise HubError(f"{', '.join(other[:SHOWN])}: extra state that is no tensor cannot be stored in safetensors")
    # Copies: safetensors refuses two names on one storage, and writes only what is contiguous.
    plain = {
        name: value.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        for name, value in state.items()
    }
    return safetensors.torch.save(plain, metadata={"format": "pt"})


def digest(data: bytes) -> str:
    """Return the SHA-256 of ``data`` as hex digits.

    >>> digest(b"")[:8]
    'e3b0c442'
    """
    return hashlib.sha256(data).hexdigest()


def read_weights(data: bytes, source: str, sha256: str | None = None) -> dict[str, torch.Tensor]:
    """Return the tensors of a safetensors file on the CPU, in the precision that they were stored in.

    Raises ``HubError`` when the file is truncated, is something else, has another hash than ``sha256`` (hex), or
    holds NaN (a classifier of NaN answers class 0 to every image) or numbers that no layer computes with.

    >>> read_weights(b"no tensors", "model.safetensors")
    Traceback (most recent call last):
    ...
    smoothify.errors.HubError: model.safetensors: is not a whole safetensors file (...); download it again
    """
    if sha256 is not None and digest(data) != sha256:
        raise HubError(f"{source}: has the SHA-256 {digest(data)}, not {sha256}: it is damaged or was replaced")
    try:
        tensors: dict[str, torch.Tensor] = safetensors.torch.load(data)
    except (safetensors.SafetensorError, ValueError, RuntimeError, KeyError, OverflowError) as error:
        reason = printable(error)[:300]
        raise HubError(f"{source}: is not a whole safetensors file ({reason}); download it again") from error
    refuse_disagreements(source, _unusable(tensors))
    return tensors


def _unusable(tensors: Mapping[str, torch.Tensor]) -> list[str]:
    found = []
    for name, value in sorted(tensors.items()):
        if value.is_floating_point() and value.dtype not in _PRECISIONS:
            found.append(f"{name[:100]} is stored as {value.dtype}, in which no layer computes")
        elif value.is_floating_point() and value.isnan().any():
            found.append(f"{name[:100]} holds NaN: these weights are damaged")
    return found


def disagreements(
    stored: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor], *, surplus: bool = True
) -> list[str]:
    """List how stored tensors differ from a model's state dict: missing, surplus, of another shape or kind.

    >>> disagreements({"weight": torch.zeros(2)}, {"weight": torch.zeros(3), "bias": torch.zeros(1)})
    ['bias is missing', 'weight is stored as (2,) and the model has (3,)']
    """
    found = [f"{name} is missing" for name in sorted(set(expected) - set(stored))]
    if surplus:
        found += [f"{name[:100]} is not in the model" for name in sorted(set(stored) - set(expected))]
    for name in sorted(set(stored) & set(expected)):
        ours, theirs = stored[name], expected[name]
        if ours.shape != theirs.shape:
            found.append(f"{name} is stored as {tuple(ours.shape)} and the model has {tuple(theirs.shape)}")
        elif ours.dtype != theirs.dtype and not (ours.is_floating_point() and theirs.is_floating_point()):
            found.append(f"{name} is stored as {ours.dtype} and the model has {theirs.dtype}")
    return found


def refuse_disagreements(source: str, found: list[str], remedy: str = "") -> None:
    """Raise one ``HubError`` that lists the first disagreements, if there are any.

    >>> refuse_disagreements("model.safetensors", [])
    """
    if found:
        more = f"; and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        raise HubError(f"{source}: {printable('; '.join(found[:SHOWN]))}{more}{remedy}")


def load_exactly(model: nn.Module, stored: Mapping[str, torch.Tensor], source: str) -> None:
    """Fill ``model`` with ``stored``, in the stored precision; nothing is touched unless names and shapes all
    agree.

    >>> layer = nn.Linear(2, 1)
    >>> stored = {"weight": torch.ones(1, 2).half(), "bias": torch.zeros(1).half()}
    >>> load_exactly(layer, stored, "model.safetensors")
    >>> layer.weight.dtype
    torch.float16
    """
    refuse_disagreements(source, disagreements(stored, model.state_dict()))
    precisions = {value.dtype for value in stored.values() if value.is_floating_point()}
    if len(precisions) == 1:
        model.to(precisions.pop())
    else:
        for name, value in model.state_dict(keep_vars=True).items():
            value.data = value.data.to(stored[name].dtype)
    complete = model.state_dict()  # with its modules' versions, without which MNASNet takes weights for old ones
    complete.update(stored)
    model.load_state_dict(complete)


def refuse_larger(model: nn.Module, stored: Mapping[str, torch.Tensor], where: str) -> None:
    """Raise ``HubError`` if a config describes a model that weights of this size cannot fill, before it takes memory.

    For weights that their library translates, so that names cannot be compared yet. Twice as much passes: position
    embeddings may be resized.

    >>> refuse_larger(nn.Linear(4, 2, device="meta"), {"weight": torch.zeros(2, 4)}, "config.json")
    """
    described = sum(parameter.numel() for parameter in model.parameters())
    held = sum(value.numel() for value in stored.values())
    if described > 2 * held + 1_000_000:
        raise HubError(f"{where}: describes a model of {described:,} parameters, and the weights hold {held:,} numbers")
