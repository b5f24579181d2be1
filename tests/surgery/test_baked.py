"""What a trace would bake in is read anew at every call: other modules, containers, globals, effects, checkpoints."""

import copy
import functools
import pickle
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import smoothify
from smoothify.errors import UnconvertedError

from .awkward import Plain

X = torch.linspace(-1, 1, 24).reshape(4, 6)
DOUBLED = True
TIMES = torch.tensor(2.0)
HALF = lambda x: x / 2  # noqa: E731  # what a pickle cannot hold by value


class OfAChild(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(F.relu(self.linear(x)), self.drop.p, self.training)

    def change(self) -> None:
        self.drop.p = 0.0


class OfAConfig(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.config = SimpleNamespace(doubled=True)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.linear(x))
        return x * 2 if self.config.doubled else x

    def change(self) -> None:
        self.config.doubled = False


class OfADict(OfAConfig):
    def __init__(self) -> None:
        super().__init__()
        self.flags = {"doubled": True}

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.linear(x))
        return x * 2 if self.flags["doubled"] else x

    def change(self) -> None:
        self.flags["doubled"] = False


class OfAGlobal(Plain):
    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.linear(x))
        return x * 2 if DOUBLED else x

    def change(self) -> None:
        global DOUBLED
        DOUBLED = False


class OfAGlobalWithin(OfAGlobal):
    def forward(self, x: Tensor) -> Tensor:
        def maybe_doubled(x: Tensor) -> Tensor:
            return x * 2 if DOUBLED else x

        return maybe_doubled(F.relu(self.linear(x)))


class OfItsClass(Plain):
    doubled = True

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.linear(x))
        return x * 2 if self.doubled else x

    def change(self) -> None:
        self.doubled = False


class Doubles:
    def __init__(self) -> None:
        self.doubled = True

    def __call__(self, x: Tensor) -> Tensor:
        return x * 2 if self.doubled else x


