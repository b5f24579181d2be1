"""From pretrained weights to smooth activations without a shock: batch norms estimated anew, sharpness that falls."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

from accelerate import Accelerator
from torch import nn

from smoothify.activations import anneal_, create, describe, geometric, is_smooth, parse, sharpness
from smoothify.activations.nested import with_slots
from smoothify.activations.sharpness import NEARLY_RELU
from smoothify.errors import ConfigError, UnsupportedModelError
from smoothify.surgery import Report, convert_, inspect, recalibrate_batch_norm_
from smoothify.surgery.recalibrate import batch_norms_of
from smoothify.surgery.rules.base import known_function
from smoothify.training.config import ModelConfig
from smoothify.training.steps.batches import Batch

ENOUGH = 200  # batches that batch-norm statistics are estimated from


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


def convert_as_configured_(host: nn.Module, config: ModelConfig) -> Report:
    """Convert a run's host in place; refuse one that could then not be annealed or recalibrated.

    Raises:
        SmoothifyError: what `convert_` raises.
        ConfigError: nothing is, or becomes, the activation; what is to be annealed is smooth already; or there is no
            batch norm to recalibrate.
    """
    smooth = _with_sharpness(host)
    if config.anneal and smooth:
        raise ConfigError(
            f"model.anneal would begin by making {smooth[0]}, which model.name={config.name!r} has already, nearly "
            "ReLU again; leave it out"
        )
    if config.activation == "keep":
        report = inspect(host)
    else:
        report = convert_(host, to=config.activation, strict=is_smooth(config.activation))
        found = {site.function for site in report.sites}
        if not report.converted and not {config.activation, describe(create(config.activation))} & found:
            raise ConfigError(
                f"model.activation={config.activation!r}: model.name={config.name!r} has nothing that becomes it, but "
                f"{' and '.join(sorted(found)) or 'no activation'}; set model.activation to keep"
            )
    if config.recalibrate:
        try:
            batch_norms_of(host)
        except UnsupportedModelError as error:
            raise ConfigError(f"model.recalibrate: {error}; leave it out") from error
    return report


def activations_of(report: Report) -> tuple[str, ...]:
    """Name what the activations are that a report tells of, the most frequent first; gates are left out.

    >>> layers = nn.Linear(4, 4), nn.SiLU(), nn.Linear(4, 4), nn.SiLU(), nn.ReLU(), nn.Sigmoid()
    >>> activations_of(convert_(nn.Sequential(*layers), to="elu"))
    ('silu', 'elu')
    """
    found = Counter(site.becomes or site.function for site in report.sites)
    return tuple(name for name, _ in found.most_common() if not known_function(name.partition("(")[0]).gate)


def recalibrate(model: nn.Module, steps: Iterable[Sequence[Batch]], accelerator: Accelerator) -> int:
    """Estimate the statistics of a classifier's batch norms on the images of some steps, 200 at most; return how many.

    They come to the mean of what the processes find, each on its own share.
    """
    count = recalibrate_batch_norm_(model, (piece.images for pieces in islice(steps, ENOUGH) for piece in pieces))
    for norm in batch_norms_of(model):
        for statistics in (norm.running_mean, norm.running_var):
            statistics.copy_(accelerator.reduce(statistics, reduction="mean"))
    return count


def _with_sharpness(model: nn.Module) -> list[str | None]:
    return [describe(module) for module in with_slots(model) if sharpness(module) is not None]
