"""The second proof: looking for a kink from outside, knowing nothing of operations."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from smoothify.errors import DataError, NonFiniteError, UnsupportedModelError
from smoothify.surgery.probing.model_copy import without_graphs

_GRID, _BEAM, _HALVINGS = 256, 16, 32
_NOISE = 1e-6


@dataclass(frozen=True, slots=True)
class Kink:
    """A jump of a directional derivative that does not shrink with the interval around it.

    >>> print(Kink(position=0.25, width=1e-12, jump=0.04))
    kink at 0.250000: the derivative jumps by 4.00e-02 of its scale
    """

    position: float
    """Where along the segment, from 0 (the input) to 1 (its end)."""
    width: float
    """The width of the last interval around the jump, in the same unit."""
    jump: float
    """The jump, over the largest directional derivative on the segment."""

    def __str__(self) -> str:
        return f"kink at {self.position:.6f}: the derivative jumps by {self.jump:.2e} of its scale"


def find_kink(model: nn.Module, x: Tensor, *, segments: int = 4, seed: int = 0, length: float = 1.0) -> Kink | None:
    """Search random segments that start at an input for a kink of the model; None where there is none.

    A float64 copy of the model in eval mode is differentiated along the segment. Intervals in which the derivative
    bends most are halved again and again: in a C1 model what it changes by shrinks with the interval, at the kink of
    a rectifier (or of max pooling) it does not. This shares nothing with the probe. None says that no segment crosses
    a kink: strong evidence, no proof.

    Args:
        model: maps inputs (batch, …) to a tensor (batch, …), each by itself; it is not changed.
        x: one input, (1, channels, height, width) or whatever the model takes.
        segments: how many at most; the first with a kink ends the search.
        seed: of their directions.
        length: scales the segments, whose ends are one standard-normal draw away.

    Raises:
        NonFiniteError: a derivative is NaN or infinite, and nothing can be said.
        DataError: the input holds integers, or the model returns something else than one output for each input.
        UnsupportedModelError: a batch norm without running statistics, for which an output depends on its neighbours.

    >>> from torch import nn
    >>> x = torch.zeros(1, 4)
    >>> _ = torch.manual_seed(0)
    >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    >>> find_kink(model, x).jump > 0.01
    True
    >>> model[1] = nn.SiLU()
    >>> print(find_kink(model, x))
    None
    """
    if not x.is_floating_point():
        raise DataError(
            f"the input holds {x.dtype}, between whose values nothing lies; give floating-point values and, of a model "
            "that looks them up in an embedding, the part behind that"
        )
    _refuse_batch_statistics(model)
    exact = copy.deepcopy(model, without_graphs(model)).double().eval().requires_grad_(False)
    searched = (_on_segment(_derivative(exact, x, seed + step, length)) for step in range(segments))
    return next((kink for kink in searched if kink is not None), None)


def _refuse_batch_statistics(model: nn.Module) -> None:
    for path, module in model.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is None:
            raise UnsupportedModelError(
                f"{path or '(the model itself)'}: {type(module).__name__} without running statistics normalises by the "
                "batch, so an output depends on the other inputs in it; build it with track_running_stats=True"
            )


def _on_segment(derivative: Callable[[Tensor], Tensor]) -> Kink | None:
    points = torch.linspace(0, 1, _GRID + 1, dtype=torch.float64)
    slopes = derivative(points)
    scale = float(slopes.abs().max()) or 1.0
    left, right = points[:-1], points[1:]
    before, after = slopes[:-1], slopes[1:]
    for _ in range(_HALVINGS):
        middle = (left + right) / 2
        between = derivative(middle)
        bends = (before + after - 2 * between).abs()  # where the slope is smooth it falls with the square
        keep = bends.topk(min(_BEAM, len(bends))).indices
        halves = [(left, middle, before, between), (middle, right, between, after)]
        left, right, before, after = (torch.cat([half[part][keep] for half in halves]) for part in range(4))
    jumps = (after - before).abs() / scale
    worst = int(jumps.argmax())
    if float(jumps[worst]) < _NOISE:
        return None
    return Kink(float(left[worst]), float(right[worst] - left[worst]), float(jumps[worst]))


def _derivative(exact: nn.Module, x: Tensor, seed: int, length: float) -> Callable[[Tensor], Tensor]:
    generator = torch.Generator().manual_seed(seed)
    start = x[:1].detach().double()
    direction = torch.randn(start.shape, generator=generator, dtype=torch.float64).to(start.device) * length
    weights: list[Tensor] = []

    def at(points: Tensor) -> Tensor:
        steps = points.reshape(-1, *[1] * (start.dim() - 1)).to(start.device)
        inputs = (start + steps * direction).requires_grad_()
        with torch.enable_grad():
            outputs = _by_input(_logits(exact(inputs.clone())), len(inputs))  # which it may write into
            if not weights:  # one random combination of all logits, the same at every point
                drawn = torch.randn(outputs.shape[1], generator=generator, dtype=torch.float64)
                weights.append(drawn.to(outputs.device) / outputs.shape[1] ** 0.5)
            (gradient,) = torch.autograd.grad((outputs @ weights[0]).sum(), inputs)
        return (gradient * direction).flatten(1).sum(1).cpu()

    def derivative(points: Tensor) -> Tensor:
        slopes = torch.cat([at(chunk) for chunk in torch.split(points, 32)])
        if not bool(slopes.isfinite().all()):
            raise NonFiniteError(
                f"the derivative of this {type(exact).__name__} is NaN or infinite on a segment of length {length:g} "
                f"from the input; give an input around which the model is finite, or a smaller length="
            )
        return slopes

    return derivative


def _by_input(outputs: Tensor, count: int) -> Tensor:
    if outputs.dim() == 0 or len(outputs) != count:
        raise DataError(
            f"the model returns {tuple(outputs.shape)} for {count} inputs; wrap it so that one output comes back for "
            "each input, in the first dimension"
        )
    return outputs.reshape(count, -1)


def _logits(output: Any) -> Tensor:
    if isinstance(output, Tensor):
        return output
    logits = getattr(output, "logits", None)
    if isinstance(logits, Tensor):
        return logits
    values = output.values() if hasattr(output, "values") else output
    return next(value for value in values if isinstance(value, Tensor))
