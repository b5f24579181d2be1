"""Building a timm model from a checked config: within bounds, with the caller's random state untouched."""

from __future__ import annotations

import dataclasses
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import nn

from smoothify.errors import HubError, nearest, suggestion
from smoothify.hub.checks import brief, printable
from smoothify.hub.config import ModelConfig
from smoothify.hub.hosts.bounds import bounded_construction
from smoothify.models.architectures import register


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
            f"{suggestion(nearest(config.architecture, timm.list_models()))} "
            "(if code of yours registers it, import that first)"
        )
    with bounded_construction(source), torch.device("meta") if meta else nullcontext():
        try:
            model = timm.create_model(**_creation(config))
        except HubError:
            raise
        except Exception as error:  # a stranger's arguments can make a constructor raise anything
            raise HubError(
                f"{source}: timm cannot build {config.architecture} from these model_args "
                f"({type(error).__name__}: {printable(error)[:300]})"
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
            raise HubError(
                f"{source}: its weights do not fit {config.architecture} ({printable(error)[:500]})"
            ) from error
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
