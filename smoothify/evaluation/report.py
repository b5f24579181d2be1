"""The report of an evaluation: what was measured, what was checked, and what it looks like, in one HTML file."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

import torch
from torch import nn

from smoothify.attacks import PGD, ThreatModel
from smoothify.data import Images
from smoothify.evaluation import plots
from smoothify.evaluation.accuracy import predict, robust_accuracy
from smoothify.evaluation.landscape import landscape
from smoothify.evaluation.page import Section, page
from smoothify.evaluation.results import RobustAccuracy, Share
from smoothify.evaluation.sanity import Sanity

Picture = tuple[str, bytes]
"""A caption and a PNG file."""

_MULTIPLES = (0.5, 1.0, 2.0, 4.0)  # of epsilon, in the picture against it
_STEPS = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
_COLUMNS = 8  # images in the grid


def report(
    title: str,
    results: Sequence[RobustAccuracy],
    *,
    checked: Sanity | None = None,
    pictures: Sequence[Picture] = (),
    setting: Mapping[str, object],
) -> str:
    """Return the HTML of a report, which loads nothing from elsewhere.

    Args:
        title: what was measured.
        results: one for each attack.
        checked: what the sanity checks found, if they were made.
        pictures: captions and PNG files.
        setting: what the numbers depend on, by name.
    """
    warnings = tuple(dict.fromkeys(warning for result in results for warning in result.warnings))
    sections = [
        Section(
            "Accuracy, with 95% intervals",
            warnings=warnings,
            head=("attack", "clean accuracy", "robust accuracy", "fell to"),
            rows=tuple(
                (result.description, str(result.clean), str(result.robust), _fell(result)) for result in results
            ),
        ),
        Section(
            "Can the numbers be believed?",
            f"{checked.attack}, {checked.images} images: {checked.verdict}."
            if checked
            else "The sanity checks were not made; --sanity makes them.",
            head=("check", "verdict", "found"),
            rows=tuple((one.check, one.verdict, one.found) for one in (checked.outcomes if checked else ())),
        ),
        Section("Pictures", pictures=tuple(pictures)),
        Section(
            "How it was measured",
            head=("", ""),
            rows=tuple((name, str(value)) for name, value in setting.items()),
        ),
    ]
    return page(title, sections)


def draw(
    model: nn.Module, images: Images, threat: ThreatModel, results: Sequence[RobustAccuracy], *, seed: int = 0
) -> tuple[Picture, ...]:
    """Draw a report's pictures.

    Args:
        model: maps images in [0, 1] to logits; in eval mode.
        images: what the pictures are of; robustness against epsilon is measured on all of them.
        threat: norm and epsilon.
        results: those of PGD tell robustness against steps.
        seed: of the random starts.
    """
    batch, labels = (tensor.to(_device(model)) for tensor in images.batch(range(min(_COLUMNS, len(images)))))
    chance = 1 / len(images.source.classes)
    search = PGD(threat, steps=20)
    found = [
        (
            f"The first {len(batch)} images under {search}.",
            plots.adversarial(model, batch, labels, search, images.source.classes),
        )
    ]
    if curves := {result.attack: _against_steps(result) for result in results if _tells_steps(result)}:
        found.append(
            (
                "Robust accuracy against the steps that an attack was given, with 95% intervals.",
                plots.robustness(curves, against="steps", chance=chance),
            )
        )
    against_epsilon = {str(search): _against_epsilon(model, images, threat, seed)}
    found.append(
        (
            f"Robust accuracy against epsilon on {len(images)} images, with 95% intervals.",
            plots.robustness(against_epsilon, against="epsilon", chance=chance),
        )
    )
    right = (predict(model, batch, labels) == labels).nonzero().flatten().tolist()
    if right:
        one = right[0]
        around = landscape(model, batch[one], int(labels[one]), search, seed=seed)
        name = images.source.classes[int(labels[one])]
        found.append((f"The loss around image {one} ({name}).", plots.landscapes({f"image {one}": around})))
    return tuple(found)


def _device(model: nn.Module) -> torch.device:
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))


def _fell(result: RobustAccuracy) -> str:
    return ", ".join(f"{name} {count}" for name, count in Counter(name for name in result.fell_to if name).items())


def _tells_steps(result: RobustAccuracy) -> bool:
    """Whether a result knows at which step of a single run each image fell."""
    return bool(re.fullmatch(r"PGD-\d+", result.attack)) and bool(result.fell_at) and not result.full_protocol


def _against_steps(result: RobustAccuracy) -> list[tuple[float, Share]]:
    last = int(result.attack.rpartition("-")[2])
    fell = [step for step, to in zip(result.fell_at, result.fell_to, strict=True) if to]
    standing = result.robust.hits
    return [
        (float(steps), Share(standing + sum(step > steps for step in fell), result.robust.images))
        for steps in (*(steps for steps in _STEPS if steps < last), last)
    ]


def _against_epsilon(model: nn.Module, images: Images, threat: ThreatModel, seed: int) -> list[tuple[float, Share]]:
    points: list[tuple[float, Share]] = []
    for multiple in _MULTIPLES:
        epsilon = multiple * threat.radius
        if epsilon <= threat.longest:
            measured = robust_accuracy(model, images, PGD(ThreatModel(threat.norm, epsilon), steps=20), seed=seed)
            points.append((epsilon, measured.robust))
    return [(0.0, measured.clean), *points]
