"""What a stranger's ``training.yaml`` says of data, threat model and input, checked value by value."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import yaml

from smoothify.errors import HubError
from smoothify.hub.checks import Checks, printable
from smoothify.hub.timm_fields import INPUT, read_pretrained_cfg

TRAINING = "training.yaml"
_LARGEST = 2**16  # bytes


def read_training(data: bytes, source: str, *, without: Collection[str] = ()) -> dict[str, Any]:
    """Return "data", "split", "train_split", "norm", "epsilon" and the model's input, as far as the file says them.

    Args:
        data: the file's content.
        source: what errors call it.
        without: those that are given elsewhere, and so are not read.

    Raises:
        HubError: it is no plain YAML, or one of these values cannot stand there.

    >>> read_training(b"data: {path: images}\\nattack: {epsilon: 8/255}", "training.yaml")
    {'data': 'images', 'epsilon': '8/255'}
    """
    checks = Checks(source)
    trained = _mapping(parse_yaml(data, source))
    described, attacked, built = (_mapping(trained.get(name)) for name in ("data", "attack", "model"))
    told: dict[str, tuple[str, object, Callable[[str, object], Any]]] = {
        "data": ("data.path", described.get("path"), lambda w, v: checks.line(w, v, 1000)),
        "split": ("data.test_split", described.get("test_split"), lambda w, v: checks.line(w, v, 300)),
        "train_split": ("data.train_split", described.get("train_split"), lambda w, v: checks.line(w, v, 300)),
        "norm": ("attack.norm", attacked.get("norm"), lambda w, v: checks.line(w, v, 100)),
        "epsilon": ("attack.epsilon", attacked.get("epsilon"), lambda w, v: _epsilon(w, v, checks)),
    }
    found = {
        name: read(where, value)
        for name, (where, value, read) in told.items()
        if name not in without and value is not None
    }
    found |= read_pretrained_cfg({name: built.get(name) for name in INPUT}, checks, "model")
    _check_channels(found, checks)
    checks.raise_if_any()
    return found


def trained_on(data: bytes, source: str) -> object:
    """Return what the file says of the data set, unchecked: only to be compared with another one's name.

    >>> trained_on(b"data: {path: images}", "training.yaml")
    'images'
    """
    return _mapping(_mapping(parse_yaml(data, source)).get("data")).get("path")


def _epsilon(where: str, value: object, checks: Checks) -> str | float | None:
    return checks.line(where, value, 100) if isinstance(value, str) else checks.number(where, value, 0, 1e4)


def _check_channels(found: Mapping[str, Any], checks: Checks) -> None:
    """One mean and one standard deviation for each channel, or one for all: more would make channels."""
    size = found.get("input_size")
    for name in ("mean", "std"):
        values = found.get(name)
        if size and values and len(values) not in (1, size[0]):
            checks.complain(f"model.{name}", f"has {len(values)} values, but model.input_size {size[0]} channels")


class _Loader(yaml.SafeLoader):
    """YAML without aliases: a few lines of them stand for more than any memory holds."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]  # so in its stubs
            raise yaml.composer.ComposerError(None, None, "aliases are not read", mark)
        return super().compose_node(parent, index)


def parse_yaml(data: bytes, source: str) -> Any:
    """Read ``data`` as plain YAML of bounded size, without tags and aliases.

    >>> parse_yaml(b"lr: 0.1", "training.yaml")
    {'lr': 0.1}
    """
    if len(data) > _LARGEST:
        raise HubError(f"{source}: is {len(data):,} bytes, more than the {_LARGEST:,} that it may have")
    try:
        return yaml.load(data, _Loader)
    except Exception as error:  # a date that no calendar has is a ValueError, and there is more of that kind
        raise HubError(f"{source}: is not readable as plain YAML ({_reason(error)}); correct it") from error


def _reason(error: Exception) -> str:
    mark, problem = (getattr(error, name, None) for name in ("problem_mark", "problem"))
    return printable(problem or type(error).__name__)[:200] + (f" in line {mark.line + 1}" if mark is not None else "")


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
