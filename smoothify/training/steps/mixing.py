"""Mixed images with labels in proportion (mixup, cutmix), before the attack."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from smoothify.training.config import Config

Mixing = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def mixing(config: Config, *, classes: int) -> Mixing:
    """Return what turns (images, labels) into mixed images and probabilities (batch, classes), or leaves both alone.

    timm's ``Mixup`` pairs each image with its mirror image in the order of the batch and draws from numpy's generator.
    """
    if not config.data.mixup and not config.data.cutmix:
        return lambda images, labels: (images, labels)
    from timm.data import Mixup

    mix = Mixup(
        mixup_alpha=config.data.mixup,
        cutmix_alpha=config.data.cutmix,
        prob=config.data.mix_probability,
        label_smoothing=0.0,  # the objective's
        num_classes=classes,
    )

    def mixed(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        blended, probabilities = mix(images.clone(), labels)
        return blended, probabilities

    return mixed
