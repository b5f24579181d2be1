"""Which average of the weights is measured and saved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from smoothify.errors import ConfigError
from smoothify.training.config.bounds import at_least, refuse_unread


@dataclass(frozen=True)
class AveragingConfig:
    """Which average of the weights is measured and saved; training itself goes on from the weights as they are.

    Args:
        kind: "none"; "ema", an exponential moving average over steps; "swa", the mean of the weights after each epoch
            from ``start`` on (stochastic weight averaging).
        decay: of "ema", in (0, 1); it rises to this as training goes on.
        start: the first epoch, counted from 1, whose weights "swa" averages.
        batch_norm_images: attacked training images from which "swa" measures its batch statistics anew (images).

    >>> AveragingConfig("ema", decay=1)
    Traceback (most recent call last):
    smoothify.errors.ConfigError: averaging.decay=1: it must be in (0, 1)
    """

    kind: Literal["none", "ema", "swa"] = "none"
    decay: float = 0.999
    start: int = 1
    batch_norm_images: int = 10_000

    def __post_init__(self) -> None:
        if not 0 < self.decay < 1:
            raise ConfigError(f"averaging.decay={self.decay}: it must be in (0, 1)")
        at_least("averaging.start", self.start, 1)
        at_least("averaging.batch_norm_images", self.batch_norm_images, 1)
        refuse_unread(self, "averaging", "kind", "ema", ["decay"])
        refuse_unread(self, "averaging", "kind", "swa", ["start"])
