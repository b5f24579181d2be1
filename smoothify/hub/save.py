"""Saving: a folder in Hub format that is proven, before it appears, to load as the very same model."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

import smoothify
from smoothify import surgery
from smoothify.errors import HubError, UnsupportedModelError
from smoothify.files import refuse_existing, whole_folder, write_atomically
from smoothify.hub import timm_host
from smoothify.hub.card import CardFacts, render_card
from smoothify.hub.config import ModelConfig, render_config
from smoothify.hub.load import load_folder
from smoothify.hub.proof import difference, twin
from smoothify.hub.weights import digest, weights_of

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"


def save_pretrained(
    model: nn.Module,
    folder: str | Path,
    *,
    model_args: Mapping[str, Any] | None = None,
    card: CardFacts | str | None = None,
    files: Mapping[str, bytes] | None = None,
    overwrite: bool = False,
) -> Path:
    """Save a timm model, converted or not, as a folder that ``push_folder`` publishes and ``from_pretrained``
    loads.

    The folder holds config.json, model.safetensors, README.md and the given ``files`` (name to content: a
    picture that the card shows). Before it appears the model is rebuilt from it and both are compared: equal
    logits, bit for bit, on random images, or ``HubError``. Where timm alone rebuilds the same model,
    config.json lets it; otherwise loading without smoothify fails. ``model`` is left as it was.

    ``model_args`` are arguments of ``timm.create_model`` that the model does not remember. ``card`` is what
    the model card tells: the facts, or a text about the model. ``overwrite`` replaces a folder saved
    earlier; other files in it are kept. Raises ``OutputExistsError`` without it, ``UnsupportedModelError``
    for a model that timm did not build, and ``OSError`` with the path when the disk is full: then nothing has
    changed.

    >>> import tempfile, timm
    >>> model = timm.create_model("test_resnet", num_classes=10)
    >>> with tempfile.TemporaryDirectory() as parent:
    ...     folder = save_pretrained(model, Path(parent) / "out")
    ...     sorted(path.name for path in folder.iterdir())
    ['README.md', 'config.json', 'model.safetensors']
    """
    folder = Path(folder)
    host = _host_of(model)
    if not overwrite:
        refuse_existing(folder)
    extra = {**_kept_files(folder), **_named_files(files or {})}
    original, size, weights = twin(host), timm_host.example_size(host), weights_of(host)
    config = dataclasses.replace(
        timm_host.describe(host, model_args), conversions=_conversions(host), weights_sha256=digest(weights)
    )
    with whole_folder(folder, overwrite=overwrite) as aside:
        write_atomically(aside / WEIGHTS, weights)
        config = _write_proven_config(config, original, size, aside)
        _prove(config, original, size, aside)
        for name, content in extra.items():
            write_atomically(aside / name, content)
        write_atomically(aside / CARD, render_card(card, config))
    return folder


def _prove(config: ModelConfig, original: nn.Module, size: tuple[int, int, int], aside: Path) -> None:
    """Load the folder as a stranger would, compare, and raise ``HubError`` with the difference."""
    try:
        found = difference(original, load_folder(aside, source="rebuilt"), size)
    except HubError as error:
        found = str(error)
    if found:
        raise HubError(
            f"{config.architecture} cannot be rebuilt from its description: {found}. Arguments of "
            f"timm.create_model that the model does not remember can be passed as model_args=; changes made "
            f"by hand cannot be published"
        )


def _write_proven_config(
    config: ModelConfig, original: nn.Module, size: tuple[int, int, int], aside: Path
) -> ModelConfig:
    """Write config.json for timm if timm alone then loads the same model from the folder, else for smoothify
    only.
    """
    versions = _versions()
    for arguments in _native_arguments(config):
        native = dataclasses.replace(config, native=("timm",))
        write_atomically(aside / CONFIG, render_config(native, arguments, versions))
        if _timm_alone_loads(aside, original, size):
            return native
    write_atomically(aside / CONFIG, render_config(config, None, versions))
    return config


def _native_arguments(config: ModelConfig) -> list[dict[str, Any]]:
    """The ``model_args`` that might make timm build the converted model; none if no name of timm's fits."""
    specs = {spec for conversion in config.conversions for spec in conversion["sites"].values()}
    if not specs:
        return [dict(config.model_args)]
    names = {timm_host.native_name(spec) for spec in specs}
    if len(names) != 1 or names == {""}:
        return []
    return [{**config.model_args, "act_layer": names.pop()}]


def _timm_alone_loads(aside: Path, original: nn.Module, size: tuple[int, int, int]) -> bool:
    import timm

    try:
        with torch.random.fork_rng(devices=[]):
            rebuilt = timm.create_model(f"local-dir:{aside}", pretrained=True)
        precision = next((p.dtype for p in original.parameters() if p.is_floating_point()), torch.float32)
        return not difference(original, rebuilt.to(precision), size)
    except Exception:  # whatever timm raises, the answer is the same: it cannot load this by itself
        return False


def _conversions(host: nn.Module) -> tuple[dict[str, Any], ...]:
    recorded = surgery.conversions(host)
    if any(entry["to"] is None for entry in recorded):
        raise HubError(
            "the model was converted with a factory, which no file can hold; convert with a spec such as "
            '"celu(alpha=1.4)", or add the activation with smoothify.activations.register_activation'
        )
    return recorded


def _host_of(model: nn.Module) -> nn.Module:
    host = getattr(model, "_orig_mod", model)  # torch.compile's wrapper
    if isinstance(host, nn.parallel.DistributedDataParallel | nn.DataParallel):
        raise UnsupportedModelError(f"the model is wrapped in {type(host).__name__}; pass model.module")
    if isinstance(host, torch.jit.ScriptModule) or not timm_host.is_timm_model(host):
        raise UnsupportedModelError(
            f"{type(host).__name__} was not built by timm.create_model; only timm models can be published"
        )
    return host


def _named_files(files: Mapping[str, bytes]) -> dict[str, bytes]:
    for name in files:
        if not re.fullmatch(r"\w[\w.\-]*", name) or name in (CONFIG, WEIGHTS, CARD):
            raise HubError(f"{name!r} cannot be the name of an extra file in a model's folder")
    return dict(files)


def _kept_files(folder: Path) -> dict[str, bytes]:
    """Read what else a saved folder holds; refuse to replace a folder that is no saved model."""
    if not folder.exists() or not any(folder.iterdir()):
        return {}
    entries = [path for path in folder.iterdir() if path.name not in (CONFIG, WEIGHTS, CARD)]
    if not (folder / CONFIG).is_file() or any(path.is_symlink() or not path.is_file() for path in entries):
        raise HubError(f"{folder}: holds something else than a saved model, so it is not replaced; choose another")
    return {path.name: path.read_bytes() for path in entries}


def _versions() -> dict[str, str]:
    import timm

    return {"smoothify": smoothify.__version__, "torch": str(torch.__version__), "timm": timm.__version__}
