"""The libraries whose models can be published, each a module that meets one protocol."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from smoothify.errors import UnsupportedModelError
from smoothify.hub.config import HOST_NAMES, ModelConfig
from smoothify.hub.hosts import timm, torchvision, transformers, user
from smoothify.models.pixel import PixelClassifier


class Host(Protocol):
    """How a library's models are described, built again, and loaded by the library itself."""

    NAME: str

    def owns(self, model: nn.Module) -> bool:
        """Tell whether the library built ``model``."""

    def describe(self, model: nn.Module, architecture: str | None, overrides: Mapping[str, Any]) -> ModelConfig:
        """Return what ``build`` needs to make ``model`` again; ``overrides`` are what the model does not remember."""

    def build(self, config: ModelConfig, *, meta: bool = False, source: str = "config.json") -> nn.Module:
        """Build what ``config`` describes, before any conversion, within bounds; ``meta`` takes no memory."""

    def example_size(self, model: nn.Module) -> tuple[int, int, int]:
        """Return (channels, height, width) of the images that ``model`` takes."""

    def native_documents(self, config: ModelConfig) -> list[dict[str, Any]]:
        """Return the config.json contents from which the library might build the converted model by itself."""

    def refusing_document(self, config: ModelConfig) -> dict[str, Any]:
        """Return a config.json content that the library refuses loudly."""

    def load_alone(self, folder: Path) -> nn.Module:
        """Load a saved folder by the library alone, or raise whatever it raises."""


HOSTS: Mapping[str, Host] = dict(zip(HOST_NAMES, (timm, torchvision, transformers, user), strict=True))


def host_of(model: nn.Module) -> Host:
    """Return the host that built ``model``.

    Raises ``UnsupportedModelError``, with the remedy, for wrapped models and for those that no host built.

    >>> host_of(nn.Linear(2, 1))
    Traceback (most recent call last):
    ...
    smoothify.errors.UnsupportedModelError: Linear was built by none of timm, torchvision, transformers; pass the
    class or function of yours that builds it as architecture=, and its arguments as model_args=
    """
    if isinstance(model, nn.parallel.DistributedDataParallel | nn.DataParallel):
        raise UnsupportedModelError(f"the model is wrapped in {type(model).__name__}; pass model.module")
    if isinstance(model, PixelClassifier):
        raise UnsupportedModelError("PixelClassifier is what normalises the images of a model; pass its .model")
    found = [host for host in HOSTS.values() if host.owns(model)]
    if not found or isinstance(model, torch.jit.ScriptModule):
        raise UnsupportedModelError(
            f"{type(model).__name__} was built by none of {', '.join(HOST_NAMES[:-1])}; pass the class or function of "
            "yours that builds it as architecture=, and its arguments as model_args="
        )
    return found[0]
