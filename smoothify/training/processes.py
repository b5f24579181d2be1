"""What several processes of one run need to know of each other's models."""

from __future__ import annotations

import torch
from accelerate import DistributedDataParallelKwargs
from torch import Tensor, nn

from smoothify.attacks import inference_mode_of
from smoothify.models import PixelClassifier


def wrapping(classifier: PixelClassifier, images: Tensor) -> DistributedDataParallelKwargs:
    """Return how a classifier is to be wrapped for several processes.

    Buffers are sent by `follow_main_process`, before the attack; so the wrapper need not send them again. Where a
    parameter gets no gradient, as masked image models' mask tokens do, the wrapper has to look for it at every step.

    Args:
        classifier: not wrapped yet, without gradients.
        images: a few images (batch, channels, height, width), on its device.
    """
    return DistributedDataParallelKwargs(
        broadcast_buffers=False, find_unused_parameters=bool(without_gradient(classifier, images))
    )


def without_gradient(classifier: PixelClassifier, images: Tensor) -> list[str]:
    """Name the learned parameters that a backward pass does not reach; all gradients are None afterwards.

    >>> from smoothify.models import build
    >>> without_gradient(PixelClassifier.from_host(build("resnet10_28px")), torch.rand(2, 1, 28, 28))
    []
    """
    with inference_mode_of(classifier), torch.enable_grad():
        classifier(images).sum().backward()
    learned = [(name, each) for name, each in classifier.named_parameters() if each.requires_grad]
    missed = [name for name, each in learned if each.grad is None]
    for _, each in learned:
        each.grad = None
    return missed


@torch.no_grad()
def follow_main_process(model: nn.Module) -> None:
    """Give every process the main one's buffers, such as batch statistics, with one message for each type.

    Before each step, so that all attack the same model, and none depends on when a checkpoint was written.
    """
    by_type: dict[torch.dtype, list[Tensor]] = {}
    for buffer in model.buffers():
        by_type.setdefault(buffer.dtype, []).append(buffer)
    for buffers in by_type.values():
        together = torch.cat([buffer.reshape(-1) for buffer in buffers])
        torch.distributed.broadcast(together, src=0)
        parts = torch.split(together, [buffer.numel() for buffer in buffers])
        for buffer, sent in zip(buffers, parts, strict=True):
            buffer.copy_(sent.view(buffer.shape))
