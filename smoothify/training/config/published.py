"""The config that came with a model: it may describe a training, and never bring code."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path

import yaml

from smoothify.errors import ConfigError
from smoothify.hub.training_file import parse_yaml
from smoothify.models.importing import is_import_path
from smoothify.training.config.run import Config

_GROUPS = [field.name for field in dataclasses.fields(Config) if dataclasses.is_dataclass(field.default_factory)]
_OF_THE_COMMAND = ("config", "overwrite", "resume", "threads")
_CODE = ("class_path", "init_args", "dict_kwargs")  # which the parser of the command line would import and call


def refuse_code(file: Path) -> None:
    """Refuse a config that lies beside a model's config.json if reading it could run code; any other passes.

    It names modules to import, or code of somebody's own in place of a model's name; it says what is for the command
    line to say; or it holds a class to be built, in plain sight or in a text that is read as YAML once more. In a file
    of their own, users are free to do all that.

    Raises:
        ConfigError: with what it says, and what to do about it.
        HubError: it is no plain YAML of bounded size: a few lines of aliases stand for more than any memory holds.

    >>> refuse_code(Path("zoo/fashion_mnist/models/relu/training.yaml"))
    """
    if not (file.is_file() and file.with_name("config.json").is_file()):
        return
    content = parse_yaml(file.read_bytes(), str(file))
    if isinstance(content, Mapping) and (reason := next(_reasons(content), None)) is not None:
        raise ConfigError(
            f"{file}: came with a model and {reason}, which no model may; "
            "take it out, and give what you trust on the command line or in a file of your own"
        )


def _reasons(content: Mapping[str, object]) -> Iterator[str]:
    if "imports" in content:
        yield f"names modules to import ({content['imports']})"
    for key in content:
        if key in _OF_THE_COMMAND or "." in str(key):
            yield f"says {key!r}"
    for group in _GROUPS:
        if not isinstance(content.get(group, {}), Mapping):
            yield f"says {group!r} in a text or another file"
    model = content.get("model", {})
    for name in ("name", "architecture"):
        if isinstance(model, Mapping) and is_import_path(model.get(name)):
            yield f"names code to run (model.{name}: {model[name]})"
    yield from _hidden(content)


def _hidden(value: object) -> Iterator[str]:
    """Yield where a class would be built, at any depth."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if key in _CODE:
                yield f"names a class to build ({key}: {item})"
            yield from _hidden(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _hidden(item)
    elif isinstance(value, str) and _is_read_again(value):
        yield f"holds names and values inside a text ({value[:60]!r})"


def _is_read_again(text: str) -> bool:
    """Whether the parser would read a text as more than a text."""
    try:
        return text.lstrip()[:1] in ("{", "[") or isinstance(yaml.compose(text, yaml.SafeLoader), yaml.CollectionNode)
    except yaml.YAMLError:
        return False
    except RecursionError:
        return True
