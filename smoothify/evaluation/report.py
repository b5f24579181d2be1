"""The report of an evaluation: what was measured, what was checked, and what it looks like, in one HTML file."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from smoothify.attacks import ThreatModel
from smoothify.data import Images, representative
from smoothify.evaluation import plots
from smoothify.evaluation.accuracy import robust_accuracy
from smoothify.evaluation.landscape import landscape
from smoothify.evaluation.logits import device_of, predict
from smoothify.evaluation.page import Section, page
from smoothify.evaluation.results import RobustAccuracy, Share
from smoothify.evaluation.sanity import Sanity
from smoothify.evaluation.subject import long_stepped

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
    setting: Mapping[str, Any],
) -> str:
    """Return the HTML of a report, which loads nothing from elsewhere.

    Args:
        title: what was measured.
        results: one for each attack.
        checked: what the sanity checks found, if they were made.
        pictures: captions and PNG files.
        setting: what the numbers depend on, by name; of the JSON file, all but the results.

    >>> measured = RobustAccuracy("PGD-50", "linf", 0.1, 0.005, 0, (True,) * 4, (True, True, True, False))
    >>> "PGD-50" in report("resnet10_28px", [measured], setting={"data": "fashion_mnist_sample"})
    True
    """
    warned = any(result.warnings for result in results)
    sections = [
        Section(
            "Accuracy, with 95% intervals",
            f"{results[0].threat}; {results[0].robust.images} images.",
            head=("attack", "clean accuracy", "robust accuracy", *([""] if warned else []), "fell to"),
            rows=tuple(
                (
                    result.protocol,
                    str(result.clean),
                    str(result.robust),
                    *([_warning(result)] if warned else []),
                    result.fallen,
                )
                for result in results
            ),
        ),
        Section(
            "Can the numbers be believed?",
            f"{checked.attack}, {checked.images} images: {checked.verdict}."
            if checked
            else "The sanity checks were not made; --sanity makes them.",
            head=("check", "verdict", "found"),
            rows=tuple((one.check, one.verdict, one.found) for one in (checked.results if checked else ())),
        ),
        Section("Pictures", pictures=tuple(pictures)),
        Section(
            "How it was measured",
            "An image is robust if it is classified right clean and wherever the attack looked.",
            head=("", ""),
            rows=(
                *((name, _shown(value)) for name, value in setting.items() if name not in ("results", "sanity")),
                ("random starts", f"seed {results[0].seed}"),
                ("precision", "float32, TF32 off"),
            ),
        ),
    ]
    return page(title, sections)


def _warning(result: RobustAccuracy) -> str:
    return f"WARNING: {'; '.join(result.warnings)}" if result.warnings else ""


def _shown(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_shown(one)}" for name, one in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"({', '.join(map(_shown, value))})"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def draw(
    models: Mapping[str, nn.Module],
    images: Images,
    threat: ThreatModel,
    results: Sequence[RobustAccuracy],
    *,
    seed: int = 0,
) -> tuple[Picture, ...]:
    """Draw a report's pictures.

    Args:
        models: by name, the one that the report is about and any to be seen beside it; each maps images in [0, 1] to
            logits, and is in eval mode.
        images: what the pictures are of; robustness against epsilon is measured on all of them.
        threat: norm and epsilon.
        results: of the first model; those of PGD tell robustness against steps.
        seed: of the random starts.

    >>> from smoothify.data import TensorImages
    >>> images = TensorImages(torch.rand(4, 1, 4, 4), torch.tensor([0, 1, 1, 0]), classes=("cat", "dog"))
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(16, 2)).eval()
    >>> pictures = draw({"linear": model}, images, ThreatModel("linf", 0.1), [])
    >>> pictures[0][0], pictures[0][1][1:4]
    ('4 images under PGD-20.', b'PNG')
    """
    model = next(iter(models.values()))
    shown = representative(images.labels, _COLUMNS)
    batch, labels = (tensor.to(device_of(model)) for tensor in images.batch(shown))
    with torch.no_grad():
        told_apart = model(batch).shape[1]
    named, search = images.source.classes, long_stepped(threat, 20)
    classes = (*named, *map(str, range(len(named), told_apart)))  # labels without names may lack the last classes
    found = [
        (
            f"{len(batch)} images under {search}.",
            plots.adversarial(model, batch, labels, search, classes),
        )
    ]
    if curves := {result.attack: _against_steps(result) for result in results if _tells_steps(result)}:
        found.append(
            (
                "Robust accuracy against the steps that an attack was given, with 95% intervals.",
                plots.robustness(curves, against="steps", chance=1 / len(classes)),
            )
        )
    against_epsilon = {name: _against_epsilon(one, images, threat, seed) for name, one in models.items()}
    found.append(
        (
            f"Robust accuracy against epsilon on {len(images)} images ({search}, steps of epsilon/4), with 95% "
            "intervals.",
            plots.robustness(against_epsilon, against="epsilon", chance=1 / len(classes), norm=threat.norm),
        )
    )
    right = torch.stack([predict(one, batch) == labels for one in models.values()]).all(0).nonzero().flatten().tolist()
    if right:
        first = right[0]
        around = {
            name: landscape(one, batch[first], int(labels[first]), search, seed=seed) for name, one in models.items()
        }
        which = f"image {shown[first]} ({classes[int(labels[first])]})"
        caption = f"The loss around {which}, as in Figure 5 of arXiv:2006.14536."
        found.append((caption, plots.landscapes(around)))
    return tuple(found)


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
            measured = robust_accuracy(model, images, long_stepped(ThreatModel(threat.norm, epsilon), 20), seed=seed)
            points.append((epsilon, measured.robust))
    return [(0.0, measured.clean), *points]
