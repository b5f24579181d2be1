"""Reading off a timm model what is needed to build it again."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from torch import nn

from smoothify.hub.checks import Checks
from smoothify.hub.config import ModelConfig
from smoothify.hub.hosts.timm_build import build
from smoothify.hub.timm_fields import read_model_args, read_pretrained_cfg
from smoothify.surgery.hosts.examples import image_channels

# Names that timm's act_layer and norm_layer arguments take; a class given by the user is stored as its name.
ACTIVATION_NAMES = (
    *("relu", "silu", "gelu", "gelu_tanh", "quick_gelu", "mish", "elu", "celu", "selu", "relu6", "leaky_relu"),
    *("hard_swish", "hard_sigmoid", "hard_mish", "prelu", "sigmoid", "tanh", "identity"),
)
_NORM_NAMES = ("batchnorm2d", "batchnorm", "groupnorm", "layernorm", "layernorm2d", "rmsnorm", "rmsnorm2d")


def describe(model: nn.Module, architecture: str | None, overrides: Mapping[str, Any]) -> ModelConfig:
    """Return the description from which ``build`` makes ``model`` again, as far as it can be read off the
    model.

    ``overrides`` are arguments of ``timm.create_model`` that the model does not remember. Raises ``HubError``
    when an argument cannot stand in a JSON file.
    """
    arguments = dict(getattr(model, "_model_args", {}))  # kept by timm.create_model since 1.0.31
    arguments |= overrides
    current: dict[str, Any] = {"in_chans": image_channels(model), "img_size": _image_size(model)}
    arguments |= {name: value for name, value in current.items() if value is not None}
    num_classes = getattr(model, "num_classes", arguments.get("num_classes"))
    checks = Checks("model_args")
    kept = {
        name: _as_json(name, value, checks)
        for name, value in arguments.items()
        if name != "num_classes" and value is not None and not name.endswith("_cfg_overlay")
    }
    checks.raise_if_any()
    checks = Checks("the model's description")
    stored: Mapping[str, Any] = model.pretrained_cfg  # type: ignore[assignment]  # set by timm
    given = {key: _lists(value) for key, value in stored.items()}
    # What the published weights have, not those that the model once came from.
    given |= {"input_size": list(example_size(model)), "num_classes": num_classes}
    for name in ("label_names", "label_descriptions"):  # of a head that was replaced since
        if name in given and len(given[name]) != num_classes:
            del given[name]
    config = ModelConfig(
        architecture=architecture or str(given["architecture"]),
        num_classes=num_classes,
        model_args=read_model_args(kept, checks, "model_args"),
        pretrained_cfg=read_pretrained_cfg(given, checks),
    )
    checks.raise_if_any()
    pooling = _pooling(model)
    if pooling is not None and pooling != _pooling(build(config, meta=True)):
        config = dataclasses.replace(config, model_args={**config.model_args, "global_pool": pooling})
    return config


def example_size(model: nn.Module) -> tuple[int, int, int]:
    """Return (channels, height, width) of the images that a timm model takes."""
    cfg: Mapping[str, Any] = model.pretrained_cfg  # type: ignore[assignment]  # set by timm
    stored = tuple(cfg.get("input_size") or (3, 224, 224))
    height, width = _image_size(model) or stored[-2:]
    return image_channels(model) or stored[0], height, width


def _image_size(model: nn.Module) -> tuple[int, int] | None:
    traits: Mapping[str, Any] = getattr(model, "_traits", {})
    found = traits.get("img_size") or getattr(model, "_model_args", {}).get("img_size")
    if isinstance(found, int):
        return found, found
    return tuple(found) if found else None


def _pooling(model: nn.Module) -> str | None:
    for owner in (getattr(model, "head", None), model):
        found = getattr(owner, "global_pool", None)
        found = getattr(found, "pool_type", found)
        if isinstance(found, str):
            return found
    return None


def _as_json(name: str, value: object, checks: Checks) -> Any:
    import timm.layers

    if isinstance(value, type) or callable(value):
        for names, lookup in (
            (ACTIVATION_NAMES, timm.layers.get_act_layer),
            (_NORM_NAMES, timm.layers.get_norm_layer),
        ):
            for candidate in names:
                try:
                    if lookup(candidate) is value:
                        return candidate
                except (KeyError, AssertionError):  # an older timm lacks the name
                    continue
        checks.complain(
            f"{name}={value!r}",
            f"cannot stand in config.json; pass model_args={{{name!r}: the name timm knows it by}}",
        )
        return None
    return _lists(value)


def _lists(value: object) -> Any:
    return [_lists(item) for item in value] if isinstance(value, tuple | list) else value
