"""Code of the user's own, by import path: ``"my_nets:small_net"`` is ``small_net`` in ``my_nets.py``."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

from torch import nn

from smoothify.errors import ConfigError, UnknownNameError
from smoothify.models.constructing import construct

Factory = Callable[..., nn.Module]
_NAME = r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*"


def is_import_path(name: object) -> bool:
    """Tell whether a name has the form ``module:class_or_function``.

    >>> is_import_path("torch.nn:Linear"), is_import_path("timm/resnet18"), is_import_path("hf-hub:me/x")
    (True, False, False)
    """
    return isinstance(name, str) and re.fullmatch(f"{_NAME}:{_NAME}", name) is not None


def imported(path: str) -> Factory:
    """Import a class, or a function that returns a model, by its import path.

    This runs code: the path must come from the caller, never from a repository.

    Raises:
        ConfigError: there is no such module, importing it fails, or what it names cannot be called.
        UnknownNameError: the module has nothing of that name; the message lists the nearest.

    >>> imported("torch.nn:Linear")
    <class 'torch.nn.modules.linear.Linear'>
    """
    module_name, _, names = path.partition(":")
    found: Any = _module(module_name, repr(path))
    for name in names.split("."):
        if not hasattr(found, name):
            raise UnknownNameError("name", name, vars(found), of=found.__name__)
        found = getattr(found, name)
    if not callable(found):
        raise ConfigError(f"{path!r}: is {type(found).__name__}, not a class or function that builds a model")
    factory: Factory = found
    return factory


def import_modules(names: str | Sequence[str]) -> tuple[str, ...]:
    """Import modules of the user's own, so that what they register goes by its name from then on; return their names.

    This runs code: the names must come from the caller, never from a repository.

    Args:
        names: of modules; of several in one text, with commas between them.

    Raises:
        ConfigError: there is no such module, or importing it fails.

    >>> import_modules("json, math"), import_modules(["json"]), import_modules([])
    (('json', 'math'), ('json',), ())
    """
    listed = tuple(name.strip() for name in names.split(",")) if isinstance(names, str) else tuple(names)
    for name in listed:
        if re.fullmatch(_NAME, name) is None or name.endswith(".py"):
            raise ConfigError(f"imports: {name!r} is no module's name; give my_acts for my_acts.py")
        _module(name, "imports")
    return listed


def _module(name: str, where: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise ConfigError(f"{where}: importing {name} fails: {error}") from error
        raise ConfigError(
            f"{where}: there is no module {error.name!r} on Python's path; start from the folder that holds it, or "
            "set PYTHONPATH"
        ) from error
    except Exception as error:  # whatever the user's module raises
        raise ConfigError(f"{where}: importing {name} fails: {type(error).__name__}: {error}") from error


def build_imported(path: str, pretrained: bool, arguments: dict[str, Any]) -> nn.Module:
    """Build a model by the user's own code; its number of classes is passed as ``num_classes``."""
    if pretrained:
        raise ConfigError(
            f"{path!r} is code and has no weights; set pretrained to false, or name a saved model of it and give this "
            "as its architecture"
        )
    factory = imported(path)
    model = construct(lambda _, **given: factory(**given), path, arguments)
    if not isinstance(model, nn.Module):
        raise ConfigError(f"{path!r}: returned {type(model).__name__}, not a torch module")
    return model
