"""What it is trained on."""

from __future__ import annotations

from dataclasses import dataclass

from smoothify.data import FASHION_MNIST, SAMPLE, Augmentation, refuse_unknown_policy
from smoothify.errors import ConfigError
from smoothify.training.config.bounds import at_least


@dataclass(frozen=True)
class DataConfig:
    """What it is trained on.

    Args:
        path: "fashion_mnist_sample" (embedded), "fashion_mnist" (whole, from Debian's package), a local folder, or
            a Hub data set "owner/name".
        train_split: the split that is trained on.
        test_split: the split that the final figures are measured on.
        augmentation: of training images: "none", "flip", "crop" or "imagenet".
        auto_augment: policy of timm's that changes "imagenet" crops further: "v0" (EfficientNet's AutoAugment),
            "original", "3a", "rand-m9-mstd0.5" (RandAugment), "augmix-m3"; none if not given.
        mixup: parameter of the Beta distribution by which two images and their labels are blended; 0 for none.
        cutmix: the same for a patch of one image in another; with both, each batch draws which.
        mix_probability: share of the batches that are mixed at all.
        held_out: training images set aside for the check after every epoch (images).
        workers: processes that prepare batches; 0 prepares them in the training process.
        streaming: read the training split as it comes instead of copying it to this machine first; every process reads
            all of it.
        images: how many images of a stream make an epoch (images); all but the held-out ones, if the data set says how
            many it has.
        buffer: how many rows of a stream are read ahead, to be drawn from at random (rows).

    >>> DataConfig("my_images", augmentation="imagenet", auto_augment="rand-m9-mstd0.5").held_out
    500
    >>> DataConfig(mix_probability=2)
    Traceback (most recent call last):
    smoothify.errors.ConfigError: data.mix_probability=2: it must be in [0, 1]
    """

    path: str = SAMPLE
    train_split: str = "train"
    test_split: str = "test"
    augmentation: Augmentation = "flip"
    auto_augment: str | None = None
    mixup: float = 0.0
    cutmix: float = 0.0
    mix_probability: float = 1.0
    held_out: int = 500
    workers: int = 0
    streaming: bool = False
    images: int | None = None
    buffer: int = 10_000

    def __post_init__(self) -> None:
        if self.auto_augment is not None:
            refuse_unknown_policy(self.auto_augment)
            if self.augmentation != "imagenet":
                raise ConfigError(
                    f"data.auto_augment changes random crops, and data.augmentation={self.augmentation!r} makes none; "
                    "set it to imagenet"
                )
        at_least("data.mixup", self.mixup, 0)
        at_least("data.cutmix", self.cutmix, 0)
        if not 0 <= self.mix_probability <= 1:
            raise ConfigError(f"data.mix_probability={self.mix_probability}: it must be in [0, 1]")
        at_least("data.held_out", self.held_out, 1)
        at_least("data.workers", self.workers, 0)
        at_least("data.buffer", self.buffer, 1)
        if self.images is not None:
            at_least("data.images", self.images, 1)
            if not self.streaming:
                raise ConfigError("data.images is for streams alone; set data.streaming, or leave it out")
        if self.streaming and self.path == FASHION_MNIST:
            raise ConfigError(f"data.streaming: {self.path!r} is on this machine as a whole; leave it off")
