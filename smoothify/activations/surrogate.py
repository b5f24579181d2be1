"""Surrogate gradients: ReLU forward, the derivative of a smooth activation backward (paper §3, Table 1).

Nothing is put into the model. While a context is active, every ReLU that runs gets another derivative;
outside of it the model is what it was, so what is exported is plain ReLU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from smoothify.activations.catalogue import parse
from smoothify.activations.surrogate_relu import Substitute
from smoothify.errors import UnsupportedModelError

Pass = Literal["attacker", "optimizer"]


@dataclass(frozen=True)
class SurrogateGradients:
    """Which derivative each pass of adversarial training sees: a spec, or None for ReLU's own.

    Args:
        attacker: what the attack sees, such as "parametric_softplus".
        optimizer: what the update of the parameters sees.

    Raises:
        SpecError: a spec that cannot be read, or one with learned parameters.
        UnknownNameError: no entry of the catalogue has the name.

    The four rows of Table 1 are the four settings of one configuration:

    >>> softplus = "parametric_softplus"
    >>> rows = [
    ...     SurrogateGradients(),
    ...     SurrogateGradients(attacker=softplus),
    ...     SurrogateGradients(optimizer=softplus),
    ...     SurrogateGradients(attacker=softplus, optimizer=softplus),
    ... ]
    >>> with rows[1].during("attacker"):
    ...     pass  # compute the adversarial examples here
    """

    attacker: str | None = None
    optimizer: str | None = None

    def __post_init__(self) -> None:
        for spec in (self.attacker, self.optimizer):
            if spec is not None:
                _function(spec)

    @contextmanager
    def during(self, which: Pass) -> Iterator[None]:
        """Apply what this configuration says for one pass: ``attacker`` or ``optimizer``."""
        with surrogate_gradients({"attacker": self.attacker, "optimizer": self.optimizer}[which]):
            yield


@contextmanager
def surrogate_gradients(spec: str | None) -> Iterator[None]:
    """Give every ReLU whose forward runs in this block the derivative of another function; values do not change.

    It is the forward pass that must run inside; backward may come later. ReLUs are caught however they are called: as
    modules, functions or methods, in place or not, and inside ``torch.compile``; ReLU6 is none. An attack on a model
    that is being *evaluated* goes through a surrogate in the same way.

    Args:
        spec: the function, such as "parametric_softplus"; None changes nothing.

    Raises:
        SpecError: a spec that cannot be read.
        UnknownNameError: no entry of the catalogue has the name.
        SmoothifyError: a ReLU inside ``torch.utils.checkpoint``: it runs again in the backward pass, as a plain one.

    >>> x = torch.tensor([-0.1, 0.0, 0.1], requires_grad=True)
    >>> with surrogate_gradients("parametric_softplus"):
    ...     y = torch.relu(x)
    >>> y.detach()
    tensor([0.0000, 0.0000, 0.1000])
    >>> torch.autograd.grad(y.sum(), x)[0]  # 1 / (1 + e^(-10x)), paper eq. 3
    tensor([0.2689, 0.5000, 0.7311])
    """
    if spec is None:
        yield
        return
    with Substitute(_function(spec)):
        yield


def refuse_without_relu(model: Callable[[Tensor], object], images: Tensor, spec: str | None) -> None:
    """Refuse a model that runs no ReLU, and in which a surrogate gradient would change nothing; it is run once.

    Args:
        model: maps images (batch, channels, height, width) to anything; in the mode that it is to be attacked in.
        images: a few.
        spec: what `surrogate_gradients` is to be given; with None there is nothing to refuse.

    Raises:
        UnsupportedModelError: it runs no ReLU.

    >>> refuse_without_relu(torch.relu, torch.zeros(1, 1, 2, 2), "silu")
    >>> refuse_without_relu(torch.nn.functional.relu6, torch.zeros(1, 1, 2, 2), "silu")
    Traceback (most recent call last):
    smoothify.errors.UnsupportedModelError: surrogate 'silu' takes the place of ReLU's derivative, and ...
    """
    if spec is None:
        return
    with torch.no_grad(), torch.compiler.set_stance("force_eager"), Substitute(_function(spec)) as substitute:
        model(images)
    if not substitute.met_relu:
        raise UnsupportedModelError(
            f"surrogate {spec!r} takes the place of ReLU's derivative, and {type(model).__name__} runs no ReLU; "
            "leave it out, or give a model whose ReLUs were kept"
        )


def _function(spec: str) -> Callable[[Tensor], Tensor]:
    entry, parameters = parse(spec)
    values = {**entry.defaults, **parameters}

    def function(x: Tensor) -> Tensor:
        return entry.functional(x, **values)

    return function
