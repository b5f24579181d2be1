"""The mode in which a model is attacked and measured, and the way back to the one it was in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def inference_mode_of(model: nn.Module, *, batch_statistics: bool = False) -> Iterator[None]:
    """Put every module in eval mode, and afterwards each back into the mode that it was in.

    Args:
        model: of any kind.
        batch_statistics: batch norms use those of the batch meanwhile, and forget them.

    >>> model = nn.Dropout().train()
    >>> with inference_mode_of(model):
    ...     print(model.training)
    False
    >>> model.training
    True
    """
    training = [module for module in model.modules() if module.training]
    forget_caches(model)
    norms = [
        module
        for module in model.modules()
        if batch_statistics and isinstance(module, nn.modules.batchnorm._BatchNorm) and module.track_running_stats
    ]
    for module in training:
        module.training = False
    for norm in norms:
        norm.training, norm.track_running_stats = True, False
    try:
        yield
    finally:
        for norm in norms:
            norm.training, norm.track_running_stats = False, True
        for module in training:
            module.training = True


def forget_caches(model: nn.Module) -> None:
    """Have modules drop what they keep of their weights in eval mode, as LeViT does with its position biases.

    They drop it when they are told to train, which setting a flag does not tell them. All flags stay as they are.

    >>> class Cached(nn.Linear):
    ...     kept = None
    ...     def train(self, mode=True):
    ...         self.kept = None if mode else self.kept
    ...         return super().train(mode)
    >>> layer = Cached(2, 2).eval()
    >>> layer.kept = "made of weights that have changed since"
    >>> forget_caches(layer)
    >>> layer.kept, layer.training
    (None, False)
    """
    for module in model.modules():
        if type(module).train is not nn.Module.train:
            flags = [(inner, inner.training) for inner in module.modules()]
            module.train()
            for inner, training in flags:
                inner.training = training
