"""timm as a host: describing a model so that timm can build it again, and building it within bounds."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import nn

from smoothify.errors import HubError, nearest, suggestion
from smoothify.hub.bounds import bounded_construction
from smoothify.hub.checks import Checks, brief
from smoothify.hub.config import NEEDS_SMOOTHIFY, ModelConfig
from smoothify.hub.timm_fields import read_model_args, read_pretrained_cfg
from smoothify.models.architectures import is_ours, register

NAME = "timm"
# Names that timm's act_layer and norm_layer arguments take; a class given by the user is stored as its name.
_ACTIVATION_NAMES = (
    *(
        "relu",
        "silu",
        "gelu",
        "gelu_tanh",
        "quick_gelu",
        "mish",
        "elu",
        "celu",
        "selu",
        "relu6",
        "leaky_relu",
    ),
    *("hard_swish", "hard_sigmoid", "hard_mish", "prelu", "sigmoid", "tanh", "identity"),
)
_NORM_NAMES = ("batchnorm2d", "batchnorm", "groupnorm", "layernorm", "layernorm2d", "rmsnorm", "rmsnorm2d")


def owns(model: nn.Module) -> bool:
    """Tell whether timm built ``model``: it carries a ``pretrained_cfg`` that names the architecture.

    >>> owns(nn.Linear(2, 1))
    False
    """
    found = getattr(model, "pretrained_cfg", None)
    return isinstance(found, Mapping) and bool(found.get("architecture"))


def describe(model: nn.Module, architecture: str | None, overrides: Mapping[str, Any]) -> ModelConfig:
    """Return the description from which ``build`` makes ``model`` again, as far as it can be read off the
    model.

    ``overrides`` are arguments of ``timm.create_model`` that the model does not remember. Raises ``HubError``
    when an argument cannot stand in a JSON file.
    """
    arguments = dict(getattr(model, "_model_args", {}))  # kept by timm.create_model since 1.0.30
    arguments |= overrides
    current: dict[str, Any] = {"in_chans": _channels(model), "img_size": _image_size(model)}
    arguments |= {name: value for name, value in current.items() if value is not None}
    num_classes = getattr(model, "num_classes", arguments.get("num_classes"))
    checks = Checks("model_args")
    kept = {
        name: _as_json(name, value, checks)
        for name, value in arguments.items()
        if name != "num_classes" and value is not None and not name.endswith(("drop_rate", "_cfg_overlay"))
    }
    checks.raise_if_any()
    checks = Checks("the model's description")
    stored: Mapping[str, Any] = model.pretrained_cfg  # type: ignore[assignment]  # set by timm
    given = {key: _lists(value) for key, value in stored.items()}
    # What the published weights have, not those that the model once came from.
    given |= {"input_size": list(example_size(model)), "num_classes": num_classes}
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


def build(config: ModelConfig, *, meta: bool = False, source: str = "config.json") -> nn.Module:
    """Build the timm model that ``config`` describes, with random weights and the caller's random state
    untouched.

    ``meta`` builds it on the meta device: no memory, only names and shapes. Raises ``HubError`` for an
    architecture that timm does not know, arguments that it refuses, and sizes beyond the bounds of this
    module.
    """
    import timm

    register()
    if not config.architecture.isidentifier() or not timm.is_model(config.architecture):
        raise HubError(
            f"{source}: timm {timm.__version__} has no architecture {brief(config.architecture)}"
            f"{suggestion(nearest(config.architecture, timm.list_models()))}"
        )
    with bounded_construction(source), torch.device("meta") if meta else nullcontext():
        try:
            model = timm.create_model(**_creation(config))
        except HubError:
            raise
        except Exception as error:  # a stranger's arguments can make a constructor raise anything
            raise HubError(
                f"{source}: timm cannot build {config.architecture} from these model_args "
                f"({type(error).__name__}: {str(error)[:300]})"
            ) from error
    if not isinstance(model, nn.Module):
        raise HubError(f"{source}: {config.architecture} does not build a torch module")
    return model


def load_through_timm(config: ModelConfig, weights: Path, source: str) -> nn.Module:
    """Build a foreign timm model and let timm translate its weights, whose names are those of another
    library.

    ``weights`` must have been read as safetensors, and ``config`` built on the meta device, before.
    """
    import timm

    creation = _creation(config)
    creation["pretrained_cfg"] |= {"file": str(weights), "custom_load": False}
    with bounded_construction(source):
        try:
            model: nn.Module = timm.create_model(pretrained=True, **creation)
        except Exception as error:
            raise HubError(f"{source}: its weights do not fit {config.architecture} ({str(error)[:500]})") from error
    model.pretrained_cfg.pop("file", None)  # type: ignore[union-attr, operator]  # set by timm
    return model


def _creation(config: ModelConfig) -> dict[str, Any]:
    from timm.models import PretrainedCfg

    known = {entry.name for entry in dataclasses.fields(PretrainedCfg)}
    cfg = {name: value for name, value in config.pretrained_cfg.items() if name in known}
    # timm takes these two as what the weights have, and adapts heads and stems silently where they differ.
    if config.num_classes is not None:
        cfg["num_classes"] = config.num_classes
    if isinstance(config.model_args.get("in_chans"), int) and "input_size" in cfg:
        cfg["input_size"] = (config.model_args["in_chans"], *cfg["input_size"][1:])
    return {
        "model_name": config.architecture,
        "pretrained_cfg": {"architecture": config.architecture, **cfg},
        "num_classes": config.num_classes,
        **config.model_args,
    }


def example_size(model: nn.Module) -> tuple[int, int, int]:
    """Return (channels, height, width) of the images that a timm model takes."""
    cfg: Mapping[str, Any] = model.pretrained_cfg  # type: ignore[assignment]  # set by timm
    stored = tuple(cfg.get("input_size") or (3, 224, 224))
    height, width = _image_size(model) or stored[-2:]
    return _channels(model) or stored[0], height, width


def native_documents(config: ModelConfig) -> list[dict[str, Any]]:
    """Return what might make timm build the converted model: its one activation as ``act_layer``; see ``Host``."""
    specs = {spec for conversion in config.conversions for spec in conversion["sites"].values()}
    names = {native_name(spec) for spec in specs}
    if len(names) > 1 or "" in names or is_ours(config.architecture):  # timm alone does not know ours
        return []
    arguments = {**config.model_args, **({"act_layer": names.pop()} if names else {})}
    document = refusing_document(config)
    return [
        document
        | {"architecture": config.architecture, "model_args": arguments}
        | {"pretrained_cfg": {"architecture": config.architecture, **config.pretrained_cfg}}
    ]


def refusing_document(config: ModelConfig) -> dict[str, Any]:
    """Return a config.json content with an architecture that timm does not have."""
    return {
        "architecture": NEEDS_SMOOTHIFY + config.architecture,
        "num_classes": config.num_classes,
        "pretrained_cfg": dict(config.pretrained_cfg),
    }


def load_alone(folder: Path) -> nn.Module:
    """Load a saved folder by timm alone, by the code that reads ``hf-hub:`` repositories."""
    import timm

    model: nn.Module = timm.create_model(f"local-dir:{folder}", pretrained=True)
    return model


def native_name(spec: str) -> str:
    """Return what timm's ``act_layer`` might call a spec of our catalogue; the exporter then compares
    outputs.

    >>> native_name("gelu(approximate='tanh')"), native_name("celu(alpha=1.4)"), native_name("silu")
    ('gelu_tanh', '', 'silu')
    """
    if "(" not in spec:
        return spec if spec in _ACTIVATION_NAMES else ""
    return "gelu_tanh" if spec.startswith("gelu(") and "tanh" in spec else ""


def _channels(model: nn.Module) -> int | None:
    found = getattr(model, "in_chans", None)
    if isinstance(found, int):
        return found
    first = model.pretrained_cfg.get("first_conv")  # type: ignore[union-attr, operator]  # set by timm
    name = first[0] if isinstance(first, list | tuple) and first else first
    layer = dict(model.named_modules()).get(name) if isinstance(name, str) else None
    return layer.in_channels if isinstance(layer, nn.Conv2d) else None


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
            (_ACTIVATION_NAMES, timm.layers.get_act_layer),
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
