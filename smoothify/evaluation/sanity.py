"""Whether a robust accuracy can be believed: checks for the ways in which such numbers have been wrong.

After Carlini et al., "On Evaluating Adversarial Robustness" (arXiv:1902.06705), and the paper's §6.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from torch import nn

from smoothify.activations import refuse_without_relu
from smoothify.attacks import Attack, inference_mode_of
from smoothify.data import Images
from smoothify.errors import DataError, SmoothifyError
from smoothify.evaluation.accuracy import device_of
from smoothify.evaluation.precision import full_precision
from smoothify.evaluation.results import RobustAccuracy
from smoothify.evaluation.subject import Subject

if TYPE_CHECKING:
    from accelerate import Accelerator

Verdict = Literal["pass", "fail", "not applicable"]


@dataclass(frozen=True)
class Outcome:
    """What a check found.

    Args:
        check: the check's name.
        verdict: ``"pass"``, ``"fail"``, or ``"not applicable"`` where the question does not arise.
        found: what was seen, in one line, with the numbers.
        about: ``"model"``, or ``"attack"`` where it says something of one attack's numbers alone.
    """

    check: str
    verdict: Verdict
    found: str
    about: Literal["model", "attack"] = "model"

    def __str__(self) -> str:
        return f"{self.verdict:14}  {self.check}: {self.found}"


@dataclass(frozen=True)
class Sanity:
    """What all checks found.

    Args:
        attack: the attack whose numbers were put through the checks that are about an attack.
        images: on how many images.
        outcomes: one for each check.

    >>> print(Sanity("PGD-50", 200, (Outcome("inputs in [0, 1]", "pass", "pixels in [0, 1]"),)))
    pass            inputs in [0, 1]: pixels in [0, 1]
    sanity of PGD-50 on 200 images: 1 of 1 checks passed
    """

    attack: str
    images: int
    outcomes: tuple[Outcome, ...]

    @property
    def verdict(self) -> str:
        """All in one line: how many passed of those that apply, and the names of those that failed."""
        return _verdict(self.outcomes)

    def __str__(self) -> str:
        lines = [str(outcome) for outcome in self.outcomes]
        return "\n".join([*lines, f"sanity of {self.attack} on {self.images} images: {self.verdict}"])

    def attached_to(self, result: RobustAccuracy) -> RobustAccuracy:
        """Return a result that carries its verdict, and as caveats the failures that concern it.

        What was found about one attack is not said of another.
        """
        outcomes = tuple(one for one in self.outcomes if one.about == "model" or result.attack == self.attack)
        failed = tuple(f"{outcome.check}: {outcome.found}" for outcome in outcomes if outcome.verdict == "fail")
        return replace(result, caveats=(*failed, *result.caveats), sanity=_verdict(outcomes))

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON-able values."""
        checks = [asdict(outcome) for outcome in self.outcomes]
        return {"attack": self.attack, "images": self.images, "verdict": self.verdict, "checks": checks}


def _verdict(outcomes: Sequence[Outcome]) -> str:
    asked = [outcome for outcome in outcomes if outcome.verdict != "not applicable"]
    failed = [outcome.check for outcome in asked if outcome.verdict == "fail"]
    passed = f"{len(asked) - len(failed)} of {len(asked)} checks passed"
    return f"{passed}; failed: {'; '.join(failed)}" if failed else passed


@dataclass(frozen=True)
class Check:
    """A question about a measurement. To add one, give it a name and a function and put it in the list of `sanity`.

    Args:
        name: as a table shows it.
        ask: returns the verdict and what was found, in one line.
        about: ``"attack"`` if the answer says something of the measuring attack alone.
    """

    name: str
    ask: Callable[[Subject], tuple[Verdict, str]]
    about: Literal["model", "attack"] = "model"

    def __call__(self, subject: Subject) -> Outcome:
        """Ask the question; one that a broken model or attack leaves without an answer has failed."""
        try:
            verdict, found = self.ask(subject)
        except SmoothifyError as error:
            verdict, found = "fail", str(error)
        return Outcome(self.name, verdict, found, self.about)


def sanity(
    model: nn.Module,
    images: Images,
    attack: Attack,
    *,
    checks: Sequence[Check] | None = None,
    batch_size: int = 250,
    seed: int = 0,
    surrogate: str | None = None,
    accelerator: Accelerator | None = None,
    advance: Callable[[int], None] | None = None,
) -> Sanity:
    """Put a measurement through checks; a few hundred images do.

    Args:
        model: maps images in [0, 1] to logits (batch, classes), as `smoothify.PixelClassifier` does.
        images: the labelled images.
        attack: the one whose numbers are to be believed.
        checks: `smoothify.evaluation.CHECKS` if not given.
        batch_size: images that go through the model at a time.
        seed: of everything random.
        surrogate: the attack sees this activation's derivative in place of ReLU's.
        accelerator: shares the searches among its processes; one process if not given.
        advance: called with 1 after each check.

    Raises:
        DataError: no images.
        UnsupportedModelError: a surrogate for a model without a ReLU.
    """
    from smoothify.evaluation.checks import CHECKS

    if len(images) == 0:
        raise DataError("no images to check a measurement on; choose a split that has some")
    device = device_of(model)
    batch, labels = (tensor.to(device) for tensor in images.batch(range(len(images))))
    outcomes = []
    with full_precision(device), inference_mode_of(model):
        refuse_without_relu(model, batch[:1], surrogate)
        subject = Subject(model, batch, labels, attack, seed, batch_size, surrogate, accelerator)
        for check in CHECKS if checks is None else checks:
            outcomes.append(check(subject))
            if advance:
                advance(1)
    return Sanity(str(attack), len(images), tuple(outcomes))
