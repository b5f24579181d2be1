"""Saving: a folder in Hub format that is proven, before it appears, to load as the very same model."""

from __future__ import annotations

import dataclasses
import re
import shutil
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import nn

import smoothify
from smoothify import surgery
from smoothify.errors import HubError
from smoothify.files import refuse_existing, whole_folder, write_atomically
from smoothify.hub.card import CardFacts, render_card
from smoothify.hub.config import CARD, CONFIG, HIDDEN_WEIGHTS, WEIGHTS, ModelConfig, render_config
from smoothify.hub.extra import weights_digest
from smoothify.hub.hosts import HOSTS, Host, host_of
from smoothify.hub.hosts import transformers as transformers_host
from smoothify.hub.hosts import user as user_host
from smoothify.hub.load import load_folder
from smoothify.hub.proof import difference, twin
from smoothify.hub.weights import digest, weights_of
from smoothify.models.importing import Factory

# A kernel of ours (mish) and the host's compute one function with other last bits; relative to the largest logit.
ROUNDING = 1e-5
_OWN_FILES = (CONFIG, CARD, WEIGHTS, HIDDEN_WEIGHTS)


def save_pretrained(
    model: nn.Module,
    folder: str | Path,
    *,
    architecture: str | Factory | None = None,
    model_args: Mapping[str, Any] | None = None,
    card: CardFacts | str | None = None,
    files: Mapping[str, bytes] | None = None,
    overwrite: bool = False,
) -> Path:
    """Save a model, converted or not, as a folder that `push_folder` publishes and `from_pretrained` loads.

    Before the folder appears, the model is rebuilt from it and both are compared: equal logits, bit for bit, on random
    images. Where the library alone rebuilds the same model, config.json lets it; otherwise loading without smoothify
    fails. ``model`` is left as it was.

    Args:
        model: a classifier of timm, transformers, torchvision or your own code.
        folder: it will hold config.json, model.safetensors and README.md.
        architecture: the name that a torchvision model was built by, such as "resnet18", unless smoothify built or
            loaded it; for a model of your own the class or function that builds it, or its import path,
            "my_nets:small_net"; the others know theirs.
        model_args: arguments of the constructor that the model does not remember.
        card: what the model card tells: the facts, or a text about the model.
        files: more files, name to content, such as a picture that the card shows.
        overwrite: replace a folder saved earlier; other files in it are kept, and so are hidden folders.

    Raises:
        OutputExistsError: the folder exists, and not ``overwrite``.
        HubError: the model did not come back the same.
        UnsupportedModelError: a model of another library.
        OSError: the disk is full, for one; then nothing has changed.

    >>> import tempfile, timm
    >>> model = timm.create_model("test_resnet", num_classes=10)
    >>> with tempfile.TemporaryDirectory() as parent:
    ...     folder = save_pretrained(model, Path(parent) / "out")
    ...     sorted(path.name for path in folder.iterdir())
    ['README.md', 'config.json', 'model.safetensors']
    """
    folder = Path(folder)
    if not overwrite:
        refuse_existing(folder)
    model = getattr(model, "_orig_mod", model)  # torch.compile's wrapper
    kept, extra = _kept(folder), _named_files(files or {})
    original, weights = twin(model), weights_of(model)
    host, described = _described(original, architecture, model_args or {})
    config = dataclasses.replace(described, conversions=_conversions(model), weights_sha256=digest(weights))
    with whole_folder(folder, overwrite=overwrite) as aside:
        config = _write_first_proven(config, host, original, host.example_size(model), weights, aside)
        for path in kept:
            if path.is_dir():
                shutil.copytree(path, aside / path.name, symlinks=True)
            elif path.name not in extra:
                write_atomically(aside / path.name, path.read_bytes())
        for name, content in extra.items():
            write_atomically(aside / name, content)
        write_atomically(aside / CARD, render_card(card, config))
    return folder


def _described(
    model: nn.Module, architecture: str | Factory | None, model_args: Mapping[str, Any]
) -> tuple[Host, ModelConfig]:
    if architecture is not None and (not isinstance(architecture, str) or user_host.is_code(architecture)):
        return HOSTS[user_host.NAME], user_host.describe(model, architecture, model_args)
    host = host_of(model)
    return host, host.describe(model, architecture, model_args)