class OfACallable(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.doubles = Doubles()

    def forward(self, x: Tensor) -> Tensor:
        return self.doubles(F.relu(self.linear(x)))

    def change(self) -> None:
        self.doubles.doubled = False


def of_a_closure() -> nn.Module:
    config = SimpleNamespace(doubled=True)

    class OfAClosure(Plain):
        def forward(self, x: Tensor) -> Tensor:
            x = F.relu(self.linear(x))
            return x * 2 if config.doubled else x

        def change(self) -> None:
            config.doubled = False

    return OfAClosure()


@pytest.mark.parametrize(
    "cls", [OfAChild, OfAConfig, OfADict, OfAGlobal, OfAGlobalWithin, OfItsClass, OfACallable, of_a_closure]
)
def test_what_is_changed_elsewhere_after_the_conversion_is_heeded(
    cls: type[nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{__name__}.DOUBLED", True)
    model = cls()
    assert {site.how for site in smoothify.convert_(model).sites} == {"source"}
    y = F.silu(model.linear(X))
    assert not torch.allclose(model(X), y)
    model.change()
    torch.testing.assert_close(model(X), y)


class Configures(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.configure(gain=1.0, steps=1)

    def configure(self, **settings: Any) -> None:
        for name, value in settings.items():
            setattr(self, name, value)

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(self.steps):
            x = F.relu(self.linear(x)) * self.gain
        return x


class ConfiguresByDict(Configures):
    def configure(self, **settings: Any) -> None:
        self.__dict__.update(settings)


class ConfiguresByVariables(Configures):
    def configure(self, **settings: Any) -> None:
        vars(self).update(settings)


class ConfiguresInAProperty(Configures):
    @property
    def settings(self) -> dict[str, Any]:
        return self.__dict__

    def configure(self, **settings: Any) -> None:
        self.settings.update(settings)


@pytest.mark.parametrize("cls", [Configures, ConfiguresByDict, ConfiguresByVariables, ConfiguresInAProperty])
def test_what_a_method_writes_past_setting_is_heeded(cls: type[nn.Module]) -> None:
    model = smoothify.convert(cls(), example_input=X)
    model.configure(gain=3.0, steps=2)
    torch.testing.assert_close(model(X), F.silu(model.linear(F.silu(model.linear(X)) * 3)) * 3)


class OfTheProcesses(Plain):
    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.linear(x))
        return x if torch.distributed.is_initialized() else x * 2


def test_whether_there_are_other_processes_is_asked_at_every_call() -> None:
    model = OfTheProcesses()
    smoothify.convert_(model)
    alone = model(X)
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    try:
        torch.testing.assert_close(model(X) * 2, alone)
    finally:
        torch.distributed.destroy_process_group()


class AsksIsTensor(Plain):
    def forward(self, x: Any) -> Tensor:
        return F.relu(self.linear(x if torch.is_tensor(x) else x[0]))


class AsksType(Plain):
    def forward(self, x: Any) -> Tensor:
        return F.relu(self.linear(x if type(x) is Tensor else x[0]))


class AsksAttribute(Plain):
    def forward(self, x: Any) -> Tensor:
        return F.relu(self.linear(x[0] if hasattr(x, "mask") else x))


class AsksDefault(Plain):
    def forward(self, x: Any) -> Tensor:
        return F.relu(self.linear(x if getattr(x, "mask", None) is None else x[0]))


class AsksShape(Plain):
    def forward(self, x: Any) -> Tensor:
        return F.relu(self.linear(x if isinstance(x.shape, tuple) else x[0]))


@pytest.mark.parametrize("cls", [AsksIsTensor, AsksType, AsksAttribute, AsksDefault, AsksShape])
def test_what_is_asked_of_the_input_is_asked_of_a_tensor(cls: type[nn.Module]) -> None:
    model = cls()
    assert smoothify.convert_(model, example_input=X).verified
    torch.testing.assert_close(model(X), F.silu(model.linear(X)))


class ComparesTwo(Plain):
    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        x, same = F.relu(self.linear(x)), x is other
        return x * 2 if same else x


@pytest.mark.parametrize("same", [True, False])
def test_two_arguments_that_are_one_tensor_take_their_own_way(same: bool) -> None:
    model = ComparesTwo()
    smoothify.convert_(model, example_input=(X, X) if same else (X, X.clone()))
    y = F.silu(model.linear(X))
    torch.testing.assert_close(model(X, X), y * 2)
    torch.testing.assert_close(model(X, X.clone()), y)


class Collects(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.seen, self.last = [], {}

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.linear(x))
        self.seen.append(x)
        self.last["x"] = x
        self.linear.output = x
        print("ran")
        return x


def test_what_a_forward_does_besides_it_still_does(capsys: pytest.CaptureFixture[str]) -> None:
    model = Collects()
    smoothify.convert_(model)
    assert not model.seen and not model.last and not hasattr(model.linear, "output")
    capsys.readouterr()
    y = model(X)
    assert model.seen[0] is model.last["x"] is model.linear.output is y
    assert capsys.readouterr().out == "ran\n"


class DrawsInNumpy(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.linear(x)) * float(np.random.rand())


def test_what_numpy_draws_is_drawn_anew() -> None:
    model = DrawsInNumpy()
    smoothify.convert_(model)
    assert not torch.equal(model(X), model(X))


def wrapped(forward: object) -> object:
    @functools.wraps(forward)
    def around(self: nn.Module, x: Tensor) -> Tensor:
        return forward(self, x)

    return around


class Checkpoints(Plain):
    on = False

    def __init__(self) -> None:
        super().__init__()
        self.on = False

    def forward(self, x: Tensor) -> Tensor:
        def body(y: Tensor) -> Tensor:
            return F.relu(self.linear(y))

        return checkpoint(body, x, use_reentrant=False) if self.on else body(x)


class WrappedCheckpoints(Checkpoints):
    forward = wrapped(Checkpoints.forward)


@pytest.mark.parametrize("at_first", [True, False])
def test_what_checkpoint_runs_again_is_smooth_too(at_first: bool) -> None:
    model = Checkpoints()
    model.on = at_first
    smoothify.convert_(model)
    gradients = []
    for model.on in (False, True):
        x = X.clone().requires_grad_()
        gradients += torch.autograd.grad(model(x).sum(), x)
    torch.testing.assert_close(*gradients)


def test_checkpoint_where_calls_could_only_be_redirected_is_refused() -> None:
    model = WrappedCheckpoints()
    with pytest.raises(UnconvertedError, match=r"uses checkpoint and its source cannot be rewritten.*exclude="):
        smoothify.convert_(model)
    torch.testing.assert_close(model(X), F.relu(model.linear(X)))


class Wrapped(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.child = Plain()
        self.child.forward = lambda x: F.relu(x)

    @wrapped
    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.linear(x)) + self.child(x) if x.shape[0] else x


def test_calls_of_a_child_are_not_redirected_with_those_of_its_parent() -> None:
    model = Wrapped()
    smoothify.convert_(model, exclude="child", strict=False)
    torch.testing.assert_close(model(X), F.silu(model.linear(X)) + F.relu(X))


class NamesALambda(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return HALF(F.relu(self.linear(x))) if x.shape[0] else x


def test_copies_of_what_was_rewritten_in_its_source() -> None:
    model = smoothify.convert(NamesALambda())
    for copied in (copy.copy(model), copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(copied(X), model(X))
    assert copy.copy(model).linear is model.linear


class Rectified(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return F.relu(super().forward(x))


def test_a_rewritten_module_that_is_parametrized_later_is_copied() -> None:
    model = smoothify.convert(nn.Sequential(Rectified(6, 6)), example_input=X)
    torch.nn.utils.parametrizations.weight_norm(model[0])
    copied = copy.deepcopy(model)
    assert torch.equal(copied(X), model(X))
    assert copied[0].parametrizations.weight.original0 is not model[0].parametrizations.weight.original0


class Reads(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.wide = False

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.linear(x))
        return x * 2 if self.wide and x.shape[0] > 1 else x


def test_what_cannot_be_traced_anew_is_rewritten_in_its_source() -> None:
    model = Reads()
    smoothify.convert_(model)
    model.wide = True
    torch.testing.assert_close(model(X), F.silu(model.linear(X)) * 2)
    compiled = torch.compile(model, backend="eager", fullgraph=True)  # as redirected, it would not be
    torch.testing.assert_close(compiled(X), model(X))


def test_a_method_that_was_rewritten_with_its_helpers_is_rewritten_again() -> None:
    class Both(Plain):
        def forward(self, x: Tensor) -> Tensor:
            return first(self.linear(x)) + second(x) if x.shape[0] else x

    model = Both()
    smoothify.convert_(model, replace={"relu"}, strict=False)
    report = smoothify.convert_(model, replace={"hardswish"})
    assert {site.how for site in report.converted} == {"source"} and report.verified
    torch.testing.assert_close(model(X), 2 * F.silu(model.linear(X)) + 3 * F.silu(X))


def first(x: Tensor, times: Tensor = TIMES) -> Tensor:
    return F.relu(x) * times


def second(x: Tensor) -> Tensor:
    return F.hardswish(x) * 3
