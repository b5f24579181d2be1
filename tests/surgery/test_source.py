"""The text that is rewritten: it must be that of the running code, with its private names and its variables around."""

import copy
import gc
import importlib
import linecache
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import smoothify
from smoothify.surgery.rewriting.definition import class_around, definition_of

from .awkward import Plain

X = torch.linspace(-1, 1, 24).reshape(4, 6)

EDITED = """
import torch.nn.functional as F
from torch import nn

class Edited(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(6, 6)

    def forward(self, x):
        '''Says what

        it is.
        '''
        self.ran = True
        return F.relu(self.linear(x)) * 2
"""


@pytest.mark.parametrize(
    ("edit", "how"),
    [
        (lambda text: text.replace("* 2", "* 3"), "runtime"),
        (lambda text: text.replace("self.ran", "self.was"), "runtime"),
        (lambda text: text.replace("import torch.nn", "\n\n\nimport torch.nn"), "runtime"),
        (lambda text: text + "\n# an end\n", "source"),
    ],
)
def test_a_file_that_was_edited_since_is_not_what_runs(
    edit: Callable[[str], str], how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    file = tmp_path / "edited_later.py"
    file.write_text(EDITED)
    importlib.invalidate_caches()
    model = importlib.import_module("edited_later").Edited()
    sys.modules.pop("edited_later")  # the next one is of another folder
    file.write_text(edit(EDITED))
    assert [site.how for site in smoothify.convert_(model, example_input=X).converted] == [how]
    torch.testing.assert_close(model(X), F.silu(model.linear(X)) * 2)


class Private(Plain):
    __factor = 2.0

    def __scaled(self, x: Tensor) -> Tensor:
        return x * self.__factor

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        self.__ran = True
        __y = F.relu(self.linear(x))
        return __y if mask is None else F.hardswish(self.__scaled(__y)) * mask


def test_private_names_are_those_of_the_class() -> None:
    model = smoothify.convert(Private(), example_input=(X, X))
    assert {site.how for site in smoothify.convert_(Private(), example_input=(X, X)).converted} == {"source"}
    y = F.silu(model.linear(X))
    torch.testing.assert_close(model(X), y)
    torch.testing.assert_close(model(X, X), F.silu(y * 2) * X)
    twice = smoothify.convert(smoothify.convert(Private(), replace={"relu"}, strict=False, example_input=(X, X)))
    torch.testing.assert_close(twice(X), F.silu(twice.linear(X)))


def around() -> tuple[nn.Module, Callable[[float], None]]:
    factor = 1.0

    class Around(Plain):
        def forward(self, x: Tensor) -> Tensor:
            self.ran = True
            return F.relu(self.linear(x)) * factor + later()

    def set_factor(value: float) -> None:
        nonlocal factor
        factor = value

    model = Around()

    def later() -> float:
        return factor

    return model, set_factor


def test_a_variable_around_a_method_is_shared_with_it() -> None:
    model, set_factor = around()
    assert [site.how for site in smoothify.convert_(model, example_input=X).converted] == ["source"]
    for changed in (model, copy.deepcopy(model)):
        set_factor(3.0)
        torch.testing.assert_close(changed(X), F.silu(model.linear(X)) * 3 + 3)
        set_factor(5.0)
        torch.testing.assert_close(changed(X), F.silu(model.linear(X)) * 5 + 5)


def test_a_definition_is_found_wherever_it_stands() -> None:
    def inner(x: Tensor) -> Tensor:
        return F.relu(x)

    for function, owner in ((inner, ""), (Private.forward, "Private"), (Plain.__init__, "Plain")):
        assert definition_of(function)[0].name == function.__name__
        assert class_around(function) == owner


class Set(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.factor = 1.0

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.linear(x)) * self.factor


def test_the_text_of_code_that_is_no_more_is_forgotten() -> None:
    model = smoothify.convert(Set(), example_input=X)

    def known() -> int:
        gc.collect()
        return sum(file.startswith("<smoothify") for file in linecache.cache)

    before = known()
    for number in range(20):
        model.factor = float(number)
    torch.testing.assert_close(model(X), F.silu(model.linear(X)) * 19)
    assert known() <= before + 1
