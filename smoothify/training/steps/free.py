"""Free adversarial training: the perturbation is carried from step to step, and its gradient is the update's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from smoothify.attacks import PGD


class Perturbation:
    """One perturbation for each place in a batch (Shafahi et al., arXiv:1904.12843, algorithm 1).

    Every batch is trained on several times in a row (`Batches`' replays). The backward pass of each update also gives
    the gradient of the images, by which the perturbation moves one step for the update after it; the next batch begins
    where this one ended. An attack of its own is never run.

    Args:
        batch_size: images a step, over all processes together.
        shape: (channels, height, width) of an image.
        accelerator: says which process this is, and where its device.
    """

    def __init__(self, batch_size: int, shape: tuple[int, int, int], accelerator: Accelerator) -> None:
        self._accelerator = accelerator
        self._own = torch.zeros(batch_size // accelerator.num_processes, *shape, device=accelerator.device)

    def at(self, places: slice) -> Tensor:
        """Return the perturbation of some of this process's places in the batch, as a leaf that takes a gradient."""
        return self._own[places].clone().requires_grad_()

    @torch.no_grad()
    def ascend(self, places: slice, gradient: Tensor, attack: PGD) -> None:
        """Move by the attack's step, within its threat model; a gradient that overflowed in float16 moves nothing."""
        ball = attack.threat.ball
        direction = ball.direction(torch.nan_to_num(gradient, nan=0.0, posinf=0.0, neginf=0.0))
        self._own[places] = ball.project(self._own[places] + attack.step * direction, attack.threat.radius)

    def state_dict(self) -> dict[str, Any]:
        """Return the perturbations of all processes; they call it together."""
        return {"perturbation": self._accelerator.gather(self._own).cpu()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take this process's share over."""
        share = len(self._own)
        first = share * self._accelerator.process_index
        self._own.copy_(state["perturbation"][first : first + share])
