"""Every public name stands on an API page, once, every name on an API page exists, and shows how it is used."""

import importlib
import inspect
import pkgutil
import re
from collections import Counter
from pathlib import Path

import pytest

import smoothify

PAGES = sorted((Path(__file__).parents[2] / "docs" / "api").glob("*.md"))
SHOWN = [name for page in PAGES for name in re.findall(r"^::: (\S+)", page.read_text(encoding="utf-8"), re.M)]
PACKAGES = [
    "smoothify",
    *(f"smoothify.{found.name}" for found in pkgutil.iter_modules(smoothify.__path__) if found.ispkg),
]


def thing(name: str) -> object:
    module, _, attribute = name.rpartition(".")
    try:
        return getattr(importlib.import_module(module), attribute)
    except AttributeError:
        return importlib.import_module(name)


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_is_shown(package: str) -> None:
    """What two packages export stands under one of them; errors stand together."""
    shown = [thing(name) for name in SHOWN]
    errors = vars(smoothify.errors).values()
    missing = [
        name
        for name in importlib.import_module(package).__all__
        if f"{package}.{name}" not in SHOWN
        and not any(thing(f"{package}.{name}") is one for one in (*shown, *errors) if callable(one))
    ]
    assert missing == []


def test_no_name_is_shown_twice() -> None:
    assert [name for name, times in Counter(SHOWN).items() if times > 1] == []


@pytest.mark.parametrize("name", SHOWN)
def test_every_class_and_function_has_an_example(name: str) -> None:
    """In its own docstring: one that is inherited, or stands at a method, is not what its page opens with."""
    shown = thing(name)
    if inspect.isclass(shown):
        assert ">>>" in (vars(shown).get("__doc__") or "")
    elif inspect.isroutine(shown):
        assert ">>>" in (inspect.getdoc(shown) or "")