def _write_first_proven(
    config: ModelConfig, host: Host, original: nn.Module, size: tuple[int, int, int], weights: bytes, aside: Path
) -> ModelConfig:
    """Where a conversion also changed the host's own config, as in transformers, that alone may build the converted
    model. Code that builds it without any conversion may do so in this process only.
    """
    try:
        return _write_proven(config, host, original, size, weights, aside)
    except HubError as error:
        (aside / HIDDEN_WEIGHTS).unlink(missing_ok=True)
        if config.conversions and host.NAME == transformers_host.NAME:
            with suppress(HubError):
                bare = dataclasses.replace(config, conversions=())
                return _write_proven(bare, host, original, size, weights, aside)
        if host.NAME == user_host.NAME and (shared := user_host.shared_and_converted(config)):
            raise HubError(shared) from error
        raise


def _write_proven(
    config: ModelConfig, host: Host, original: nn.Module, size: tuple[int, int, int], weights: bytes, aside: Path
) -> ModelConfig:
    """Write config and weights for the host if it alone then loads the same model, else for smoothify only.

    Raises ``HubError`` with the difference if smoothify does not load the same model either.
    """
    versions = _versions(host)
    write_atomically(aside / WEIGHTS, weights)
    for document in host.native_documents(config):
        native = dataclasses.replace(config, native=(host.NAME,))
        write_atomically(aside / CONFIG, render_config(native, document, versions))
        tolerance = _tolerance_of_host_alone(host, aside, original, size)
        if tolerance is not None:
            config = dataclasses.replace(native, native_exact=tolerance == 0)
            write_atomically(aside / CONFIG, render_config(config, document, versions))
            break
    else:
        document = host.refusing_document(config)
        config = dataclasses.replace(config, weights_file=document.pop("weights_file", WEIGHTS))
        (aside / WEIGHTS).rename(aside / config.weights_file)
        write_atomically(aside / CONFIG, render_config(config, document, versions))
    try:
        found = difference(original, load_folder(aside, source="rebuilt", architecture=config.factory), size)
    except HubError as error:
        found = str(error)
    if found:
        raise HubError(
            f"{config.architecture} cannot be rebuilt from its description: {found}. Arguments of its constructor "
            f"that the model does not remember can be passed as model_args=; changes made by hand cannot be published"
        )
    return config


def _tolerance_of_host_alone(host: Host, aside: Path, original: nn.Module, size: tuple[int, int, int]) -> float | None:
    """Return 0 if the host alone loads the same model bit for bit, ``ROUNDING`` if to rounding, None if not."""
    try:
        with torch.random.fork_rng(devices=[]):
            rebuilt = host.load_alone(aside)
        precision = next((p.dtype for p in original.parameters() if p.is_floating_point()), torch.float32)
        rebuilt = rebuilt.to(precision)
        for tolerance in (0.0, ROUNDING):
            if not difference(original, rebuilt, size, tolerance=tolerance):
                return tolerance
    except Exception:  # whatever the host raises, the answer is the same: it cannot load this by itself
        return None
    return None


def _conversions(host: nn.Module) -> tuple[dict[str, Any], ...]:
    recorded = surgery.conversions(host)
    if any(entry["to"] is None for entry in recorded):
        raise HubError(
            "the model was converted with a factory, which no file can hold; convert with a spec such as "
            '"celu(alpha=1.4)", or add the activation with smoothify.activations.register_activation'
        )
    return recorded


def _named_files(files: Mapping[str, bytes]) -> dict[str, bytes]:
    for name in files:
        if not re.fullmatch(r"\w[\w.\-]*", name) or name in _OWN_FILES:
            raise HubError(f"{name!r} cannot be the name of an extra file in a model's folder")
    return dict(files)


def _kept(folder: Path) -> list[Path]:
    """List what else a saved folder holds; refuse to replace a folder that `save_pretrained` has not made.

    Hidden folders are a program's own, such as what an evaluation that is not finished keeps beside the weights.
    """
    if not folder.exists() or not any(folder.iterdir()):
        return []
    entries = [path for path in folder.iterdir() if path.name not in _OWN_FILES]
    strange = [path for path in entries if path.is_symlink() or (path.is_dir() and path.name[0] != ".")]
    if strange or not _is_ours(folder):
        raise HubError(f"{folder}: holds something else than a saved model, so it is not replaced; choose another")
    return entries


def _is_ours(folder: Path) -> bool:
    try:
        return weights_digest(folder) is not None
    except HubError:  # its config.json is of something else
        return False


def _versions(host: Host) -> dict[str, str]:
    found = {"smoothify": smoothify.__version__, "torch": str(torch.__version__)}
    return found if host.NAME == user_host.NAME else {**found, host.NAME: version(host.NAME)}
