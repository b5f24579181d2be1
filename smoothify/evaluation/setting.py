"""On what a saved model is measured: what it was trained with, where nothing else is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import yaml
from torch import nn

from smoothify.attacks import ThreatModel
from smoothify.data import Images, Resizing, Source
from smoothify.errors import ConfigError
from smoothify.hub import from_pretrained, read_file
from smoothify.models import PixelClassifier, input_size


@dataclass(frozen=True)
class Setting:
    """Data, threat model and input of a measurement.

    Args:
        data: the data set's path.
        split: which part of it.
        threat: norm and epsilon.
        size: (channels, height, width) that the model was trained on; None where its host says so.
        resizing: what of `Resizing` the training named; the rest is the host's.
        mean: per channel, of the normalisation; None where the host says so.
        std: likewise.
    """

    data: str
    split: str
    threat: ThreatModel
    size: tuple[int, int, int] | None = None
    resizing: Mapping[str, Any] = field(default_factory=dict)
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    @classmethod
    def of(
        cls,
        model: str,
        *,
        data: str | None = None,
        split: str | None = None,
        norm: str | None = None,
        epsilon: float | str | None = None,
    ) -> Self:
        """Read ``training.yaml`` beside a saved model; what is given here goes before it.

        Args:
            model: a folder, or a Hub repository ``"owner/name"``.
            data: the data set's path.
            split: which part of it; ``"test"`` if nothing says.
            norm: ``"linf"`` or ``"l2"``.
            epsilon: in [0, 1] pixel units.

        Raises:
            ConfigError: nothing says on what to measure, or an epsilon outside its range.
        """
        stored = read_file(model, "training.yaml")
        trained = _mapping(yaml.safe_load(stored)) if stored is not None else {}
        described, attacked, built = (_mapping(trained.get(name)) for name in ("data", "attack", "model"))
        found: Mapping[str, Any] = {
            "data": described.get("path") if data is None else data,
            "norm": attacked.get("norm") if norm is None else norm,
            "epsilon": attacked.get("epsilon") if epsilon is None else epsilon,
        }
        missing = [f"--{name}" for name, value in found.items() if value is None]
        if missing:
            raise ConfigError(f"{model} does not say what it was trained with; give {', '.join(missing)}")
        size, mean, std = (built.get(name) for name in ("input_size", "mean", "std"))
        return cls(
            str(found["data"]),
            described.get("test_split", "test") if split is None else split,
            ThreatModel(found["norm"], found["epsilon"]),
            (size[0], size[1], size[2]) if size else None,
            {name: built[name] for name in Resizing.__dataclass_fields__ if built.get(name) is not None},
            tuple(mean) if mean else None,
            tuple(std) if std else None,
        )

    def classifier(self, host: nn.Module) -> PixelClassifier:
        """Return the host behind its normalisation, in eval mode."""
        if self.mean is None or self.std is None:
            return PixelClassifier.from_host(host).eval()
        return PixelClassifier(host, mean=self.mean, std=self.std).eval()

    def second(
        self, model: str, option: str, size: tuple[int, int, int], architecture: str | None = None
    ) -> PixelClassifier:
        """Load another saved model, which must take the first one's images, behind its own normalisation.

        Args:
            model: a folder, or a Hub repository ``"owner/name"``.
            option: what asked for it, for an error.
            size: (channels, height, width) of the first model's images.
            architecture: your own code, if that built it.

        Raises:
            ConfigError: it takes images of another shape.
        """
        host = from_pretrained(model, architecture=architecture)
        own = Setting.of(model, data=self.data, norm=self.threat.norm, epsilon=self.threat.radius)
        if own.input_size(host) != size:
            raise ConfigError(
                f"{option} {model} takes images of shape {own.input_size(host)}, the first model {size}; "
                "give one that takes the same images"
            )
        return own.classifier(host).float()

    def input_size(self, host: nn.Module) -> tuple[int, int, int]:
        """Return what the model takes: (channels, height, width)."""
        return self.size or input_size(host)

    def images(self, host: nn.Module, source: Source, rows: Sequence[int]) -> Images:
        """Return rows of a data set as the model takes them."""
        resizing = replace(Resizing.from_host(host), **self.resizing)
        return Images(source, input_size=self.input_size(host), resizing=resizing, indices=rows)


def called(model: str) -> str:
    """Return what a published number calls a saved model: of a folder, its name and the run's; no card tells where.

    >>> called("/data/anna/runs/relu/best"), called("me/relu")
    ('relu/best', 'me/relu')
    """
    return "/".join([part for part in Path(model).parts if part not in ("/", "..")][-2:])


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
