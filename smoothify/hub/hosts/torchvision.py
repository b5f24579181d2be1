"""torchvision as a host: its classifiers by their registered name; nothing but smoothify loads them from the Hub."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import nn

from smoothify.errors import HubError, nearest, suggestion
from smoothify.hub.checks import Checks, brief, printable
from smoothify.hub.config import NEEDS_SMOOTHIFY, ModelConfig
from smoothify.hub.hosts.bounds import bounded_construction
from smoothify.hub.timm_fields import read_input_of, read_model_args
from smoothify.models.from_torchvision import classes_of_head, remember, remembered

NAME = "torchvision"
_REFUSED = ("weights", "weights_backbone", "progress", "backbone")


def owns(model: nn.Module) -> bool:
    """Tell whether torchvision's own code defines the class of ``model``.

    >>> owns(nn.Linear(2, 1))
    False
    """
    return any(kind.__module__.startswith("torchvision.models.") for kind in type(model).__mro__)


def describe(model: nn.Module, architecture: str | None, overrides: Mapping[str, Any]) -> ModelConfig:
    """Return the description of a classifier whose registered name is ``architecture``.

    Only what smoothify has built or loaded remembers its name, and the arguments that go with it.
    """
    name, arguments = remembered(model)
    architecture = architecture or name
    if architecture is None:
        raise HubError(
            f'{type(model).__name__}: torchvision models do not remember their name; pass architecture="resnet18" '
            f"or whatever it was built as"
        )
    checks = Checks("model_args")
    overrides = {**(arguments if architecture == name else {}), **overrides}
    given = {name: list(value) if isinstance(value, tuple) else value for name, value in overrides.items()}
    model_args = read_model_args(given, checks, "model_args")
    pretrained_cfg = read_input_of(model, checks)
    checks.raise_if_any()
    for name in ("transform_input", "aux_logits"):  # of GoogLeNet and Inception; their published weights change both
        if hasattr(model, name):
            model_args.setdefault(name, getattr(model, name))
    num_classes = model_args.pop("num_classes", classes_of_head(model))
    return ModelConfig(architecture, NAME, num_classes, model_args, pretrained_cfg)


def build(config: ModelConfig, *, meta: bool = False, source: str = "config.json") -> nn.Module:
    """Build the classifier with random weights, within bounds; see ``Host.build``."""
    import torchvision

    known = torchvision.models.list_models(module=torchvision.models)
    if config.architecture not in known:
        raise HubError(
            f"{source}: torchvision {torchvision.__version__} has no classifier {brief(config.architecture)}"
            f"{suggestion(nearest(config.architecture, known))}"
        )
    refused = sorted(set(_REFUSED) & set(config.model_args))
    if refused:
        raise HubError(f"{source}: model_args may not hold {', '.join(refused)}")
    with bounded_construction(source), torch.device("meta") if meta else nullcontext():
        try:
            model: nn.Module = torchvision.models.get_model(
                config.architecture, weights=None, num_classes=config.num_classes, **config.model_args
            )
        except HubError:
            raise
        except Exception as error:  # a stranger's arguments can make a constructor raise anything
            raise HubError(
                f"{source}: torchvision cannot build {config.architecture} from these model_args "
                f"({type(error).__name__}: {printable(error)[:300]})"
            ) from error
    remember(model, config.architecture, config.model_args)
    if config.pretrained_cfg:
        model.pretrained_cfg = dict(config.pretrained_cfg)  # type: ignore[assignment]  # as timm describes its own
    return model


def example_size(model: nn.Module) -> tuple[int, int, int]:
    """Return (channels, height, width) of images that the classifier takes: its fixed size, or 224 pixels."""
    first = next((layer for layer in model.modules() if isinstance(layer, nn.Conv2d)), None)
    size = getattr(model, "image_size", 224)
    return (first.in_channels if first else 3), int(size), int(size)


def native_documents(config: ModelConfig) -> list[dict[str, Any]]:
    """torchvision loads nothing from the Hub."""
    return []


def refusing_document(config: ModelConfig) -> dict[str, Any]:
    """timm has models of the same names and even the same keys: it must not take this for one of them."""
    return {
        "architecture": NEEDS_SMOOTHIFY + config.architecture,
        "num_classes": config.num_classes,
        "pretrained_cfg": dict(config.pretrained_cfg),
    }


def load_alone(folder: Path) -> nn.Module:
    """torchvision loads nothing from the Hub."""
    raise HubError(f"{folder}: torchvision loads nothing from the Hub")
