"""The model that a run starts from: an architecture by name, or a model that was saved or published before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from smoothify.data import Resizing
from smoothify.errors import ConfigError
from smoothify.hub import from_pretrained
from smoothify.hub.timm_fields import INPUT
from smoothify.models import PixelClassifier, build
from smoothify.models.from_torchvision import classes_of_head
from smoothify.models.importing import imported, is_import_path
from smoothify.models.load import is_folder
from smoothify.training.config import ModelConfig

_HUB = "hf-hub:"


def host_of(config: ModelConfig, *, num_classes: int) -> nn.Module:
    """Build or load the host that a config names, with a head for this many classes.

    What the config says of its input is written on it, and so saved with it.

    Raises:
        ConfigError: a saved model that cannot be started from as the config says.
        SmoothifyError: nothing goes by that name, or it cannot be loaded.
    """
    host = _host(config, num_classes)
    given = {name: value for name in INPUT if (value := getattr(config, name)) is not None}
    if given:
        told = dict(getattr(host, "pretrained_cfg", None) or {})
        for name in given:
            told.pop(f"test_{name}", None)  # timm's, of how the network was measured before
        host.pretrained_cfg = told | given  # type: ignore[assignment]  # as timm's models carry it
    return host


def name_classes_(host: nn.Module, classes: Sequence[str]) -> None:
    """Write on a host what its classes are called, as timm and transformers do; labels without names take names away.

    >>> host = nn.Flatten()
    >>> host.pretrained_cfg = {"label_names": ["tench", "goldfish"], "mean": (0.5,)}
    >>> name_classes_(host, ("cat", "dog"))
    >>> host.pretrained_cfg["label_names"]
    ['cat', 'dog']
    """
    named = list(classes) != [str(label) for label in range(len(classes))]
    described = getattr(host, "pretrained_cfg", None)
    if described is not None:
        told = {name: value for name, value in described.items() if name not in ("label_names", "label_descriptions")}
        host.pretrained_cfg = told | ({"label_names": list(classes)} if named else {})  # type: ignore[assignment]
    config = getattr(host, "config", None)
    if config is not None and hasattr(config, "id2label"):
        labels = classes if named else [f"LABEL_{label}" for label in range(len(classes))]  # as transformers says it
        config.id2label, config.label2id = dict(enumerate(labels)), {name: at for at, name in enumerate(labels)}


def sketch(config: ModelConfig) -> nn.Module | None:
    """Build an architecture without its weights, and so before any data is read; a saved model is not one (None).

    Raises:
        SmoothifyError: what `host_of` would raise.
    """
    library, _, _ = config.name.partition("/")
    if config.name.startswith(_HUB) or library == "transformers" or is_folder(config.name):
        return None
    if is_import_path(config.name):  # code that need not run on the meta device
        imported(config.name)
        return None
    with torch.device("meta"):
        return build(config.name, num_classes=2, arguments=config.arguments)


def classifier_of(host: nn.Module, config: ModelConfig) -> PixelClassifier:
    """Put a host behind its normalisation, the config's or its own.

    Raises:
        ConfigError: neither says it.
    """
    if config.mean is not None and config.std is not None:
        return PixelClassifier(host, mean=config.mean, std=config.std)
    described = getattr(host, "pretrained_cfg", None) or {}
    if "mean" not in described or "std" not in described:
        raise ConfigError(
            f"model.name={config.name!r} does not say how its input is normalised; set model.mean and model.std"
        )
    return PixelClassifier.from_host(host)


def resizing_of(host: nn.Module, config: ModelConfig) -> Resizing:
    """Say how pictures that are measured on are fitted to the input: as the config says, else as the host does."""
    given = {name: getattr(config, name) for name in ("crop_pct", "crop_mode", "interpolation")}
    return replace(Resizing.from_host(host), **{name: value for name, value in given.items() if value is not None})


def _host(config: ModelConfig, num_classes: int) -> nn.Module:
    if config.name.startswith(_HUB):
        return _saved(config, config.name.removeprefix(_HUB), num_classes)
    if is_folder(config.name):
        folder = Path(config.name).expanduser()
        best = folder / "best"
        return _saved(config, best if best.is_dir() else folder, num_classes)
    if config.architecture is not None:
        raise ConfigError("model.architecture is for a saved model; name your own code as model.name itself")
    return build(config.name, num_classes=num_classes, pretrained=config.pretrained, arguments=config.arguments)


def _saved(config: ModelConfig, source: str | Path, num_classes: int) -> nn.Module:
    if config.arguments or not config.pretrained:
        raise ConfigError(
            f"model.name={config.name!r} is a saved model, started from as it is: "
            "set model.pretrained to true and leave model.arguments out"
        )
    host = from_pretrained(source, architecture=config.architecture).float()  # mixed precision is the engine's
    if _classes(host) != num_classes:
        reset = getattr(host, "reset_classifier", None)  # timm's
        if reset is None:
            raise ConfigError(
                f"model.name={config.name!r} tells {_classes(host)} classes apart, the data has {num_classes}; "
                "only timm's models can be given another head"
            )
        reset(num_classes)
    return host.train()


def _classes(host: nn.Module) -> int | None:
    told = getattr(host, "num_classes", None) or getattr(getattr(host, "config", None), "num_labels", None)
    return classes_of_head(host) if told is None else int(told)
