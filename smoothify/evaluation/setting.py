"""On what a saved model is measured: what it was trained with, where nothing else is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import torch
from torch import nn

from smoothify.attacks import ThreatModel
from smoothify.attacks.norms import NORMS
from smoothify.data import Images, Resizing, Source
from smoothify.errors import ConfigError, HubError, SmoothifyError
from smoothify.hub import from_pretrained, read_file
from smoothify.hub.checks import printable
from smoothify.hub.training_file import TRAINING, read_training, trained_on
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
        seen: whether the model was trained on these images, as far as its ``training.yaml`` says.
    """

    data: str
    split: str
    threat: ThreatModel
    size: tuple[int, int, int] | None = None
    resizing: Mapping[str, Any] = field(default_factory=dict)
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    seen: bool = False

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
            ConfigError: nothing says on what to measure; an epsilon outside its range; or another norm than that of
                the training, without an epsilon.
            HubError: ``training.yaml`` is no plain YAML, or says something that cannot be.
        """
        stored = read_file(model, TRAINING)
        asked = {"data": data, "split": split, "norm": norm, "epsilon": epsilon}
        found: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
        seen_in: object = None  # which data set; its author's own has no name
        if stored is not None:
            alone = norm is not None and epsilon is None  # then it must be the one that the epsilon is of
            given = [name for name in found if not (name == "norm" and alone)]
            trained = read_training(stored, f"{model}/training.yaml", without=given)
            seen_in = trained_on(stored, f"{model}/training.yaml")
            if norm in NORMS and trained.get("norm", norm) != norm:
                raise ConfigError(
                    f"--norm {norm}: {model} was trained under {trained['norm']}, and an epsilon of one norm says "
                    "nothing in another; give --epsilon, too"
                )
            found = {**trained, **found}
        missing = [f"--{name}" for name in ("data", "norm", "epsilon") if name not in found]
        if missing == ["--data"] and stored is not None:
            raise ConfigError(f"{model} was trained on data of its author's own, which it does not name; give --data")
        if missing:
            raise ConfigError(f"{model} does not say what it was trained with; give {', '.join(missing)}")
        split = found.get("split", "test")
        return cls(
            str(found["data"]),
            split,
            ThreatModel(found["norm"], found["epsilon"]),
            found.get("input_size"),
            {name: found[name] for name in Resizing.__dataclass_fields__ if name in found},
            found.get("mean"),
            found.get("std"),
            seen=found.get("train_split") == split and seen_in in (None, found["data"]),
        )

    def classifier(self, host: nn.Module) -> PixelClassifier:
        """Return the host behind its normalisation, in eval mode and float32.

        Raises:
            HubError: it does not take images of the size that its ``training.yaml`` says.
        """
        if self.mean is None or self.std is None:
            classifier = PixelClassifier.from_host(host)
        else:
            classifier = PixelClassifier(host, mean=self.mean, std=self.std)
        self._refuse_misfit(classifier.eval().float())
        return classifier

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
            HubError: it does not take what its ``training.yaml`` says.
        """
        host = from_pretrained(model, architecture=architecture)
        own = Setting.of(model, data=self.data, norm=self.threat.norm, epsilon=self.threat.radius)
        if own.input_size(host) != size:
            raise ConfigError(
                f"{option} {model} takes images of shape {own.input_size(host)}, the first model {size}; "
                "give one that takes the same images"
            )
        return own.classifier(host)

    def input_size(self, host: nn.Module) -> tuple[int, int, int]:
        """Return what the model takes: (channels, height, width)."""
        return self.size or input_size(host)

    def images(self, host: nn.Module, source: Source, rows: Sequence[int]) -> Images:
        """Return rows of a data set as the model takes them."""
        resizing = replace(Resizing.from_host(host), **self.resizing)
        return Images(source, input_size=self.input_size(host), resizing=resizing, indices=rows)

    def _refuse_misfit(self, classifier: PixelClassifier) -> None:
        """Run the model once on an image of the size that its ``training.yaml`` says, if that says one."""
        if self.size is None:
            return
        try:
            with torch.no_grad():
                classifier(torch.zeros(1, *self.size, device=classifier.mean.device))
        except SmoothifyError:
            raise
        except Exception as error:  # every library refuses an image in its own way
            reason = printable(" ".join(str(error).split())[:200])
            raise HubError(
                f"training.yaml: model.input_size is {list(self.size)}, which the model does not take ({reason}); "
                "correct it there"
            ) from error


def called(model: str) -> str:
    """Return what a published number calls a saved model: of a folder, its name and the run's; no card tells where.

    A folder that is there is called by its full path's end, however it was written: ``"."``, ``"../relu"``.

    >>> called("/data/anna/runs/relu/best"), called("me/relu")
    ('relu/best', 'me/relu')
    """
    path = Path(model).resolve() if Path(model).is_dir() else Path(model)
    return "/".join([part for part in path.parts if part not in (path.anchor, "..")][-2:])
