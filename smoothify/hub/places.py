"""Where its author keeps models and images is no part of what is published: paths of this machine become names."""

from __future__ import annotations

import html
import json
import os
import re
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from smoothify.hub.config import CARD
from smoothify.hub.training_file import TRAINING, parse_yaml

EMBEDDED = ("fashion_mnist_sample", "fashion_mnist")
"""Data sets that go by these names on every machine, whatever folders it has."""

_CERTAIN = re.compile(r"[/~\\]|\.{1,2}(?:[/\\]|$)|[A-Za-z]:[/\\]")


def is_place(text: str, *bases: Path) -> bool:
    """Tell whether a text is a path of this machine, and no name that others know it by.

    Args:
        text: a path, a Hub id, or anything else.
        bases: folders that a relative path may start from, besides the one that is worked in.

    >>> is_place("/home/anna/photos"), is_place("../photos"), is_place("uoft-cs/cifar10")
    (True, True, False)
    """
    if not text or text in EMBEDDED:
        return False
    if _CERTAIN.match(text):
        return True
    return any(os.path.exists(base / text) for base in (Path(), *bases))  # noqa: PTH110 (Path's fails for a long text)


def name_of(text: str, *bases: Path) -> str:
    """Return what others are told: of a path of this machine its last part, of anything else all of it.

    >>> name_of("/home/anna/photos/"), name_of("transformers/~/vit"), name_of("uoft-cs/cifar10")
    ('photos', 'transformers/vit', 'uoft-cs/cifar10')
    """
    library, _, rest = text.partition("/")
    if library == "transformers" and is_place(rest, *bases):
        return f"{library}/{name_of(rest, *bases)}"
    if not is_place(text, *bases):
        return text
    parts = [part for part in re.split(r"[/\\]", text) if part not in ("", ".", "..", "~")]
    return parts[-1] if parts else Path(text).expanduser().resolve().name


def renamed(value: Any, name: Callable[[str], str] = name_of) -> Any:
    """Return plain values with every text in them renamed.

    >>> renamed({"start": "/home/anna/relu", "sizes": [1, 2]})
    {'start': 'relu', 'sizes': [1, 2]}
    """
    if isinstance(value, Mapping):
        return {key: renamed(item, name) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [renamed(item, name) for item in value]
    return name(value) if isinstance(value, str) else value


def bases_of(folder: Path) -> tuple[Path, ...]:
    """Return the folders that paths in a model's files may be relative to: those that it lies in."""
    return tuple(folder.resolve().parents)[:-1]


def without_places(files: Mapping[str, bytes], folder: Path, repo_id: str) -> dict[str, bytes]:
    """Return the files of a model's folder as they are published.

    In ``training.yaml`` and in what ``smoothify.evaluate`` wrote, paths of this machine become names, and the model's
    own becomes the repository's. Which data set lies there is left open: no other machine has it under its name. The
    same paths become the same names in the card and in reports. What names no place stays as it is, to the byte.

    Raises:
        HubError: ``training.yaml`` cannot be read.
    """
    told: dict[str, str] = {}
    bases = bases_of(folder)

    def name(text: str) -> str:
        if text not in told:
            told[text] = name_of(text, *bases)
        return told[text]

    found = dict(files)
    for file, content in files.items():
        if file == TRAINING:
            found[file] = _training(content, str(folder / file), name, bases)
        elif file.endswith(".json") and (measured := _evaluation(content)) is not None:
            model = measured["model"]
            if is_place(model, *bases) or model.count("/") != 1:  # no Hub id
                told.update({model: repo_id, f"hf-hub:{model}": repo_id})
            shown = _renamed_evaluation(measured, name)
            if shown != measured:
                found[file] = (json.dumps(shown, indent=1) + "\n").encode()
    for file, content in found.items():
        if file == CARD or file.endswith(".html"):
            found[file] = _replaced(content, told)
    return found


def _training(content: bytes, source: str, name: Callable[[str], str], bases: tuple[Path, ...]) -> bytes:
    trained = parse_yaml(content, source)
    shown = renamed(trained, name)
    data = trained.get("data") if isinstance(trained, dict) else None
    path = data.get("path") if isinstance(data, dict) else None
    if isinstance(path, str) and is_place(path, *bases):
        shown["data"]["path"] = None
    return content if shown == trained else yaml.safe_dump(shown, sort_keys=False).encode()


def _evaluation(content: bytes) -> dict[str, Any] | None:
    """Return what ``smoothify.evaluate`` wrote, or None if this is something else."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return None
    ours = isinstance(found, dict) and all(isinstance(found.get(key), str) for key in ("model", "command"))
    return found if ours else None


def _renamed_evaluation(measured: Mapping[str, Any], name: Callable[[str], str]) -> dict[str, Any]:
    shown = {key: value if key == "results" else renamed(value, name) for key, value in measured.items()}
    return shown | {"command": _command(measured["command"], name)}


def _command(text: str, name: Callable[[str], str]) -> str:
    try:
        words = shlex.split(text)
    except ValueError:  # no shell's
        return ""
    options = (re.fullmatch(r"(--\w+=)?(.*)", word, re.DOTALL) for word in words)
    return shlex.join(f"{option[1] or ''}{name(option[2])}" for option in options if option)


def _replaced(content: bytes, told: Mapping[str, str]) -> bytes:
    """Replace paths in a text; a folder's bare name stays, since it may be a word of it."""
    separated = re.compile(r"[/\\].*\w|\w[/\\]")
    paths = {path: name for path, name in told.items() if path != name and separated.search(path)}
    paths |= {html.escape(path): html.escape(name) for path, name in paths.items()}
    longest_first = sorted(paths, key=len, reverse=True)
    if not longest_first:
        return content
    pattern = re.compile(rf"(?<![\w/.~\-])(?:{'|'.join(map(re.escape, longest_first))})(?![\w\-])".encode())
    return pattern.sub(lambda found: paths[found[0].decode()].encode(), content)
