"""Publishing a model in one call: save it aside, push the folder as one commit."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from smoothify.hub.card import CardFacts
from smoothify.hub.remote import check_repo_id, push_folder
from smoothify.hub.save import save_pretrained
from smoothify.models.importing import Factory


def push_to_hub(
    model: nn.Module,
    repo_id: str,
    *,
    token: str | None = None,
    private: bool = False,
    revision: str | None = None,
    commit_message: str = "Publish a model with smooth activations",
    architecture: str | Factory | None = None,
    model_args: Mapping[str, Any] | None = None,
    card: CardFacts | str | None = None,
    files: Mapping[str, bytes] | None = None,
    evaluation: str | Path | Mapping[str, Any] | None = None,
) -> str:
    """Save ``model`` as ``save_pretrained`` does and push it as one commit; return the commit's URL.

    The model is proven to load again before anything is sent. ``token``, ``private``, ``revision``, ``evaluation`` and
    ``commit_message`` are those of ``push_folder``; ``architecture``, ``model_args``, ``card`` and ``files`` those of
    ``save_pretrained``. An interrupted push can be repeated. Raises ``HubError`` as both do.

    >>> push_to_hub(nn.Identity(), "no owner")
    Traceback (most recent call last):
    ...
    smoothify.errors.HubError: 'no owner' is neither a folder nor a repository id such as 'owner/name'
    """
    check_repo_id(repo_id)
    with tempfile.TemporaryDirectory(prefix="smoothify-push-") as parent:
        folder = save_pretrained(
            model, Path(parent) / "model", architecture=architecture, model_args=model_args, card=card, files=files
        )
        return push_folder(
            folder,
            repo_id,
            token=token,
            private=private,
            revision=revision,
            evaluation=evaluation,
            commit_message=commit_message,
        )
