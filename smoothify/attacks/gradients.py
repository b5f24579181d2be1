"""The gradient that an attack follows: taken, and refused where it leads nowhere."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from smoothify.errors import NonFiniteError, UnsupportedModelError


def no_gradient(attack: object) -> UnsupportedModelError:
    """Return the error for a model whose logits are cut off from its input."""
    return UnsupportedModelError(
        f"the logits have no gradient with respect to the images, which {attack} follows; take what cuts it (no_grad, "
        "detach, numpy) out of the model's forward, or attack with square"
    )


def gradient_of(loss: Tensor, images: Tensor, attack: object) -> Tensor:
    """Return the gradient of a loss with respect to images.

    Raises:
        UnsupportedModelError: there is none (`no_gradient`).

    >>> images = torch.ones(2, requires_grad=True)
    >>> gradient_of((3 * images).sum(), images, "PGD-1")
    tensor([3., 3.])
    """
    (gradient,) = torch.autograd.grad(loss, images, allow_unused=True) if loss.requires_grad else (None,)
    if gradient is None:
        raise no_gradient(attack)
    return gradient


class Guarded(nn.Module):
    """Stands before a model that is measured: a gradient with NaN in it would make the attack find too little.

    What the model does to its input in place stays its own affair, too. It waits for the device in each backward pass,
    and so is not for training.

    Args:
        model: maps images in [0, 1] to logits.
        attack: who follows the gradient.
    """

    def __init__(self, model: nn.Module, attack: object) -> None:
        super().__init__()
        self.model, self._attack = model, attack

    def forward(self, images: Tensor) -> Tensor:
        """Return the model's logits.

        Raises:
            NonFiniteError: in the backward pass, where the gradient with respect to the images is not finite.
        """
        images = images.clone()
        if images.requires_grad:
            images.register_hook(self._refuse)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        logits: Tensor = self.model(images)
        return logits

    def _refuse(self, gradient: Tensor) -> None:
        bad = int((~gradient.isfinite()).flatten(1).any(1).sum())
        if bad:
            raise NonFiniteError(
                f"the gradient with respect to the images is NaN or infinite for {bad} of {len(gradient)}, and "
                f"{self._attack}, which follows it, would find too little. The usual cause is a root, a norm or a "
                "division at 0: add a small number inside it; or attack with square, which takes no gradient"
            )
