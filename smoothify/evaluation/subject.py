"""What the checks of the sanity suite ask: a model, some images and an attack, each search made once and shared."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from smoothify.activations import surrogate_gradients
from smoothify.attacks import PGD, Attack, SampleNoise, ThreatModel, sample_keys
from smoothify.attacks.gradients import Guarded
from smoothify.errors import SmoothifyError
from smoothify.evaluation.checksum import checksum
from smoothify.evaluation.logits import predict

if TYPE_CHECKING:
    from accelerate import Accelerator


@dataclass(frozen=True)
class Searched:
    """What a search among the images that are classified right came to.

    Args:
        images: (right images, channels, height, width), where it led.
        fell: (right images,), whether the attack says that they are classified wrong now.
        stands: (right images,), whether the model itself classifies them right.
    """

    images: Tensor
    fell: Tensor
    stands: Tensor


def long_stepped(threat: ThreatModel, steps: int) -> PGD:
    """Return the PGD that checks and pictures are made with: its steps are a quarter of epsilon, as in the paper."""
    return PGD(threat, steps=steps, step_size=None if steps == 1 else threat.radius / 4)


@dataclass(frozen=True)
class Subject:
    """A model, some images and the attack whose numbers are to be believed; what several checks need is done once.

    Args:
        model: maps images in [0, 1] to logits (batch, classes); in eval mode.
        images: (images, channels, height, width).
        labels: (images,).
        attack: the one that measures.
        seed: of everything random.
        batch_size: images that go through the model at a time.
        surrogate: the activation whose derivative the measuring attack sees in ReLU's place.
        accelerator: shares the searches among its processes; one process if not given.

    >>> linear = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).eval()
    >>> images = torch.rand(8, 1, 4, 4)
    >>> subject = Subject(linear, images, linear(images).argmax(1), PGD(ThreatModel("linf", 0.0), steps=5))
    >>> subject.classes, subject.share(subject.attack), subject.slack > 2
    (3, 100.0, True)
    """

    model: nn.Module
    images: Tensor
    labels: Tensor
    attack: Attack
    seed: int = 0
    batch_size: int = 250
    surrogate: str | None = None
    accelerator: Accelerator | None = None
    _searched: dict[tuple[str, bool, nn.Module | None], Searched] = field(default_factory=dict)

    @property
    def threat(self) -> ThreatModel:
        """The attack's threat model."""
        return self.attack.threat

    @cached_property
    def right(self) -> Tensor:
        """Which clean images are classified right, (images,); what the first process found, should they disagree."""
        right = self.logits(self.images).argmax(1) == self.labels
        return self._over_processes(right.long() * (self._rank == 0)).bool()

    @cached_property
    def classes(self) -> int:
        """How many logits there are."""
        return self.logits(self.images[:1]).shape[1]

    @property
    def slack(self) -> float:
        """Points by which two attacks of equal strength may differ: 2, or two images' worth where that is more."""
        return max(2.0, 200 / len(self.labels)) + 1e-9  # the shares that it is held against are rounded

    @property
    def attacked(self) -> Searched:
        """What the attack itself makes of the images that are classified right."""
        return self.search(self.attack)

    def logits(self, images: Tensor) -> Tensor:
        """Return the model's logits (images, classes), without gradients."""
        with torch.no_grad():
            return torch.cat([self.model(part) for part in torch.split(images, self.batch_size)])

    def gradient(self, images: Tensor, value: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """Return the gradient of ``value(logits, labels)`` in the images' shape; zero where there is none."""
        gradients: list[Tensor] = []
        for part, labels in self._batches(images):
            tried = part.clone().requires_grad_()
            with torch.enable_grad():
                found = value(self.model(tried), labels).sum()
            if found.requires_grad:
                gradients += torch.autograd.grad(found, tried, allow_unused=True, materialize_grads=True)
            else:
                gradients.append(torch.zeros_like(part))
        return torch.cat(gradients)

    def noisy(self) -> Tensor:
        """Return the images as a random start within the threat model leaves them."""
        noise = SampleNoise(sample_keys(self.seed, 0, torch.arange(len(self.images), device=self.images.device)))
        return self.pgd(1).constrain(
            self.images + self.threat.ball.start(self.images, self.threat.radius, noise), self.images
        )

    def pgd(self, steps: int, scale: float = 1.0) -> PGD:
        """Return PGD in a ball that is ``scale`` times as large, with steps that fit it."""
        epsilon = self.threat.radius * scale
        threat = ThreatModel(self.threat.norm, min(epsilon, self.threat.longest))
        return long_stepped(threat, steps)

    def search(self, attack: Attack, model: nn.Module | None = None) -> Searched:
        """Attack the images that are classified right, through another model if one is given; once, and shared.

        Raises:
            SmoothifyError: the attack failed, in whichever process.
        """
        key = (checksum(attack), attack is self.attack, model)
        if key not in self._searched:
            self._searched[key] = self._search(attack, model or self.model)
        return self._searched[key]

    def _search(self, attack: Attack, model: nn.Module) -> Searched:
        rows = self.right.nonzero().flatten()
        images, fell, stands = torch.zeros_like(self.images[rows]), torch.zeros_like(rows), torch.zeros_like(rows)
        processes = self.accelerator.num_processes if self.accelerator else 1
        size = max(1, min(self.batch_size, -(-len(rows) // processes)))
        seen = self.surrogate if attack is self.attack else None
        failure: SmoothifyError | None = None
        try:
            for turn, start in enumerate(range(0, len(rows), size)):
                if turn % processes == self._rank:
                    part, here = rows[start : start + size], slice(start, start + size)
                    noise = SampleNoise(sample_keys(self.seed, 0, part))
                    with surrogate_gradients(seen):
                        found = attack.find(
                            Guarded(model, attack), self.images[part], self.labels[part], generator=noise
                        )
                    images[here], fell[here] = found.images, found.fell.long()
                    stands[here] = (predict(self.model, found.images) == self.labels[part]).long()
        except SmoothifyError as error:
            failure = error
        # a process that gave up alone would leave the others waiting
        if int(self._over_processes(torch.tensor(failure is not None, device=rows.device).long())):
            raise failure or SmoothifyError(f"{attack} failed in another process")
        return Searched(
            self._over_processes(images), self._over_processes(fell).bool(), self._over_processes(stands).bool()
        )

    def stands(self, attack: Attack, model: nn.Module | None = None) -> Tensor:
        """Return which of the images classified right still are where an attack leads."""
        return self.search(attack, model).stands

    def share(self, attack: Attack, model: nn.Module | None = None) -> float:
        """Return robust accuracy in percent of all images."""
        return 100 * float(self.stands(attack, model).sum()) / len(self.labels)

    def _batches(self, images: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        return zip(torch.split(images, self.batch_size), torch.split(self.labels, self.batch_size), strict=True)

    @property
    def _rank(self) -> int:
        return self.accelerator.process_index if self.accelerator else 0

    def _over_processes(self, part: Tensor) -> Tensor:
        """Return the sum over the processes, each of which has zeros where another one worked."""
        if self.accelerator is None or self.accelerator.num_processes == 1:
            return part
        total: Tensor = self.accelerator.reduce(part, reduction="sum")
        return total
