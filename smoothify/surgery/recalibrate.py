"""Batch-norm statistics after a conversion: what the normalised layers see is not what it was."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from smoothify.errors import DataError, UnsupportedModelError


@torch.no_grad()
def recalibrate_batch_norm_(model: nn.Module, loader: Iterable[Any], *, batches: int | None = None) -> int:
    """Estimate the running statistics of every batch norm anew, as the plain average over batches.

    Another activation passes on other means and variances than the ones that a pretrained network has stored. The
    batch norms alone are in train mode meanwhile: dropout is off, no weight and no gradient moves, and every mode and
    momentum is put back.

    Args:
        model: changed in place, on its own device.
        loader: batches: a tensor (batch, channels, height, width), a tuple or list whose first item is one, or a
            mapping of keyword arguments. The model normalises images itself, or they come normalised.
        batches: read no more than so many.

    Returns:
        How many batch norms were estimated anew.

    Raises:
        UnsupportedModelError: the model has no batch norm with running statistics.
        DataError: the loader yields no batch, or something that is none; the statistics are then what they were.

    >>> model = nn.Sequential(nn.BatchNorm1d(2), nn.SiLU())
    >>> recalibrate_batch_norm_(model, [torch.tensor([[1.0, 2.0], [3.0, 6.0]])])
    1
    >>> model[0].running_mean
    tensor([2., 4.])
    """
    norms = batch_norms_of(model)
    device = next((tensor.device for tensor in (*model.parameters(), *model.buffers())), torch.device("cpu"))
    seen = 0
    with _estimating(model, norms):
        for batch in loader:
            if seen == batches:
                break
            _forward(model, batch, device)
            seen += 1
        if not seen:
            raise DataError("the loader yields no batch to estimate batch-norm statistics from; give one that has some")
    return len(norms)


def batch_norms_of(model: nn.Module) -> list[Any]:
    """Find the batch norms that have running statistics.

    Raises:
        UnsupportedModelError: there is none.
    """
    norms = [
        module
        for module in model.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None
    ]
    if not norms:
        raise UnsupportedModelError(
            f"{type(model).__name__} has no batch norm with running statistics; it needs no recalibration"
        )
    return norms


@contextmanager
def _estimating(model: nn.Module, norms: list[Any]) -> Iterator[None]:
    """Let the batch norms alone gather statistics; where that fails they are what they were."""
    training = {module: module.training for module in model.modules()}
    uncounted = [norm for norm in norms if norm.num_batches_tracked is None]
    for norm in uncounted:  # without a count there is no average over batches; it is taken away again
        norm.num_batches_tracked = torch.zeros((), dtype=torch.int64, device=norm.running_mean.device)
    before = [
        (norm.momentum, {name: value.clone() for name, value in norm.named_buffers(recurse=False)}) for norm in norms
    ]
    try:
        for module in training:
            module.training = False
        for norm in norms:
            norm.training, norm.momentum = True, None  # no momentum: the average of all batches
            norm.reset_running_stats()
        yield
    except BaseException:
        for norm, (_, buffers) in zip(norms, before, strict=True):
            for name, value in buffers.items():
                getattr(norm, name).copy_(value)
        raise
    finally:
        for module, mode in training.items():
            module.training = mode
        for norm, (momentum, _) in zip(norms, before, strict=True):
            norm.momentum = momentum
        for norm in uncounted:
            norm.num_batches_tracked = None


def _forward(model: nn.Module, batch: Any, device: torch.device) -> None:
    if isinstance(batch, Mapping):
        model(**{name: value.to(device) if isinstance(value, Tensor) else value for name, value in batch.items()})
        return
    images = batch[0] if isinstance(batch, tuple | list) else batch
    if not isinstance(images, Tensor):
        raise DataError(f"a batch of {type(images).__name__}; give a tensor, (tensor, ...), or a mapping of tensors")
    model(images.to(device))
