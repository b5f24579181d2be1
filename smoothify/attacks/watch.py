"""Reads off a library's attack, from the passes that it makes, at which step each image fell."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from smoothify.attacks.gradients import no_gradient


class Watch(nn.Module):
    """Stands before a model and says nothing of steps; the gradient that it hands back is contiguous.

    Args:
        model: maps images to logits.
        labels: (batch,) of the images that are attacked.
    """

    def __init__(self, model: nn.Module, labels: Tensor) -> None:
        super().__init__()
        self.model = model
        self.step = torch.full_like(labels, -1)
        self._labels = labels
        self._standing = torch.arange(len(labels), device=labels.device)
        self._passes = -1  # the first one is of the clean images

    def forward(self, images: Tensor) -> Tensor:
        """Return the model's logits."""
        # flattening makes the gradient contiguous on its way back, whatever layout the model computes in
        logits: Tensor = self.model(images.flatten(1).view(images.shape))
        if images.requires_grad and torch.is_grad_enabled() and not logits.requires_grad:
            raise no_gradient("the attack")
        if self._passes >= 0:
            self.look(logits.detach(), self._passes)
        self._passes += 1
        return logits

    def look(self, logits: Tensor, number: int) -> None:
        """Note what pass ``number`` after the clean one shows."""

    def fall(self, falls: Tensor, step: int) -> None:
        """Note which of the images still standing (mask) fell at a step; a mask of another size tells nothing."""
        if len(falls) == len(self._standing):
            now = self._standing[falls]
            self.step[now] = torch.where(self.step[now] < 0, step, self.step[now])


class WatchRuns(Watch):
    """Watches APGD: each run makes a pass at its start and one after each step, on what stood when it began.

    Args:
        model: maps images to logits.
        labels: (batch,) of the images that are attacked.
        steps: of one run. Runs are counted on: step 3 of the second run of 100 is 103.
        clean_pass: each run begins with one more pass, of clean images (the targeted attack does).
    """

    def __init__(self, model: nn.Module, labels: Tensor, steps: int, *, clean_pass: bool) -> None:
        super().__init__(model, labels)
        self._steps, self._clean = steps, int(clean_pass)

    def look(self, logits: Tensor, number: int) -> None:
        """Note the images that are classified wrong."""
        run, position = divmod(number, self._steps + 1 + self._clean)
        if position == 0:
            self._standing = (self.step < 0).nonzero().flatten()
        if position >= self._clean and len(logits) == len(self._standing):
            falls = logits.argmax(1) != self._labels[self._standing]
            self.fall(falls, run * self._steps + position - self._clean)


class WatchQueries(Watch):
    """Watches Square: one pass a query, on what stands after the last, and at the end one of every image."""

    def look(self, logits: Tensor, number: int) -> None:
        """Note the images whose margin is gone; they are not asked about again."""
        if len(logits) != len(self._standing):
            return
        rows = torch.arange(len(logits), device=logits.device)
        others = logits.clone()
        others[rows, self._labels[self._standing]] = -torch.inf
        falls = logits[rows, self._labels[self._standing]] <= others.amax(1)
        self.fall(falls, number)
        self._standing = self._standing[~falls]
