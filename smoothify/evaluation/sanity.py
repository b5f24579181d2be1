"""Whether a robust accuracy can be believed: checks for the ways in which such numbers have been wrong.

After Carlini et al., "On Evaluating Adversarial Robustness" (arXiv:1902.06705), and the paper's §6.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from smoothify.activations import refuse_without_relu
from smoothify.attacks import Attack, ThreatModel, inference_mode_of
from smoothify.data import Images, as_images
from smoothify.errors import DataError
from smoothify.evaluation.checks import CHECKS, Check, CheckResult
from smoothify.evaluation.checksum import checksum
from smoothify.evaluation.logits import device_of, logits_of, refuse_labels, refuse_one_logit
from smoothify.evaluation.precision import full_precision
from smoothify.evaluation.results import RobustAccuracy
from smoothify.evaluation.subject import Subject

if TYPE_CHECKING:
    from accelerate import Accelerator


@dataclass(frozen=True)
class Sanity:
    """What all checks found.

    Args:
        attack: the attack whose numbers were put through the checks that are about an attack.
        images: on how many images.
        results: one for each check.
        threat: within which threat model the checks attacked; None where it is not known.
        known_by: `RobustAccuracy.known_by` of the attack's numbers; None where it is not known.

    >>> print(Sanity("PGD-50", 200, (CheckResult("inputs in [0, 1]", "pass", "pixels in [0, 1]"),)))
    pass            inputs in [0, 1]: pixels in [0, 1]
    sanity of PGD-50 on 200 images: 1 of 1 checks passed
    """

    attack: str
    images: int
    results: tuple[CheckResult, ...]
    _: KW_ONLY
    threat: ThreatModel | None = None
    known_by: str | None = None

    @property
    def verdict(self) -> str:
        """All in one line: how many passed of those that apply, and the names of those that failed."""
        return _verdict(self.results)

    def __str__(self) -> str:
        lines = [str(one) for one in self.results]
        return "\n".join([*lines, f"sanity of {self.attack} on {self.images} images: {self.verdict}"])

    def attached_to(self, result: RobustAccuracy) -> RobustAccuracy:
        """Return a result that carries its verdict, and as caveats the failures that concern it.

        What was found about one attack is not said of another, be it of the same name with another step size, nor what
        was found within one threat model of another.
        """
        concerned = {"model"}
        if self.threat is not None and (self.threat.norm, self.threat.radius) == (result.norm, result.epsilon):
            concerned.add("threat model")
        if self.known_by is not None and self.known_by == result.known_by and result.through is None:
            concerned.add("attack")
        results = tuple(one for one in self.results if one.about in concerned)
        failed = tuple(f"{one.check}: {one.found}" for one in results if one.verdict == "fail")
        return replace(result, caveats=(*failed, *result.caveats), sanity=_verdict(results))

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON-able values."""
        checks = [asdict(one) for one in self.results]
        return {"attack": self.attack, "images": self.images, "verdict": self.verdict, "checks": checks}


def _verdict(results: Sequence[CheckResult]) -> str:
    asked = [one for one in results if one.verdict != "not applicable"]
    failed = [one.check for one in asked if one.verdict == "fail"]
    passed = f"{len(asked) - len(failed)} of {len(asked)} checks passed"
    return f"{passed}; failed: {'; '.join(failed)}" if failed else passed


def sanity(
    model: nn.Module,
    images: Images | tuple[Tensor, Tensor],
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

    Two attacks that should find as much may differ by 2 points, or by two images where there are fewer than 100
    (`Subject.slack`); cross-entropy and DLR, two losses, may by twice that. Of a handful of images the checks say
    little.

    Args:
        model: maps images in [0, 1] to logits (batch, classes), as `smoothify.PixelClassifier` does.
        images: the labelled images, as `robust_accuracy` takes them.
        attack: the one whose numbers are to be believed.
        checks: `smoothify.evaluation.CHECKS` if not given.
        batch_size: images that go through the model at a time.
        seed: of everything random.
        surrogate: the attack sees this activation's derivative in place of ReLU's.
        accelerator: shares the searches among its processes; one process if not given.
        advance: called with 1 after each check.

    Raises:
        DataError: no images, or a label that the model has no class for.
        UnsupportedModelError: an output that is not (batch, classes), a single logit, or a surrogate for a model
            without a ReLU.

    >>> import torch
    >>> from smoothify.attacks import PGD, ThreatModel
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).eval()
    >>> pixels = torch.rand(20, 1, 4, 4)
    >>> found = sanity(model, (pixels, model(pixels).argmax(1)), PGD(ThreatModel("linf", 0.1), steps=5))
    >>> found.attack, found.images, found.results[0].check
    ('PGD-5', 20, 'inputs in [0, 1]')
    """
    images = as_images(images)
    if len(images) == 0:
        raise DataError("no images to check a measurement on; choose a split that has some")
    device = device_of(model)
    batch, labels = (tensor.to(device) for tensor in images.batch(range(len(images))))
    results = []
    with full_precision(device), inference_mode_of(model):
        classes = logits_of(model, batch[:1]).shape[1]
        refuse_one_logit(classes)
        refuse_labels(labels, classes)
        refuse_without_relu(model, batch[:1], surrogate)
        subject = Subject(model, batch, labels, attack, seed, batch_size, surrogate, accelerator)
        for check in CHECKS if checks is None else checks:
            results.append(check(subject))
            if advance:
                advance(1)
    known_by = checksum(attack, surrogate)
    return Sanity(str(attack), len(images), tuple(results), threat=attack.threat, known_by=known_by)
