"""timm as a host: how its models are told apart, described, built again, and loaded by timm alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from smoothify.hub.config import NEEDS_SMOOTHIFY, ModelConfig
from smoothify.hub.hosts.timm_build import build, load_through_timm
from smoothify.hub.hosts.timm_description import ACTIVATION_NAMES, describe, example_size

__all__ = [
    "NAME",
    "build",
    "describe",
    "example_size",
    "load_alone",
    "load_through_timm",
    "native_documents",
    "owns",
    "refusing_document",
]
NAME = "timm"


def owns(model: nn.Module) -> bool:
    """Tell whether timm built ``model``: it carries a ``pretrained_cfg`` that names the architecture.

    >>> owns(nn.Linear(2, 1))
    False
    """
    found = getattr(model, "pretrained_cfg", None)
    return isinstance(found, Mapping) and bool(found.get("architecture"))


def native_documents(config: ModelConfig) -> list[dict[str, Any]]:
    """Return what might make timm build the converted model: its one activation as ``act_layer``; see ``Host``."""
    specs = {spec for conversion in config.conversions for spec in conversion["sites"].values()}
    names = {native_name(spec) for spec in specs}
    if len(names) > 1 or "" in names or not _is_timms_own(config.architecture):
        return []
    arguments = {**config.model_args, **({"act_layer": names.pop()} if names else {})}
    document = refusing_document(config)
    return [
        document
        | {"architecture": config.architecture, "model_args": arguments}
        | {"pretrained_cfg": {"architecture": config.architecture, **config.pretrained_cfg}}
    ]


def _is_timms_own(architecture: str) -> bool:
    """Tell whether timm knows an architecture by itself, not because we or the user registered it."""
    from timm.models import model_entrypoint

    return str(model_entrypoint(architecture).__module__).startswith("timm.")


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
        return spec if spec in ACTIVATION_NAMES else ""
    return "gelu_tanh" if spec.startswith("gelu(") and "tanh" in spec else ""
