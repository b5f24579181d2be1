"""Classifiers of torchvision, with the normalisation and the image size of their published weights."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from torch import nn

from smoothify.errors import UnknownNameError
from smoothify.models.constructing import construct

_BUILT_AS = "_smoothify_built_as"


def build_torchvision(name: str, pretrained: bool, arguments: dict[str, Any]) -> nn.Module:
    """Build a classifier by its registered name; a head for other classes than the weights' starts anew."""
    import torchvision

    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        raise UnknownNameError("torchvision architecture", name, known)
    published = torchvision.models.get_model_weights(name).DEFAULT
    model = _with_weights(name, published, arguments) if pretrained else _untrained(name, arguments)
    seen = published.transforms()
    model.pretrained_cfg = {  # type: ignore[assignment]  # described as timm describes its own
        "mean": tuple(seen.mean),
        "std": tuple(seen.std),
        "input_size": (3, *(2 * tuple(seen.crop_size))[:2]),
        "crop_pct": seen.crop_size[0] / seen.resize_size[0],
        "interpolation": seen.interpolation.value,
    }
    remember(model, name, arguments)
    return model


def remember(model: nn.Module, name: str, arguments: Mapping[str, Any]) -> None:
    """Have a classifier know by what name and arguments it was built, so that it can be saved; torchvision's do not."""
    own = {key: value for key, value in arguments.items() if key != "num_classes"}  # which its head tells
    setattr(model, _BUILT_AS, (name, own))


def remembered(model: nn.Module) -> tuple[str | None, dict[str, Any]]:
    """Return the name and the arguments that a classifier was built by, (None, {}) if it does not know them.

    >>> remembered(nn.Flatten())
    (None, {})
    """
    name, arguments = getattr(model, _BUILT_AS, (None, {}))
    return name, dict(arguments)


def classes_of_head(model: nn.Module) -> int | None:
    """How many classes the last linear or convolutional layer tells apart; None where a model has neither.

    >>> classes_of_head(nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3)))
    3
    """
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
    if not layers:
        return None
    return layers[-1].out_features if isinstance(layers[-1], nn.Linear) else layers[-1].out_channels


def _with_weights(name: str, published: Any, arguments: Mapping[str, Any]) -> nn.Module:
    """Have torchvision load its weights, as it knows how: old keys renamed, GoogLeNet's input transformed.

    Where classes differ, whatever depends on their number is that of an untrained model.
    """
    from torchvision.models import get_model

    own = {key: value for key, value in arguments.items() if key != "num_classes"}
    model = construct(get_model, name, own, weights=published)
    if arguments.get("num_classes") in (None, len(published.meta["categories"])):
        return model
    untrained = _untrained(name, arguments)
    shapes = {key: value.shape for key, value in untrained.state_dict().items()}
    heads = {key.rpartition(".")[0] for key, value in model.state_dict().items() if value.shape != shapes[key]}
    for head in heads:
        model.set_submodule(head, untrained.get_submodule(head))
    if hasattr(model, "num_classes"):
        model.num_classes = untrained.num_classes
    return model


def _untrained(name: str, arguments: Mapping[str, Any]) -> nn.Module:
    from torchvision.models import get_model

    with warnings.catch_warnings():  # of what torchvision is going to change in its initial weights
        warnings.simplefilter("ignore", FutureWarning)
        return construct(get_model, name, arguments, weights=None)
