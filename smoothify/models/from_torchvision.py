"""Classifiers of torchvision, with the normalisation and the image size of their published weights."""

from __future__ import annotations

from typing import Any

from torch import nn

from smoothify.errors import ConfigError, UnknownNameError
from smoothify.models.constructing import construct


def build_torchvision(name: str, pretrained: bool, arguments: dict[str, Any]) -> nn.Module:
    """Build a classifier by its registered name; a head for other classes than the weights' starts anew."""
    import torchvision

    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        raise UnknownNameError("torchvision architecture", name, known)
    published = torchvision.models.get_model_weights(name).DEFAULT
    model = construct(torchvision.models.get_model, name, arguments, weights=None)
    if pretrained:
        _load_all_but_the_head(model, published.get_state_dict(check_hash=True), name)
    seen = published.transforms()
    model.pretrained_cfg = {  # type: ignore[assignment]  # described as timm describes its own
        "mean": tuple(seen.mean),
        "std": tuple(seen.std),
        "input_size": (3, *(2 * tuple(seen.crop_size))[:2]),
        "crop_pct": seen.crop_size[0] / seen.resize_size[0],
        "interpolation": seen.interpolation.value,
    }
    return model


def _load_all_but_the_head(model: nn.Module, weights: dict[str, Any], name: str) -> None:
    shapes = {key: value.shape for key, value in model.state_dict().items()}
    fitting = {key: value for key, value in weights.items() if value.shape == shapes.get(key)}
    differing = {key.rpartition(".")[0] for key in shapes.keys() - fitting.keys()}
    if len(differing) > 1:
        raise ConfigError(
            f"architecture 'torchvision/{name}': its published weights do not fit {sorted(differing)}; "
            "drop model.arguments or set model.pretrained to false"
        )
    model.load_state_dict(fitting, strict=False)
