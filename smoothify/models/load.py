"""One loader for every place a model can come from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from smoothify.errors import ConfigError, UnknownNameError
from smoothify.models.architectures import register_architectures
from smoothify.models.presets import PRESETS, Preset


def build(
    name: str, *, num_classes: int | None = None, pretrained: bool = False, arguments: Mapping[str, Any] | None = None
) -> nn.Module:
    """Build an architecture by name.

    Args:
        name: a preset of ours (see `PRESETS`); ``"timm/NAME"`` or a bare timm name; ``"torchvision/NAME"``.
        num_classes: classes of the head; the architecture's own number if not given.
        pretrained: load the host's published weights (from the network).
        arguments: further keyword arguments of the architecture's own constructor.

    Raises:
        UnknownNameError: nothing goes by that name; the message lists the nearest.
        ConfigError: the architecture refuses the arguments.

    >>> type(build("timm/resnet18", num_classes=10)).__name__
    'ResNet'
    >>> build("resnet18s")
    Traceback (most recent call last):
    smoothify.errors.UnknownNameError: unknown architecture 'resnet18s'; did you mean 'resnet18', ...
    """
    chosen = dict(arguments or {})
    if num_classes is not None:
        chosen["num_classes"] = num_classes
    host, _, rest = name.rpartition("/")
    if host == "" and name in PRESETS:
        return _build_preset(PRESETS[name], pretrained, chosen)
    if host in ("", "timm"):
        return _build_timm(rest, pretrained, chosen)
    if host == "torchvision":
        return _build_torchvision(rest, pretrained, chosen)
    raise UnknownNameError("model source", host, ["timm", "torchvision"])


def _build_preset(preset: Preset, pretrained: bool, arguments: dict[str, Any]) -> nn.Module:
    if pretrained:
        raise ConfigError(f"preset {preset.name!r} has no published weights; set pretrained to false")
    merged = {**preset.arguments, **arguments, "pretrained_cfg_overlay": dict(preset.input)}
    return _build_timm(preset.architecture, False, merged)


def _build_timm(name: str, pretrained: bool, arguments: dict[str, Any]) -> nn.Module:
    import timm

    register_architectures()
    if not timm.is_model(name):
        known = [*PRESETS, *timm.list_models()]
        raise UnknownNameError("architecture", name, known)
    return _construct(timm.create_model, name, pretrained=pretrained, **arguments)


def _build_torchvision(name: str, pretrained: bool, arguments: dict[str, Any]) -> nn.Module:
    import torchvision

    if name not in torchvision.models.list_models():
        raise UnknownNameError("torchvision architecture", name, torchvision.models.list_models())
    weights = "DEFAULT" if pretrained else None
    return _construct(torchvision.models.get_model, name, weights=weights, **arguments)


def _construct(constructor: Any, name: str, **arguments: Any) -> nn.Module:
    try:
        model: nn.Module = constructor(name, **arguments)
    except (TypeError, ValueError, AssertionError, RuntimeError, OSError) as error:
        first_line = (str(error) or type(error).__name__).splitlines()[0]
        raise ConfigError(f"architecture {name!r} cannot be built with {arguments}: {first_line}") from error
    return model
