"""Whether a robust accuracy can be believed: checks for the ways in which such numbers have been wrong.

After Carlini et al., "On Evaluating Adversarial Robustness" (arXiv:1902.06705), and the paper's §6.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor, nn

from smoothify.attacks import PGD, Attack, Found, SampleNoise, ThreatModel, inference_mode_of, sample_keys
from smoothify.data import Images
from smoothify.errors import DataError
from smoothify.evaluation.accuracy import full_precision, predict

Verdict = Literal["pass", "fail", "not applicable"]


@dataclass(frozen=True)
class Outcome:
    """What a check found.

    Args:
        check: the check's name.
        verdict: ``"pass"``, ``"fail"``, or ``"not applicable"`` where the question does not arise.
        found: what was seen, in one line, with the numbers.
    """

    check: str
    verdict: Verdict
    found: str

    def __str__(self) -> str:
        return f"{self.verdict:14}  {self.check}: {self.found}"


@dataclass(frozen=True)
class Subject:
    """A model, some images and the attack whose numbers are to be believed; what several checks need is done once.

    Args:
        model: maps images in [0, 1] to logits (batch, classes); in eval mode.
        images: (batch, channels, height, width).
        labels: (batch,).
        attack: the one that measures.
        seed: of everything random.
    """

    model: nn.Module
    images: Tensor
    labels: Tensor
    attack: Attack
    seed: int = 0
    _found: dict[str, Tensor] = field(default_factory=dict)

    @property
    def threat(self) -> ThreatModel:
        """The attack's threat model."""
        return self.attack.threat

    @cached_property
    def right(self) -> Tensor:
        """Which clean images are classified right, (batch,)."""
        with torch.no_grad():
            return self.logits(self.images).argmax(1) == self.labels

    @cached_property
    def classes(self) -> int:
        """How many logits there are."""
        return self.logits(self.images[:1]).shape[1]

    @cached_property
    def attacked(self) -> Found:
        """What the attack itself makes of the images that are classified right."""
        return self.search(self.attack)

    def logits(self, images: Tensor) -> Tensor:
        """Return the model's logits (batch, classes), without gradients."""
        with torch.no_grad():
            logits: Tensor = self.model(images)
        return logits

    def pgd(self, steps: int, scale: float = 1.0) -> PGD:
        """Return PGD in a ball that is ``scale`` times as large, with steps that fit it."""
        epsilon = self.threat.radius * scale
        threat = ThreatModel(self.threat.norm, min(epsilon, self.threat.longest))
        return PGD(threat, steps=steps, step_size=None if steps == 1 else threat.radius / 4)

    def search(self, attack: Attack, model: nn.Module | None = None) -> Found:
        """Attack the images that are classified right; through another model, if one is given."""
        rows = self.right.nonzero().flatten()
        noise = SampleNoise(sample_keys(self.seed, 0, rows))
        return attack.find(model or self.model, self.images[rows], self.labels[rows], generator=noise)

    def stands(self, attack: Attack, model: nn.Module | None = None) -> Tensor:
        """Return which of the images classified right still are where an attack leads, as `model` itself sees it."""
        key = f"{attack!r} {id(model)}"
        if key not in self._found:
            found = self.search(attack, model)
            self._found[key] = predict(self.model, found.images) == self.labels[self.right]
        return self._found[key]

    def share(self, attack: Attack, model: nn.Module | None = None) -> float:
        """Return robust accuracy in percent of all images."""
        return 100 * float(self.stands(attack, model).sum()) / len(self.labels)


@dataclass(frozen=True)
class Check:
    """A question about a measurement. To add one, give it a name and a function and put it in the list of `sanity`.

    Args:
        name: as a table shows it.
        ask: returns the verdict and what was found, in one line.
    """

    name: str
    ask: Callable[[Subject], tuple[Verdict, str]]

    def __call__(self, subject: Subject) -> Outcome:
        """Ask the question."""
        verdict, found = self.ask(subject)
        return Outcome(self.name, verdict, found)


def sanity(
    model: nn.Module,
    images: Images,
    attack: Attack,
    *,
    checks: Sequence[Check] | None = None,
    seed: int = 0,
) -> tuple[Outcome, ...]:
    """Put a measurement through checks; a few hundred images do.

    Args:
        model: maps images in [0, 1] to logits (batch, classes), as `smoothify.PixelClassifier` does.
        images: the labelled images, all attacked at a time.
        attack: the one whose numbers are to be believed.
        checks: `smoothify.evaluation.CHECKS` if not given.
        seed: of everything random.

    Raises:
        DataError: no images.
    """
    from smoothify.evaluation.checks import CHECKS

    if len(images) == 0:
        raise DataError("no images to check a measurement on; choose a split that has some")
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    batch, labels = (tensor.to(device) for tensor in images.batch(range(len(images))))
    with full_precision(device), inference_mode_of(model):
        subject = Subject(model, batch, labels, attack, seed)
        return tuple(check(subject) for check in (CHECKS if checks is None else checks))
