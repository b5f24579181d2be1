"""Loading: a checked config, whole weights, and a model that agrees with both, or one error."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from smoothify import surgery
from smoothify.errors import HubError
from smoothify.hub.checks import MAX_CONFIG_BYTES, parse_object, printable
from smoothify.hub.config import CONFIG, WEIGHTS, ModelConfig, read_config, remedy
from smoothify.hub.hosts import HOSTS
from smoothify.hub.hosts import timm as timm_host
from smoothify.hub.hosts import transformers as transformers_host
from smoothify.hub.hosts import user as user_host
from smoothify.hub.proof import twin
from smoothify.hub.remote import fetch, refuse_run_folder
from smoothify.hub.shards import read_index_file, read_sharded
from smoothify.hub.weights import disagreements, load_exactly, read_weights, refuse_disagreements, refuse_larger
from smoothify.models.importing import Factory


def from_pretrained(
    repo_or_folder: str | Path,
    *,
    to: str | Mapping[str, str] | None = None,
    architecture: str | Factory | None = None,
    revision: str | None = None,
    token: str | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
) -> nn.Module:
    """Load a model that smoothify saved, or any timm or transformers classifier, from a folder or the Hub.

    The model comes back in eval mode, on the CPU, as the host's own class, with the logits that it was saved with. Only
    safetensors are read, nothing from the repository is executed, and every value of its config is checked first. The
    environment variables of huggingface_hub hold, ``HF_ENDPOINT`` and ``HF_HUB_OFFLINE`` among them.

    Args:
        repo_or_folder: a folder, or a Hub repository "owner/name".
        to: converts it in the same step, as `smoothify.convert` does; a spec, or a mapping of specs per function.
        architecture: the class or function that builds a model of your own code, or its import path,
            "my_nets:small_net": nothing is imported because a repository says so.
        revision: a branch, tag or commit.
        token: a Hub token for private repositories; the one that you logged in with if not given.
        cache_dir: where downloads are kept; huggingface_hub's own cache if not given.
        local_files_only: use nothing but the cache.

    Raises:
        HubError: anything that is missing, damaged, unknown or oversized; nothing is half-loaded.
        UnconvertedError: what `smoothify.convert` raises, with ``to``.

    >>> from_pretrained("me/../secrets")
    Traceback (most recent call last):
    ...
    smoothify.errors.HubError: 'me/../secrets' is neither a folder nor a repository id such as 'owner/name'
    """
    folder = _as_folder(repo_or_folder)
    if folder is None:
        folder = fetch(
            str(repo_or_folder),
            revision=revision,
            token=token,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
        )
    elif revision is not None:
        raise HubError(f"{folder}: a folder has no revision {revision!r}; pass a repository id, or no revision")
    model = load_folder(folder, source=str(repo_or_folder), architecture=architecture)
    if to is not None:
        surgery.convert_(model, to=to)
    return model.eval()


def load_folder(folder: Path, source: str | None = None, architecture: str | Factory | None = None) -> nn.Module:
    """Load the model in ``folder`` in eval mode; ``source`` is the name that errors give it."""
    source = source or str(folder)
    data = _read(folder / CONFIG, source, limit=MAX_CONFIG_BYTES + 1)
    where = f"{source}/{CONFIG}"
    raw = parse_object(data, where)
    if transformers_host.describes(raw):
        user_host.with_code(ModelConfig("", host=transformers_host.NAME), architecture, where)
        return transformers_host.load(raw, _foreign_weights(folder, source), source)
    config = user_host.with_code(read_config(data, where), architecture, where)
    host = HOSTS[config.host]
    weights = f"{source}/{config.weights_file}"
    stored = read_weights(_read(folder / config.weights_file, source), weights, config.weights_sha256)
    # Names and shapes are compared before any memory is taken: what is allocated is no larger than the file.
    on_meta = host.build(config, meta=True, source=where)
    found = disagreements(stored, on_meta.state_dict(), surplus=not config.conversions)
    if found and not config.ours:
        refuse_larger(on_meta, stored, where)
        return timm_host.load_through_timm(config, folder / WEIGHTS, source).eval()
    refuse_disagreements(weights, found)
    model = host.build(config, source=where)
    _replay(model, config, where)
    load_exactly(model, stored, weights)
    if config.host == user_host.NAME:
        user_host.refuse_other_code(twin(model), config, where)
    return model.eval()


def _replay(model: nn.Module, config: ModelConfig, where: str) -> None:
    if not config.conversions:
        return
    try:
        surgery.replay_(model, config.conversions)
    except Exception as error:  # a stranger's record can make the surgery raise anything
        reason = "\n".join(map(printable, str(error).splitlines()))
        told = remedy(config.imports)
        raise HubError(f"{where}: its conversions cannot be replayed: {reason}{told}") from error


def _foreign_weights(folder: Path, source: str) -> dict[str, torch.Tensor]:
    index = None if (folder / WEIGHTS).is_file() else read_index_file(folder, source)
    if index is None:
        return read_weights(_read(folder / WEIGHTS, source), f"{source}/{WEIGHTS}")
    return read_sharded(index, lambda shard: _read(folder / shard, source), source)


def _as_folder(repo_or_folder: str | Path) -> Path | None:
    """Return the folder that is meant, or None for a repository id. What looks like a path must exist."""
    path = Path(repo_or_folder).expanduser()
    if path.is_dir():
        refuse_run_folder(path)
        return path
    text = str(repo_or_folder)
    if isinstance(repo_or_folder, Path) or text.startswith((".", "/", "~")) or "\\" in text:
        raise HubError(f"{text}: there is no such folder")
    return None


def _read(path: Path, source: str, limit: int = -1) -> bytes:
    if not path.is_file():  # a pipe or a device would be read for ever
        raise HubError(f"{source}: holds no {path.name}; models are loaded from {CONFIG} and {WEIGHTS} only")
    try:
        with path.open("rb") as file:
            return file.read(limit)
    except OSError as error:
        raise HubError(f"{source}: {path.name} cannot be read ({error.strerror})") from error
