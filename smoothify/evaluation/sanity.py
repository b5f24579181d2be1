"""Whether a robust accuracy can be believed: checks for the ways in which such numbers have been wrong.

After Carlini et al., "On Evaluating Adversarial Robustness" (arXiv:1902.06705), and the paper's §6.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from smoothify.activations import refuse_without_relu
from smoothify.attacks import Attack, inference_mode_of
from smoothify.data import Images, as_images
from smoothify.errors import DataError
from smoothify.evaluation.checks import CHECKS, Check, CheckResult
from smoothify.evaluation.logits import device_of, logits_of, refuse_labels
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

    >>> print(Sanity("PGD-50", 200, (CheckResult("inputs in [0, 1]", "pass", "pixels in [0, 1]"),)))
    pass            inputs in [0, 1]: pixels in [0, 1]
    sanity of PGD-50 on 200 images: 1 of 1 checks passed
    """

    attack: str
    images: int
    results: tuple[CheckResult, ...]

    @property
    def verdict(self) -> str:
        """All in one line: how many passed of those that apply, and the names of those that failed."""
        return _verdict(self.results)

    def __str__(self) -> str:
        lines = [str(one) for one in self.results]
        return "\n".join([*lines, f"sanity of {self.attack} on {self.images} images: {self.verdict}"])

    def attached_to(self, result: RobustAccuracy) -> RobustAccuracy:
        """Return a result that carries its verdict, and as caveats the failures that concern it.

        What was found about one attack is not said of another.
        """
        same = result.attack == self.attack and result.through is None
        results = tuple(one for one in self.results if one.about == "model" or same)
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
        UnsupportedModelError: an output that is not (batch, classes), or a surrogate for a model without a ReLU.

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
        refuse_labels(labels, logits_of(model, batch[:1]).shape[1])
        refuse_without_relu(model, batch[:1], surrogate)
        subject = Subject(model, batch, labels, attack, seed, batch_size, surrogate, accelerator)
        for check in CHECKS if checks is None else checks:
            results.append(check(subject))
            if advance:
                advance(1)
    return Sanity(str(attack), len(images), tuple(results))
