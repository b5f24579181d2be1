"""Publishing a model in one call: save it aside, push the folder as one commit."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from smoothify.hub.card import CardFacts, check_license
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
    license: str | None = None,  # noqa: A002 (as the card calls it)
) -> str:
    """Save a model as `save_pretrained` does and push it as one commit; return the commit's URL.

    The model is proven to load again before anything is sent. A push that was interrupted can be repeated.

    Args:
        model: a classifier of timm, transformers, torchvision or your own code.
        repo_id: the repository, "owner/name"; it is created if it is missing.
        token: a Hub token that may write; the one that you logged in with if not given.
        private: of a repository that is created.
        revision: the branch, created if it is missing; "main" if not given.
        commit_message: the commit's first line.
        architecture: as for `save_pretrained`; so are ``model_args``, ``card`` and ``files``.
        model_args: arguments of the constructor.
        card: what the model card tells.
        files: more files, name to content.
        evaluation: what ``smoothify.evaluate`` wrote about this model, a file or its content, for the card.
        license: the Hub's id of the licence that the card states, such as "mit"; that of ``card`` if not given, or
            none.

    Raises:
        HubError: a model that does not come back the same, an evaluation of other weights, a missing token or
            right, or a network that fails.
        UnsupportedModelError: a model of another library.

    >>> push_to_hub(nn.Identity(), "no owner")
    Traceback (most recent call last):
    ...
    smoothify.errors.HubError: 'no owner' is neither a folder nor a repository id such as 'owner/name'
    """
    check_repo_id(repo_id)
    check_license(license)
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
            license=license,
            commit_message=commit_message,
        )
