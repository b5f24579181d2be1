"""Where an attack's random numbers come from: one of torch's generators, or each image's own key."""

from __future__ import annotations

import math

import torch
from torch import Tensor

# SplitMix64 (Steele, Lea, Flood, OOPSLA 2014, figure 17): increment and multipliers, as signed 64-bit numbers
_INCREMENT, _FIRST, _SECOND = -0x61C8864680B583EB, -0x40A7B892E31B1A47, -0x6B2FB644ECCEEE15


class SampleNoise:
    """Random numbers that depend on each image's key and on nothing else.

    It stands wherever an attack takes a `torch.Generator`. The same image meets the same noise whatever batch,
    process or device it is in. Image ``i`` gets the numbers of the SplitMix64 generator that starts at ``keys[i]``;
    each draw goes on where the one before it stopped.

    Args:
        keys: (batch,), int64, on the images' device; from `sample_keys`.

    >>> noise = SampleNoise(sample_keys(seed=0, epoch=3, samples=torch.tensor([7, 2])))
    >>> alone = SampleNoise(sample_keys(seed=0, epoch=3, samples=torch.tensor([2])))
    >>> like = torch.empty(2, 1, 4, 4)
    >>> torch.equal(noise.uniform(like)[1:], alone.uniform(like[:1]))
    True
    """

    def __init__(self, keys: Tensor) -> None:
        self._keys = keys
        self._drawn = 0

    def of(self, standing: Tensor) -> SampleNoise:
        """Return the noise of some of the images, by position or mask, which goes on where this one stopped."""
        rest = SampleNoise(self._keys[standing])
        rest._drawn = self._drawn
        return rest

    @property
    def seed(self) -> int:
        """The first image's key, for a library that takes one seed for a whole batch."""
        return int(self._keys[0]) & 0x7FFFFFFF

    def uniform(self, like: Tensor, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Return numbers in [low, high) of the shape and type of ``like``, whose first axis is the batch."""
        count = math.prod(like.shape[1:])
        words = (count + 1) // 2
        positions = torch.arange(self._drawn + 1, self._drawn + words + 1, device=self._keys.device)
        self._drawn += words
        bits = _mix(self._keys[:, None] + positions * _INCREMENT).view(torch.int32)[:, :count]
        fractions = (bits >> 8).bitwise_and_(0xFFFFFF).to(torch.float32)
        return fractions.mul_((high - low) / 2**24).add_(low).to(like.dtype).view(like.shape)

    def normal(self, like: Tensor) -> Tensor:
        """Return standard normal numbers of the shape and type of ``like`` (Box and Muller, 1958)."""
        wide = torch.empty(like.shape, dtype=torch.promote_types(like.dtype, torch.float32), device="meta")
        radius = (1 - self.uniform(wide)).log_().mul_(-2).sqrt_()  # in half precision it would take the log of 0
        return radius.mul_(self.uniform(wide, 0.0, 2 * math.pi).cos_()).to(like.dtype)


Randomness = torch.Generator | SampleNoise | None
"""Where an attack's random numbers come from; None is torch's global generator."""


def uniform(like: Tensor, low: float, high: float, source: Randomness) -> Tensor:
    """Return numbers in [low, high) of the shape of ``like``; torch's global generator draws them if none is given."""
    if isinstance(source, SampleNoise):
        return source.uniform(like, low, high)
    return torch.empty_like(like).uniform_(low, high, generator=source)


def normal(like: Tensor, source: Randomness) -> Tensor:
    """Return standard normal numbers of the shape of ``like``; torch's global generator if none is given."""
    if isinstance(source, SampleNoise):
        return source.normal(like)
    return torch.empty_like(like).normal_(generator=source)


def narrow(source: Randomness, standing: Tensor) -> Randomness:
    """Return the randomness of some of the images of a batch, by position or mask."""
    return source.of(standing) if isinstance(source, SampleNoise) else source


def seed_of(source: Randomness) -> int:
    """Return one seed for a batch, for a library that takes nothing else."""
    if isinstance(source, SampleNoise):
        return source.seed
    return (torch.initial_seed() if source is None else source.initial_seed()) & 0x7FFFFFFF


def sample_keys(seed: int, epoch: int, samples: Tensor) -> Tensor:
    """Return the keys of samples, by their number in the data set; each seed and epoch has its own.

    Args:
        seed: of the run.
        epoch: counted from 0.
        samples: their numbers (batch,).

    >>> sample_keys(0, 1, torch.tensor([5])) == sample_keys(0, 2, torch.tensor([5]))
    tensor([False])
    """
    run = _mix(torch.tensor([seed + 1], device=samples.device))
    return _mix(_mix(run + epoch) + samples)


def _mix(state: Tensor) -> Tensor:
    """SplitMix64's output function; int64 wraps around as its unsigned numbers do."""
    state = (state ^ ((state >> 30) & 0x3FFFFFFFF)) * _FIRST
    state = (state ^ ((state >> 27) & 0x1FFFFFFFFF)) * _SECOND
    return state ^ ((state >> 31) & 0x1FFFFFFFF)
