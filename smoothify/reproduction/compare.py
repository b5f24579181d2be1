"""Whether two rows differ: image by image and seed by seed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist, mean, variance

from smoothify.reproduction.record import Record

# Student's t, two-sided 95%, for 1 to 10 degrees of freedom; that of 10 stands for more, and is rather too wide there
_STUDENT_95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
_NORMAL_95 = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True)
class Difference:
    """How much more accurate one row is than another, on the same images.

    Args:
        value: mean over seeds, in [-1, 1].
        half_width: of the 95% interval; None where one seed, or one image, cannot tell how much they differ.

    >>> gain = Difference(0.026, 0.010)
    >>> print(gain, gain.significant)
    +2.6 ± 1.0 True
    """

    value: float
    half_width: float | None

    @property
    def significant(self) -> bool:
        """Whether the interval excludes 0."""
        return self.half_width is not None and abs(self.value) > self.half_width

    def __str__(self) -> str:
        shown = f"{100 * self.value:+.1f}"
        return shown if self.half_width is None else f"{shown} ± {100 * self.half_width:.1f}"


def difference(ours: Sequence[Sequence[float]], theirs: Sequence[Sequence[float]]) -> Difference:
    """Compare two rows, verdict by verdict.

    Args:
        ours: for every seed, one verdict an image; where several rows are taken together, their mean verdict in [0, 1].
        theirs: of the row that it is compared with; the same seeds and images in the same order.

    The interval joins what differs between seeds (Student's t over the seeds' mean differences) and what differs
    between images (the spread over images of the difference averaged over seeds), since another training run *and*
    another draw of test images could have been had. The two parts overlap, so the interval is rather too wide where
    seeds hardly differ. It takes seeds' differences to be normal: where training fails in some runs and not in others,
    three seeds can agree by luck.

    >>> print(difference([[True, True, False, True]] * 3, [[True, False, False, True]] * 3))
    +25.0 ± 49.0
    """
    if not ours or len(ours) != len(theirs) or len({len(verdicts) for verdicts in (*ours, *theirs)}) != 1:
        raise ValueError("two rows are compared on the same seeds and the same images")
    seeds, images = len(ours), len(ours[0])
    per_seed = [(sum(a) - sum(b)) / images for a, b in zip(ours, theirs, strict=True)]
    if seeds == 1 or images == 1:
        return Difference(mean(per_seed), None)
    per_image = [sum(a[image] - b[image] for a, b in zip(ours, theirs, strict=True)) / seeds for image in range(images)]
    student = _STUDENT_95[min(seeds - 2, len(_STUDENT_95) - 1)]
    of_seeds = student * math.sqrt(variance(per_seed) / seeds)
    of_images = _NORMAL_95 * math.sqrt(variance(per_image) / images)
    return Difference(mean(per_seed), math.hypot(of_seeds, of_images))


def paired(
    ours: Sequence[Record], theirs: Sequence[Record], column: str | None
) -> list[tuple[Sequence[bool], Sequence[bool]]]:
    """Return the verdicts of the seeds that two rows share, in one column; those on clean images if it is None."""

    def verdicts(record: Record) -> Sequence[bool] | None:
        if column is None:
            return record.measured[0].clean_correct
        return record.columns[column].robust_correct if column in record.columns else None

    baseline = {record.seed: verdicts(record) for record in theirs}
    pairs = ((verdicts(record), baseline.get(record.seed)) for record in ours)
    return [(one, other) for one, other in pairs if one is not None and other is not None]
