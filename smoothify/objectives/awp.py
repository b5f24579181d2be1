"""Adversarial weight perturbation (Wu et al., arXiv:2004.05884): a flat minimum, around any objective."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.parallel import DistributedDataParallel

from smoothify.attacks import Attack, Randomness
from smoothify.errors import UnsupportedModelError
from smoothify.objectives.base import Loss, Objective, not_negative
from smoothify.objectives.pgd_at import AdversarialTraining

# The direction alone counts; this keeps small entries from flushing to zero in half precision.
_LOSS_SCALE = 1024.0
_LAYERS = (nn.Linear, nn.modules.conv._ConvNd, nn.MultiheadAttention)


@dataclass(frozen=True)
class WeightPerturbation(Objective):
    """Another objective, at weights that are moved against it by γ of each layer's length.

    The weights of linear layers, attention's among them, and of convolutions move as the gradient of the objective
    says, layer by layer; everything else stays: norms, biases, learned activation parameters, tokens, position
    embeddings. With several processes each moves them for its own share of the batch. Activation checkpointing does
    not go with it: the backward pass would compute activations again at weights that have moved back.

    Args:
        inner: the objective.
        gamma: length of the move over that of the layer's weight, at least 0; 0.01 for adversarial training and 0.005
            for TRADES in the authors' experiments.

    Raises:
        UnsupportedModelError: when it compares, such a layer's weight is computed from others (weight or spectral
            norm), or none is trained.

    >>> WeightPerturbation(AdversarialTraining(label_smoothing=0.1), gamma=0.01).label_smoothing
    0.1
    """

    name: ClassVar[str] = "awp"

    label_smoothing: float = field(default=0.0, init=False)  # the inner objective's
    inner: Objective = field(default_factory=AdversarialTraining)
    gamma: float = 0.005

    def __post_init__(self) -> None:
        object.__setattr__(self, "label_smoothing", self.inner.label_smoothing)
        not_negative("awp", "gamma", self.gamma)

    @property
    def takes_soft_labels(self) -> bool:
        """Whether the inner objective takes them."""
        return self.inner.takes_soft_labels

    @property
    def judged_by(self) -> Literal["clean", "robust"]:
        """What it is around."""
        return self.inner.judged_by

    @property
    def starts_at_random(self) -> bool:
        """Whether the inner objective's attack has to."""
        return self.inner.starts_at_random

    @property
    def takes_targets(self) -> bool:
        """Whether the inner objective's attack does."""
        return self.inner.takes_targets

    @property
    def attacks(self) -> bool:
        """Whether the inner objective does."""
        return self.inner.attacks

    def adversary(
        self, attacked_model: nn.Module, attack: Attack, images: Tensor, labels: Tensor, generator: Randomness
    ) -> Tensor:
        """Attack as the inner objective does, at the weights as they are."""
        return self.inner.adversary(attacked_model, attack, images, labels, generator)

    def compare(self, model: nn.Module, images: Tensor, attacked: Tensor, labels: Tensor) -> Loss:
        """Eq. 8 to 10 of the paper: one step of ascent in the weights, then the loss there."""
        bare = model.module if isinstance(model, DistributedDataParallel) else model
        weights = _weights(bare)
        kept = {name: buffer.clone() for name, buffer in bare.named_buffers()}  # batch norm must not count it twice
        first = self.inner.compare(_At(bare, kept), images, attacked, labels)
        gradients = torch.autograd.grad(first.value * _LOSS_SCALE, list(weights.values()), allow_unused=True)
        prefix = "module." if bare is not model else ""
        moved = {
            prefix + name: weight + self._move(weight.detach(), gradient)
            for (name, weight), gradient in zip(weights.items(), gradients, strict=True)
            if gradient is not None
        }
        return self.inner.compare(_At(model, moved), images, attacked, labels)

    def _move(self, weight: Tensor, gradient: Tensor) -> Tensor:
        tiny = torch.finfo(gradient.dtype).tiny
        move: Tensor = gradient * (self.gamma * weight.norm() / gradient.norm().clamp_min(tiny))
        return move


def _weights(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return what moves, by name."""
    moving: set[str] = set()
    for path, module in model.named_modules():
        if isinstance(module, _LAYERS):
            own = {name for name, _ in module.named_parameters(path, recurse=False) if name.endswith("weight")}
            if not own:
                raise UnsupportedModelError(
                    f"awp: the weight of {path or type(module).__name__} is computed from others (weight or spectral "
                    "norm), and would not move; remove the parametrization, or leave awp out"
                )
            moving |= own
    found = {name: weight for name, weight in model.named_parameters() if name in moving and weight.requires_grad}
    if not found:
        raise UnsupportedModelError("awp: no linear layer or convolution has a weight that is trained; leave awp out")
    return found


class _At(nn.Module):
    """A model called with some of its tensors replaced; gradients still reach its own parameters."""

    def __init__(self, model: nn.Module, tensors: dict[str, Tensor]) -> None:
        super().__init__()
        self._call = (model, tensors)  # in a tuple: this module has no state of its own

    def forward(self, images: Tensor) -> Tensor:
        model, tensors = self._call
        logits: Tensor = functional_call(model, tensors, (images,))
        return logits
