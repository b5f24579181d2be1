"""One loader for every library that a model can come from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from smoothify.errors import ConfigError, UnknownNameError
from smoothify.models.architectures import register
from smoothify.models.constructing import construct
from smoothify.models.from_torchvision import build_torchvision
from smoothify.models.from_transformers import build_transformers
from smoothify.models.importing import build_imported, is_import_path
from smoothify.models.presets import PRESETS, Preset

LIBRARIES = ("timm", "torchvision", "transformers")


def build(
    name: str, *, num_classes: int | None = None, pretrained: bool = False, arguments: Mapping[str, Any] | None = None
) -> nn.Module:
    """Build an architecture by name.

    Args:
        name: a preset of ours (see `PRESETS`); ``"timm/NAME"`` or a bare timm name; ``"torchvision/NAME"``;
            ``"transformers/ID"`` with the id or the folder of a repository, or a model type such as ``"resnet"``;
            or the import path of a class or function of your own, ``"my_nets:small_net"``.
        num_classes: classes of the head; the architecture's own number if not given.
        pretrained: load the host's published weights (from the network).
        arguments: further keyword arguments of the architecture's own constructor, or fields of its config.

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
    classes = chosen.get("num_classes")
    if isinstance(classes, int) and classes < 0:
        raise ConfigError(f"{name!r} cannot have num_classes={classes}; give their number, or leave it out")
    if is_import_path(name):
        return build_imported(name, pretrained, chosen)
    host, _, rest = name.partition("/")
    if not rest and name in PRESETS:
        return _build_preset(PRESETS[name], pretrained, chosen)
    if not rest or host == "timm":
        return _build_timm(rest or name, pretrained, chosen)
    if host == "torchvision":
        return build_torchvision(rest, pretrained, chosen)
    if host == "transformers":
        return build_transformers(rest, pretrained, chosen)
    error = UnknownNameError("model source", host, LIBRARIES, of=f"{name!r}, which is no folder either")
    if error.nearest or name.count("/") != 1:
        raise error
    raise ConfigError(
        f"{name!r}: there is no such folder, and {host!r} is no library ({', '.join(LIBRARIES)}); a model on the Hub "
        f"that smoothify saved is 'hf-hub:{name}', one of transformers 'transformers/{name}'"
    )


def is_folder(name: str) -> bool:
    """Tell whether a name means a folder: one that is there, and has not the name of an architecture.

    A folder of such a name is written with its place, ``"./resnet50"``.

    >>> is_folder("resnet50"), is_folder("no/such/folder")
    (False, False)
    """
    import timm

    if not Path(name).expanduser().is_dir():
        return False
    host, slash, _ = name.partition("/")
    if slash:
        return host not in LIBRARIES
    register()
    return name not in PRESETS and not timm.is_model(name)


def _build_preset(preset: Preset, pretrained: bool, arguments: dict[str, Any]) -> nn.Module:
    if pretrained:
        raise ConfigError(f"preset {preset.name!r} has no published weights; set pretrained to false")
    merged = {**preset.arguments, **arguments}
    if preset.input:
        merged["pretrained_cfg_overlay"] = dict(preset.input)
    return _build_timm(preset.architecture, False, merged)


def _build_timm(name: str, pretrained: bool, arguments: dict[str, Any]) -> nn.Module:
    import timm

    register()
    if not timm.is_model(name):
        known = [*PRESETS, *timm.list_models()]
        raise UnknownNameError("architecture", name, known)
    return construct(timm.create_model, name, arguments, pretrained=pretrained)
