"""What a norm must supply for one PGD loop to serve all of them: a start, a direction and a projection."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from smoothify.attacks.noise import Randomness, normal, uniform


class Norm(ABC):
    """A ball around an image. Perturbations have shape (batch, channels, height, width), in [0, 1] pixel units.

    >>> NORMS["linf"].size(torch.full((1, 1, 2, 2), 0.25)), NORMS["l2"].size(torch.full((1, 1, 2, 2), 0.25))
    (tensor([0.2500]), tensor([0.5000]))
    """

    @abstractmethod
    def start(self, images: Tensor, epsilon: float, generator: Randomness) -> Tensor:
        """Return a perturbation drawn uniformly from the ball of radius ``epsilon``."""

    @abstractmethod
    def direction(self, gradient: Tensor) -> Tensor:
        """Return the step of unit norm that raises the loss most, to first order."""

    @abstractmethod
    def project(self, perturbation: Tensor, epsilon: float) -> Tensor:
        """Return the nearest perturbation inside the ball of radius ``epsilon``."""

    @abstractmethod
    def size(self, perturbation: Tensor) -> Tensor:
        """Return each image's perturbation size, shape (batch,)."""


class Linf(Norm):
    """The largest change of any pixel.

    >>> Linf().project(torch.tensor([[[[0.02, -0.5]]]]), epsilon=0.1)
    tensor([[[[ 0.0200, -0.1000]]]])
    """

    def start(self, images: Tensor, epsilon: float, generator: Randomness) -> Tensor:
        """Return independent uniform noise in [-epsilon, epsilon]."""
        return uniform(images, -epsilon, epsilon, generator)

    def direction(self, gradient: Tensor) -> Tensor:
        """Return the gradient's sign."""
        return gradient.sign()

    def project(self, perturbation: Tensor, epsilon: float) -> Tensor:
        """Clip every pixel."""
        return perturbation.clamp(-epsilon, epsilon)

    def size(self, perturbation: Tensor) -> Tensor:
        """Return the largest absolute pixel change of each image."""
        return perturbation.abs().flatten(1).amax(1)


class L2(Norm):
    """The Euclidean length of the change of all pixels of an image.

    >>> L2().project(torch.tensor([[[[3.0, 4.0]]]]), epsilon=1.0)
    tensor([[[[0.6000, 0.8000]]]])
    """

    def start(self, images: Tensor, epsilon: float, generator: Randomness) -> Tensor:
        """Return noise uniform in the ball: a Gaussian direction, a radius with the ball's density."""
        noise = normal(images, generator)
        share = uniform(images.new_empty(len(images)), 0.0, 1.0, generator)
        radius = share.pow(1 / math.prod(images.shape[1:])).mul(epsilon)
        return self.direction(noise) * _per_image(radius, images)

    def direction(self, gradient: Tensor) -> Tensor:
        """Return the gradient at length 1; a zero gradient stays zero."""
        tiny = torch.finfo(gradient.dtype).tiny
        largest = gradient.abs().flatten(1).amax(1).clamp_min(tiny)
        scaled = gradient / _per_image(largest, gradient)  # squares of a small one would be zero
        return scaled / _per_image(self.size(scaled).clamp_min(tiny), scaled)

    def project(self, perturbation: Tensor, epsilon: float) -> Tensor:
        """Shorten what is longer than ``epsilon``."""
        length = self.size(perturbation)
        return (
            perturbation * _per_image(epsilon / length.clamp_min(epsilon), perturbation)
            if epsilon > 0
            else 0 * perturbation
        )

    def size(self, perturbation: Tensor) -> Tensor:
        """Return the Euclidean length of each image's change."""
        length: Tensor = torch.linalg.vector_norm(perturbation.flatten(1), dim=1)
        return length


NORMS: Mapping[str, Norm] = MappingProxyType({"linf": Linf(), "l2": L2()})
"""Every norm by name."""


def _per_image(values: Tensor, like: Tensor) -> Tensor:
    return values.view(-1, *[1] * (like.ndim - 1))
