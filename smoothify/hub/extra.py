"""Reading one of the small files that lie beside a model, such as ``training.yaml`` or its description."""

from __future__ import annotations

from pathlib import Path

import huggingface_hub
from huggingface_hub import errors as hub_errors

from smoothify.errors import HubError
from smoothify.hub.checks import parse_object
from smoothify.hub.config import CONFIG
from smoothify.hub.remote import check_repo_id, readable_errors

_LARGEST = 2**20  # bytes


def read_file(
    repo_or_folder: str | Path, name: str, *, revision: str | None = None, token: str | None = None
) -> bytes | None:
    """Return the content of a small file of a repository or folder, or None if it has no such file.

    Args:
        repo_or_folder: a folder, or a Hub repository ``"owner/name"``.
        name: a plain file name, such as ``"training.yaml"``.
        revision: branch, tag or commit of the repository.
        token: for private repositories.

    Raises:
        HubError: the name is a path, the file is above 1 MiB, or the repository cannot be read.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = (Path(folder) / "note.txt").write_text("one")
    ...     read_file(folder, "note.txt"), read_file(folder, "other.txt")
    (b'one', None)
    """
    if Path(name).name != name or name in ("", ".", ".."):
        raise HubError(f"{name!r} is not a plain file name")
    path = Path(repo_or_folder) / name
    if not Path(repo_or_folder).is_dir():
        check_repo_id(str(repo_or_folder))
        found = _download(str(repo_or_folder), name, revision, token)
        if found is None:
            return None
        path = found
    if not path.is_file():
        return None
    if path.stat().st_size > _LARGEST:
        raise HubError(f"{repo_or_folder}/{name}: {path.stat().st_size:,} bytes; at most {_LARGEST:,} are read")
    return path.read_bytes()


def weights_digest(repo_or_folder: str | Path) -> str | None:
    """Return the SHA-256 that a repository or folder of ours states of its weights, or None if it states none.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     weights_digest(folder)
    """
    stated = _stated(repo_or_folder, "weights_sha256")
    return stated if isinstance(stated, str) else None


def is_of_own_code(repo_or_folder: str | Path) -> bool:
    """Return whether a repository or folder says that its author's own code built the model.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     is_of_own_code(folder)
    False
    """
    return bool(_stated(repo_or_folder, "host") == "user")


def _stated(repo_or_folder: str | Path, name: str) -> object:
    config = read_file(repo_or_folder, CONFIG)
    block = parse_object(config, CONFIG).get("smoothify") if config is not None else None
    return block.get(name) if isinstance(block, dict) else None


def _download(repo_id: str, name: str, revision: str | None, token: str | None) -> Path | None:
    with readable_errors(repo_id, token, revision):
        try:
            return Path(
                huggingface_hub.hf_hub_download(repo_id, name, revision=revision, token=token, library_name="smoothify")
            )
        except hub_errors.LocalEntryNotFoundError:
            raise
        except hub_errors.EntryNotFoundError:
            return None
