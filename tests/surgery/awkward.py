"""Awkward models: each does one thing that surgery on function calls can get wrong."""

import functools
import types
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 6)


class Functional(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.linear(x))


class Method(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x).relu()


class ClampKeyword(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x).clamp(min=0)


class ClampMinInPlace(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x).clamp_min_(0)


class InPlaceResultDropped(Plain):
    def forward(self, x: Tensor) -> Tensor:
        y = self.linear(x)
        F.relu_(y)
        return y * 2


class InPlaceKeyword(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.linear(x), inplace=True)


class Leaky(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(self.linear(x), 0.2)


class Elu(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return F.elu(self.linear(x), alpha=1.5)


class Selu(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return F.selu(self.linear(x))


class HardTanh(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return F.hardtanh(self.linear(x), -1.0, 1.0)


class HardSwish(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return F.hardswish(self.linear(x)) * F.hardsigmoid(x) + F.relu6(x)


class PRelu(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.full((1,), 0.3))

    def forward(self, x: Tensor) -> Tensor:
        return F.prelu(self.linear(x), self.slope)


class LearnedThreshold(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.tau = nn.Parameter(torch.full((6,), 0.3))

    def forward(self, x: Tensor) -> Tensor:
        return torch.max(self.linear(x), self.tau)


class ReadsTraining(Plain):
    def forward(self, x: Tensor) -> Tensor:
        y = self.linear(x)
        return F.relu(y) * 2 if self.training else F.relu(y - 1)


class DropoutAfterRelu(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.p = 0.5

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(F.relu(self.linear(x)), self.p, self.training)


class OptionalMask(Plain):
    def forward(self, x: Tensor, mask: Tensor | None = None, scale: float = 1.0) -> Tensor:
        y = F.relu(self.linear(x)) * scale
        return y if mask is None else y * mask


class DataDependent(Plain):
    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.linear(x))
        return y if y.shape[0] > 1 else y + 1


class TypeDependent(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.linear(x)) if isinstance(x, Tensor) else x


class Random(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.linear(x)) + torch.rand(6)


class Helper(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return helper(self.linear(x)) if x.shape[0] > 1 else x


def helper(x: Tensor) -> Tensor:
    return F.relu(x) + 1


class HelperInPlace(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return helper_in_place(self.linear(x)) if x.shape[0] > 1 else x


def helper_in_place(x: Tensor) -> Tensor:
    torch.relu_(x)
    return x + 1


class LambdaAttribute(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.act = lambda x: F.relu(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.linear(x))


class PartialAttribute(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.act = functools.partial(F.leaky_relu, negative_slope=0.2)
        self.table = {"relu": F.relu, "none": None}

    def forward(self, x: Tensor) -> Tensor:
        return self.table["relu"](self.act(self.linear(x)))


class UnregisteredModule(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.acts = {"relu": nn.ReLU()}

    def forward(self, x: Tensor) -> Tensor:
        return self.acts["relu"](self.linear(x))


class BoundMethod(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.act = self._act

    def _act(self, x: Tensor) -> Tensor:
        return F.relu(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.linear(x)) if x.shape[0] else x


class Checkpointed(Plain):
    def __init__(self, use_reentrant: bool) -> None:
        super().__init__()
        self.inner = Functional()
        self.use_reentrant = use_reentrant

    def forward(self, x: Tensor) -> Tensor:
        y = checkpoint(self._block, x, use_reentrant=self.use_reentrant)
        return checkpoint(self.inner, y, use_reentrant=self.use_reentrant)

    def _block(self, x: Tensor) -> Tensor:
        return F.relu(self.linear(x))


class SuperCall(Functional):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + F.relu(x)


class Loop(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(6, 6) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = F.relu(layer(x))
        return x


class SlicedSequential(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        return self.net[2:](self.net[:2](x))


class HandWritten(Plain):
    def forward(self, x: Tensor) -> Tensor:
        y = self.linear(x)
        return y * (y > 0)


class Where(Plain):
    def forward(self, x: Tensor) -> Tensor:
        y = self.linear(x)
        return torch.where(y > 0, y, torch.zeros_like(y))


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = Functional()
        self.b = self.a
        self.c = Functional()
        self.c.linear.weight = self.a.linear.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.c(self.b(self.a(x)))


class CifarBlock(nn.Module):
    def __init__(self, functional: bool) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 6)
        self.functional = functional
        if not functional:
            self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        if self.functional:
            return F.relu(self.second(F.relu(self.first(x))) + x)
        return self.relu(self.second(self.relu(self.first(x))) + x)


class CopiesItself(Plain):
    """Its copies are constructed anew, and know nothing of what was done to the original."""

    def __init__(self) -> None:
        super().__init__()
        self.relu = nn.ReLU()

    def __deepcopy__(self, memo: dict[int, Any]) -> nn.Module:
        fresh = type(self)()
        fresh.load_state_dict(self.state_dict())
        return fresh

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.relu(self.linear(x)) - 0.5)


class PicklesItself(CopiesItself):
    def __reduce__(self) -> Any:
        return type(self), (), {"weights": self.state_dict()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.load_state_dict(state["weights"])


class NoGradBranch(Plain):
    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            seen = F.relu(self.linear(x))
        return seen + F.relu(x)


class AutocastInside(Plain):
    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return F.relu(self.linear(x)).float()


class OtherSelf(nn.Module):
    def __init__(this) -> None:  # noqa: N805  # what this is about
        super().__init__()
        this.linear = nn.Linear(6, 6)

    def forward(this, x: Tensor) -> Tensor:  # noqa: N805  # as above
        return F.relu(this.linear(x))


class ParentInSource(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) if x.shape[0] else x


class SuperInSource(ParentInSource):
    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return F.relu(y) if y.shape[0] else y


class HelperOfHelper(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return twice(self.linear(x), Slope) if x.shape[0] else x


class Slope:
    value = 0.2


def twice(x: Tensor, slope: type, *, kept: type = Slope) -> Tensor:
    assert slope is kept
    return leaky(x) + leaky(helper(x), power=1)


def leaky(x: Tensor, power: int = 2) -> Tensor:
    return F.leaky_relu(x, 0.2) ** power


class RecursiveHelper(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return again(self.linear(x), 2)


def again(x: Tensor, times: int) -> Tensor:
    return F.relu(x) if times == 0 or x.shape[0] == 0 else again(F.relu(x) - 0.1, times - 1)


class Generator(Plain):
    def parts(self, x: Tensor) -> Iterator[Tensor]:
        for scale in (1, 2):
            yield F.relu(self.linear(x) * scale)

    def forward(self, x: Tensor) -> Tensor:
        return sum(self.parts(x), torch.zeros(6))


class Recursive(Plain):
    def forward(self, x: Tensor, depth: int = 2) -> Tensor:
        y = F.relu(self.linear(x))
        return y if depth == 0 else self(y, depth=depth - 1)


class KeywordsOnly(Plain):
    def forward(self, x: Tensor, *, flag: bool = True) -> Tensor:
        return F.relu(self.linear(x)) if flag else x


class LambdaUnderVmap(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return torch.func.vmap(lambda row: F.relu(self.linear(row)))(x)


class TwoPRelus(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.PReLU(), nn.PReLU()
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.linear(self.first(x)) - 1)


class Mangled(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.__scale = 2.0

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.linear(x)) * self.__scale if x.shape[0] else x


class CalledByName(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return getattr(self.linear(x), "relu" if len(x) else "tanh")()


class Slotted(Plain):
    __slots__ = ("scale",)

    def __init__(self) -> None:
        super().__init__()
        self.scale = 3

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.linear(x)) * self.scale


class OwnBackward(torch.autograd.Function):
    @staticmethod
    def forward(context, x: Tensor) -> Tensor:
        context.save_for_backward(x)
        return x.clamp(min=0)

    @staticmethod
    def backward(context, gradient: Tensor) -> Tensor:
        return gradient * (context.saved_tensors[0] > 0)


class CallsOwnBackward(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return OwnBackward.apply(self.linear(x))


class AsksItsType(Plain):
    def forward(self, x: Tensor) -> Tensor:
        assert type(self) is AsksItsType
        return F.relu(self.linear(x)) if x.shape[0] else x


def with_foreign_forward(bound: bool) -> nn.Module:
    """Return a module whose instance somebody has given another forward."""
    model = Plain()

    def other(self: Plain, x: Tensor) -> Tensor:
        return F.relu(self.linear(x))

    model.forward = types.MethodType(other, model) if bound else lambda x: other(model, x)
    return model


MODELS = {
    cls.__name__: cls
    for cls in (
        Functional,
        Method,
        ClampKeyword,
        ClampMinInPlace,
        InPlaceResultDropped,
        InPlaceKeyword,
        Leaky,
        Elu,
        Selu,
        HardTanh,
        HardSwish,
        PRelu,
        LearnedThreshold,
        ReadsTraining,
        DropoutAfterRelu,
        OptionalMask,
        DataDependent,
        TypeDependent,
        Random,
        Helper,
        HelperInPlace,
        LambdaAttribute,
        PartialAttribute,
        UnregisteredModule,
        BoundMethod,
        SuperCall,
        Loop,
        SlicedSequential,
        Tied,
        CopiesItself,
        PicklesItself,
        NoGradBranch,
        AutocastInside,
        OtherSelf,
        SuperInSource,
        HelperOfHelper,
        RecursiveHelper,
        Generator,
        Recursive,
        KeywordsOnly,
        LambdaUnderVmap,
        TwoPRelus,
        Mangled,
        CalledByName,
    )
} | {
    "CheckpointedReentrant": lambda: Checkpointed(True),
    "Checkpointed": lambda: Checkpointed(False),
    "CifarFunctional": lambda: CifarBlock(True),
    "CifarShared": lambda: CifarBlock(False),
}
