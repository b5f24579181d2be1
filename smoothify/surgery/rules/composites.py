"""Smooth counterparts that need more than one activation: sloped, scaled and shifted ones.

T stands for the activation that they are built from. A composite is as smooth as its T.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class Composite(nn.Module):
    """The base of every composite: holds T as ``activation``.

    ``kept`` names the parameters that are the original's own, under the original's key.
    """

    kept: frozenset[str] = frozenset()

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.activation = activation

    def formula(self, inner: str) -> str:
        """Return what is computed, with ``inner`` as the spelling of T."""
        raise NotImplementedError


class Leaky(Composite):
    """a·x + (1 − a)·T(x): the smooth leaky ReLU of slope a.

    >>> Leaky(nn.SiLU(), 0.1)(torch.zeros(2))
    tensor([0., 0.])
    """

    def __init__(self, activation: nn.Module, slope: float) -> None:
        super().__init__(activation)
        self.slope = slope

    def forward(self, x: Tensor, slope: float | None = None) -> Tensor:
        """Map a tensor of any shape to one of the same shape; ``slope`` is another one for this call."""
        a = self.slope if slope is None else slope
        return torch.add(a * x, self.activation(x), alpha=1 - a)

    def formula(self, inner: str) -> str:
        """Return what is computed, with ``inner`` as the spelling of T."""
        return f"{self.slope:g}·x + {1 - self.slope:g}·{inner}"

    def extra_repr(self) -> str:
        """Show the slope."""
        return f"slope={self.slope}"


class ParametricLeaky(Composite):
    """a·x + (1 − a)·T(x) with a learned: the smooth PReLU, whose ``weight`` (1,) or (channels,) it keeps.

    >>> layer = ParametricLeaky(nn.SiLU(), nn.PReLU(3).weight)
    >>> list(layer.state_dict()), layer(torch.zeros(2, 3, 4)).shape
    (['weight'], torch.Size([2, 3, 4]))
    """

    kept = frozenset({"weight"})

    def __init__(self, activation: nn.Module, weight: Tensor) -> None:
        super().__init__(activation)
        self.weight = weight

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, channels, …) to the same shape."""
        return sloped(x, self.activation, self.weight)

    def formula(self, inner: str) -> str:
        """Return what is computed, with ``inner`` as the spelling of T."""
        return f"a·x + (1 − a)·{inner}"


class RandomLeaky(Composite):
    """a·x + (1 − a)·T(x), a drawn per element from [lower, upper] in training, its mean in evaluation.

    >>> RandomLeaky(nn.SiLU(), 0.1, 0.3).eval()(torch.zeros(2))
    tensor([0., 0.])
    """

    def __init__(self, activation: nn.Module, lower: float, upper: float) -> None:
        super().__init__(activation)
        self.lower, self.upper = lower, upper

    def forward(self, x: Tensor, lower: float | None = None, upper: float | None = None) -> Tensor:
        """Map a tensor of any shape to one of the same shape; ``lower`` and ``upper`` are others for this call."""
        low, high = self.lower if lower is None else lower, self.upper if upper is None else upper
        if self.training:
            slope = torch.empty_like(x).uniform_(low, high)
            drawn: Tensor = slope * x + (1 - slope) * self.activation(x)
            return drawn
        mean = (low + high) / 2
        return torch.add(mean * x, self.activation(x), alpha=1 - mean)

    def formula(self, inner: str) -> str:
        """Return what is computed, with ``inner`` as the spelling of T."""
        return f"a·x + (1 − a)·{inner}, a in [{self.lower:g}, {self.upper:g}]"

    def extra_repr(self) -> str:
        """Show the range of slopes."""
        return f"lower={self.lower}, upper={self.upper}"


class Scaled(Composite):
    """scale·T(x): the smooth SELU.

    >>> Scaled(nn.CELU(), 1.05)(torch.ones(1))
    tensor([1.0500])
    """

    def __init__(self, activation: nn.Module, scale: float) -> None:
        super().__init__(activation)
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        """Map a tensor of any shape to one of the same shape."""
        result: Tensor = self.scale * self.activation(x)
        return result

    def formula(self, inner: str) -> str:
        """Return what is computed, with ``inner`` as the spelling of T."""
        return f"{self.scale:g}·{inner}"

    def extra_repr(self) -> str:
        """Show the scale."""
        return f"scale={self.scale}"


class Shifted(Composite):
    """τ + T(x − τ): the smooth max(x, τ), called with both tensors (broadcast against each other).

    >>> Shifted(nn.SiLU())(torch.zeros(2, 3), torch.zeros(3)).shape
    torch.Size([2, 3])
    """

    def forward(self, x: Tensor, threshold: Tensor) -> Tensor:
        """Map (…) and a threshold broadcastable against it to (…)."""
        result: Tensor = threshold + self.activation(x - threshold)
        return result

    def formula(self, inner: str) -> str:
        """Return what is computed, with ``inner`` as the spelling of T."""
        return f"τ + {inner}(x − τ)"


class FunctionalPReLU(Composite):
    """a·x + (1 − a)·T(x) called with x and a: what ``F.prelu(x, weight)`` becomes.

    >>> FunctionalPReLU(nn.SiLU())(torch.zeros(2, 3), torch.ones(3)).shape
    torch.Size([2, 3])
    """

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        """Map (batch, channels, …) and a weight (1,) or (channels,) to the input's shape."""
        return sloped(x, self.activation, weight)

    def formula(self, inner: str) -> str:
        """Return what is computed, with ``inner`` as the spelling of T."""
        return f"a·x + (1 − a)·{inner}"


class InPlace(Composite):
    """T, written over its input as an in-place function does: for a T that has no such form of its own.

    >>> x = torch.zeros(2)
    >>> InPlace(nn.Softplus())(x) is x, x
    (True, tensor([0.6931, 0.6931]))
    """

    inplace = True

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """Map a tensor of any shape, whatever the original called it, to itself, with new values."""
        x, *others = *args, *kwargs.values()
        written: Tensor = x.copy_(self.activation(x.clone(), *others))
        return written

    def formula(self, inner: str) -> str:
        """Return what is computed, with ``inner`` as the spelling of T."""
        return inner


def run_as(activation: nn.Module, inplace: bool, x: Tensor, *others: Any) -> Tensor:
    """Run an activation, to which a call was redirected, in place or not; a call is recognised by this frame."""
    return run_either_way(activation, inplace, x, *others)


def run_either_way(activation: nn.Module, inplace: bool, x: Tensor, *others: Any) -> Tensor:
    """Run an activation in place or not, whichever it was built for."""
    writes = bool(getattr(activation, "inplace", False))
    result: Tensor = activation(x.clone() if inplace != writes else x, *others)
    return x.copy_(result) if inplace and not writes else result


def sloped(x: Tensor, activation: nn.Module, weight: Tensor) -> Tensor:
    """Return a·x + (1 − a)·T(x) with one slope a per channel (dimension 1) or a single one."""
    slope = weight.to(x.dtype)  # under autocast the result would be promoted, which that of F.prelu is not
    if weight.numel() > 1 and x.dim() > 1:
        slope = slope.reshape(-1, *[1] * (x.dim() - 2))
    result: Tensor = slope * x + (1 - slope) * activation(x)
    return result
