"""Talking to the Hub: fetch a model, push a folder as one commit; one-line errors without tokens."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub
from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub import errors as hub_errors

from smoothify.errors import HubError
from smoothify.hub.card import check_license, published_card
from smoothify.hub.checks import parse_object
from smoothify.hub.config import CARD, CONFIG, read_config, weights_file
from smoothify.hub.hosts import transformers as transformers_host
from smoothify.hub.places import bases_of, name_of, without_places
from smoothify.hub.results import Evaluation, Result, read_evaluation
from smoothify.hub.shards import INDEX, read_index
from smoothify.hub.tokens import refuse_tokens, without_tokens
from smoothify.hub.weights import digest, read_weights

REPO_ID = re.compile(r"[A-Za-z0-9][\w\-]*(\.[\w\-]+)*/[A-Za-z0-9_][\w\-]*(\.[\w\-]+)*")
EVALUATION = "evaluation.json"
_LOGIN = "log in with `hf auth login`, set HF_TOKEN, or pass token="


def fetch(
    repo_id: str,
    *,
    revision: str | None = None,
    token: str | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
) -> Path:
    """Download config.json and the weights of one commit into the cache and return their folder."""
    check_repo_id(repo_id)

    def get(name: str, commit: str | None) -> Path:
        return Path(
            huggingface_hub.hf_hub_download(
                repo_id,
                name,
                revision=commit,
                token=token,
                cache_dir=cache_dir,
                local_files_only=local_files_only,
                library_name="smoothify",
            )
        )

    with readable_errors(repo_id, token, revision):
        config = get(CONFIG, revision)
        # The cache names a snapshot's folder by its commit: both files come from the same one.
        raw = parse_object(config.read_bytes(), f"{repo_id}/config.json")
        commit = config.parent.name
        try:
            weights = [get(weights_file(raw), commit)]
        except hub_errors.EntryNotFoundError:
            if not transformers_host.describes(raw):
                raise
            weights = _shards(lambda name: get(name, commit), repo_id)
            if not weights:
                raise
    for path in weights:
        check_blob(path, repo_id)
    return config.parent


def _shards(get: Callable[[str], Path], repo_id: str) -> list[Path]:
    """Download the weights that stand in several files, or nothing if there is no index of them."""
    try:
        index = get(INDEX)
    except hub_errors.EntryNotFoundError:
        return []
    shards = read_index(index.read_bytes(), f"{repo_id}/{INDEX}")
    return [index, *map(get, sorted(shards))]


def check_blob(path: Path, repo_id: str) -> None:
    """Compare a large file in the cache with the SHA-256 that the Hub stated: the cache names it so."""
    stated = path.resolve().name
    if re.fullmatch(r"[0-9a-f]{64}", stated) and digest(path.read_bytes()) != stated:
        raise HubError(f"{repo_id}/{path.name}: does not have the SHA-256 that the Hub states; delete it and try again")


def push_folder(
    folder: str | Path,
    repo_id: str,
    *,
    token: str | None = None,
    private: bool = False,
    revision: str | None = None,
    evaluation: str | Path | Mapping[str, Any] | None = None,
    license: str | None = None,  # noqa: A002 (as the card calls it)
    commit_message: str = "Publish a model with smooth activations",
) -> str:
    """Push a folder that `save_pretrained` or a training run (as ``best/``) left, as one commit; return its URL.

    A push that was interrupted leaves the repository as it was and can be repeated. Where you keep models and images is
    not published: in the card, ``training.yaml`` and evaluations, paths of this machine become names.

    Args:
        folder: what is pushed.
        repo_id: the repository, "owner/name"; it is created if it is missing.
        token: a Hub token that may write; the one that you logged in with if not given.
        private: of a repository that is created.
        revision: the branch, created if it is missing; "main" if not given.
        evaluation: what ``smoothify.evaluate`` wrote about this model, a file or its content: its numbers come into the
            card, with attack, epsilon, interval and the verdict of the sanity checks. One that the card has of more
            images of the same split stays.
        license: the Hub's id of the licence that the card states, such as "mit"; the card's own if not given, or none.
        commit_message: the commit's first line.

    Raises:
        HubError: a folder without a loadable model, a card that cannot be read, an evaluation of other weights, a
            missing token or right, or a network that fails.

    >>> push_folder("no-such-folder", "me/model")
    Traceback (most recent call last):
    ...
    smoothify.errors.HubError: no-such-folder: is not a folder that save_pretrained made (no config.json)
    """
    folder = Path(folder)
    check_repo_id(repo_id)
    check_license(license)
    measured = read_evaluation(evaluation) if evaluation is not None else None
    contents = _contents(folder, repo_id, measured, license)
    additions = [CommitOperationAdd(path.name, content) for path, content in contents]
    api = HfApi(token=token, library_name="smoothify")
    with readable_errors(repo_id, token, revision):
        api.create_repo(repo_id, private=private or None, exist_ok=True)
        if revision is not None:
            api.create_branch(repo_id, branch=revision, exist_ok=True)
        info = api.create_commit(repo_id, additions, commit_message=commit_message, revision=revision)
    return str(info.commit_url)


def refuse_run_folder(folder: Path) -> None:
    """Point from the folder of a training run to the model in it."""
    if not (folder / CONFIG).exists() and (folder / "best" / "config.json").is_file():
        raise HubError(f"{folder}: is the folder of a run; its model is {folder / 'best'}")


def _contents(
    folder: Path, repo_id: str, measured: Evaluation | None, license_id: str | None
) -> Iterator[tuple[Path, bytes | Path]]:
    """Yield what is published of a whole folder: plain files, not links, folders or hidden files."""
    refuse_run_folder(folder)
    if not (folder / CONFIG).is_file():
        raise HubError(f"{folder}: is not a folder that save_pretrained made (no config.json)")
    config = read_config((folder / CONFIG).read_bytes(), f"{folder}/config.json")
    weights = folder / config.weights_file
    if not weights.is_file():
        raise HubError(f"{folder}: is not a folder that save_pretrained made (no {weights.name})")
    read_weights(weights.read_bytes(), str(weights), config.weights_sha256)
    if measured and measured.weights_sha256 not in (None, config.weights_sha256):
        raise HubError(f"{folder}: holds other weights than those that were evaluated; evaluate it as it is now")
    for path in (folder / CONFIG, weights):
        if path.is_symlink():
            raise HubError(f"{path}: is a link, and links are not published; put the file itself there")
    found = [path for path in sorted(folder.iterdir()) if path.is_file() and not path.is_symlink()]
    found = [path for path in found if not path.name.startswith(".")]
    small = {path.name: path.read_bytes() for path in found if path.suffix != ".safetensors"}
    if EVALUATION in small:
        _refuse_stale(folder / EVALUATION, config.weights_sha256)
    if CARD in small:
        results = [_named_as_published(result, folder) for result in (measured.results if measured else ())]
        small[CARD] = published_card(small[CARD], str(folder / CARD), repo_id, results, license_id).encode()
    for name, content in without_places(small, folder, repo_id).items():
        refuse_tokens(content.decode("utf-8", "ignore"), str(folder / name))
        yield folder / name, content
    for path in found:
        if path.suffix == ".safetensors":
            yield path, path


def _named_as_published(result: Result, folder: Path) -> Result:
    return replace(result, dataset=result.dataset and name_of(result.dataset, *bases_of(folder)))


def _refuse_stale(path: Path, weights_sha256: str | None) -> None:
    """Figures beside a model may be left from another that was saved there: they must say that they are of this one."""
    stated = read_evaluation(path).weights_sha256
    if stated is None or stated != weights_sha256:
        found = "does not say on which weights it was measured" if stated is None else "was measured on other weights"
        raise HubError(
            f"{path}: {found}; measure the model as it is now with `python -m smoothify.evaluate {path.parent} "
            "--overwrite`, or take the file away"
        )


def check_repo_id(repo_id: str) -> None:
    """Raise ``HubError`` unless ``repo_id`` is an owner and a name; what could be a path is none.

    >>> check_repo_id("me/resnet50-silu")
    """
    if not REPO_ID.fullmatch(repo_id) or len(repo_id) > 96:
        raise HubError(f"{repo_id!r} is neither a folder nor a repository id such as 'owner/name'")


@contextmanager
def readable_errors(repo_id: str, token: str | None, revision: str | None) -> Iterator[None]:
    """Turn what huggingface_hub raises into one ``HubError`` that says what to do."""
    try:
        yield
    except HubError:
        raise
    except hub_errors.GatedRepoError:
        reason = f"access must be asked for on its page first; then {_LOGIN}"
    except hub_errors.RepositoryNotFoundError:
        reason = (
            "there is no such repository (nor such a folder here), or it is private and your token cannot see it; "
            f"{_LOGIN}"
        )
    except hub_errors.RevisionNotFoundError:
        reason = f"it has no revision {revision!r}"
    except hub_errors.LocalEntryNotFoundError:
        reason = (
            "is no folder here, not in the cache, and the Hub is not reached (offline?): correct the path, or load it "
            "once with a connection"
        )
    except hub_errors.EntryNotFoundError as error:
        named = re.search(r"[\w.\-]+\.(?:json|safetensors)", str(error).rpartition("/")[2])
        reason = f"holds no {named[0] if named else 'such file'}; only a config.json with safetensors is read"
    except hub_errors.LocalTokenNotFoundError:
        reason = f"no token was found; {_LOGIN}"
    except hub_errors.HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        if status in (401, 403):
            reason = f"the Hub refuses this token, or no token was given ({status}); {_LOGIN}"
        else:
            reason = f"the Hub answered: {one_line(error, token)}; nothing was changed, so try again"
    except Exception as error:  # httpx, LFS and cache errors have no common base
        reason = f"{type(error).__name__}: {one_line(error, token)}; nothing was changed, so try again"
    else:
        return
    raise HubError(f"{repo_id}: {reason}") from None  # the cause may quote a request with its headers


def one_line(error: BaseException, token: str | None) -> str:
    """Return the message of an error and of what caused it as one bounded line without tokens."""
    messages = [str(error), str(error.__cause__)] if error.__cause__ else [str(error)]
    return without_tokens(" ".join(" / ".join(messages).split())[:400], token)
