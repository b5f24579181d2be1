"""What a trace does not see being asked: absent attributes, tables of modules, dtypes, settings, exceptions."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import smoothify

from . import mode_flags
from .awkward import Plain
from .mode_flags import Settings

X = torch.linspace(-1, 1, 24).reshape(4, 6)


class HasOne(Plain):
    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.linear(x))
        return self.adapter(x) if hasattr(self, "adapter") else x


class AmongModules(HasOne):
    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.linear(x))
        return self.adapter(x) if "adapter" in self._modules else x


class AmongVariables(HasOne):
    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.linear(x))
        return self.adapter(x) if "adapter" in vars(self)["_modules"] else x


class OfAChild(Plain):
    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.linear(x))
        return self.linear.adapter(x) if hasattr(self.linear, "adapter") else x


COMING: dict[str, Callable[[nn.Module], None]] = {
    "setattr": lambda module: setattr(module, "adapter", nn.Tanh()),
    "function": lambda module: setattr(module, "adapter", torch.tanh),
    "add_module": lambda module: module.add_module("adapter", nn.Tanh()),
    "table": lambda module: module._modules.update(adapter=nn.Tanh()),
}


@pytest.mark.parametrize(
    ("cls", "way"),
    [
        (cls, way)
        for cls in (HasOne, AmongModules, AmongVariables, OfAChild)
        for way in COMING
        if way != "function" or cls in (HasOne, OfAChild)  # the others ask for modules only
    ],
)
def test_what_was_absent_and_comes_is_run_until_it_goes(cls: type[nn.Module], way: str) -> None:
    model = cls()
    assert smoothify.convert_(model, example_input=X).verified
    before = model(X)
    owner = model.linear if cls is OfAChild else model
    for _ in range(2):
        COMING[way](owner)
        torch.testing.assert_close(model(X), before.tanh())
        del owner.adapter
        torch.testing.assert_close(model(X), before)


class ByDefault(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.linear(x)) / getattr(self, "temperature", 1.0)


def test_an_attribute_with_a_default_is_heeded_when_it_is_set() -> None:
    model = smoothify.convert(ByDefault(), example_input=X)
    before = model(X)
    model.temperature = 2.0
    torch.testing.assert_close(model(X), before / 2)
    model.temperature = 4.0
    torch.testing.assert_close(model(X), before / 4)


class CastByParameter(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.linear(x.to(next(self.parameters()).dtype)))


class CastByWeight(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.linear(x.to(self.linear.weight.dtype)))


class CastByBuffer(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(6))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.linear(x.to(self.mean.dtype) - self.mean))


@pytest.mark.parametrize("cls", [CastByParameter, CastByWeight, CastByBuffer])
def test_a_cast_follows_the_dtype_of_the_model(cls: type[nn.Module]) -> None:
    model = smoothify.convert(cls(), example_input=X)
    assert model.double()(X).dtype is torch.float64


class CutByBuffer(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("table", torch.zeros(5))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.linear(x))[:, : self.table.shape[0]]


def test_the_shape_of_a_buffer_is_asked_at_every_call() -> None:
    model = smoothify.convert(CutByBuffer(), example_input=X)
    model.table = torch.zeros(2)
    assert model(X).shape == (4, 2)


class OfAModule(Plain):
    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.linear(x))
        return x * 2 if mode_flags.DOUBLED else x


class OfAClass(Plain):
    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.linear(x))
        return x * 2 if Settings.doubled else x


class OfAClassInAModule(Plain):
    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.linear(x))
        return x * 2 if mode_flags.Settings.doubled else x


class OfAnImport(Plain):
    def forward(self, x: Tensor) -> Tensor:
        from .mode_flags import DOUBLED

        x = F.relu(self.linear(x))
        return x * 2 if DOUBLED else x


class OfAHeldClass(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.settings = Settings

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.linear(x))
        return x * 2 if self.settings.doubled else x


class OfItsOwnClass(Plain):
    doubled = False

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.linear(x))
        return x * 2 if self.__class__.doubled else x


def of_a_class_around() -> nn.Module:
    settings = Settings

    class OfAClassAround(Plain):
        def forward(self, x: Tensor) -> Tensor:
            x = F.relu(self.linear(x))
            return x * 2 if settings.doubled else x

    return OfAClassAround()


@pytest.mark.parametrize(
    "build", [OfAModule, OfAClass, OfAClassInAModule, OfAnImport, OfAHeldClass, OfItsOwnClass, of_a_class_around]
)
def test_settings_of_modules_and_classes_are_read_at_every_call(
    build: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build()
    assert {site.how for site in smoothify.convert_(model, example_input=X).sites} == {"source"}
    before = model(X)
    monkeypatch.setattr(mode_flags, "DOUBLED", True)
    monkeypatch.setattr(Settings, "doubled", True)
    monkeypatch.setattr(OfItsOwnClass, "doubled", True)
    torch.testing.assert_close(model(X), before * 2)


class Catches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.convolution(x))
        try:
            return x.view(len(x), -1)
        except RuntimeError:
            return x.reshape(len(x), -1)


class CatchesBoundToFail(Catches):
    def forward(self, x: Tensor) -> Tensor:
        return flat(F.relu(self.convolution(x)))


def flat(x: Tensor) -> Tensor:
    try:
        return x.view(x.shape[0], -1)
    except RuntimeError:
        return x.reshape(x.shape[0], -1)


@pytest.mark.parametrize("cls", [Catches, CatchesBoundToFail])
def test_what_is_caught_is_caught_afterwards(cls: type[nn.Module]) -> None:
    x = torch.rand(2, 3, 4, 4)
    model = cls()
    report = smoothify.convert_(model, example_input=x)
    assert report.verified and {site.how for site in report.converted} == {"source"}
    torch.testing.assert_close(model(x.to(memory_format=torch.channels_last)), model(x))
