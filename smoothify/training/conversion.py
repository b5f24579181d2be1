"""From pretrained weights to smooth activations without a shock: batch norms estimated anew, sharpness that falls."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torch import nn

from smoothify.activations import anneal_, geometric, parse
from smoothify.surgery import recalibrate_batch_norm_
from smoothify.training.batches import Batch
from smoothify.training.config import ModelConfig

NEARLY_RELU = 1000.0  # the sharpness that annealing starts from: within 0.0007 of ReLU for softplus, 0.0003 for swish


@dataclass(frozen=True)
class Annealing:
    """How sharp the activations are at each step: nearly ReLU at first, then, geometrically, as they are to end.

    Args:
        epochs: how long it takes; 0 for activations that are from the first step what they are at the end.
        end: the sharpness at the end; None for activations that have none.

    >>> annealing = Annealing(epochs=2, end=10.0)
    >>> [annealing.sharpness(share) for share in (0, 1, 2, 3)]
    [1000.0, 100.0, 10.0, 10.0]
    """

    epochs: float = 0.0
    end: float | None = None

    @classmethod
    def of(cls, config: ModelConfig) -> Annealing:
        """Read it from a config."""
        if not config.anneal:
            return cls()
        entry, parameters = parse(config.activation)
        assert entry.sharpness is not None
        return cls(config.anneal, float({**entry.defaults, **parameters}[entry.sharpness]))

    @property
    def unfinished_epochs(self) -> int:
        """After how many epochs the activations are not yet what they are to be."""
        return math.ceil(self.epochs) - 1 if self.epochs else 0

    def sharpness(self, epochs: float) -> float:
        """Return the sharpness after so many epochs."""
        assert self.end is not None
        return geometric(epochs / self.epochs, start=NEARLY_RELU, end=self.end)

    def apply(self, epochs: float, models: Iterable[nn.Module]) -> None:
        """Set the sharpness of all sites of some models, after so many epochs; one that does not anneal is left."""
        if self.end is not None and epochs <= self.epochs + 1:
            for model in models:
                anneal_(model, self.sharpness(epochs))


def recalibrate(model: nn.Module, steps: Iterable[Sequence[Batch]]) -> int:
    """Estimate the statistics of a classifier's batch norms on the images of an epoch's steps; return how many."""

    return recalibrate_batch_norm_(model, (piece.images for pieces in steps for piece in pieces))
