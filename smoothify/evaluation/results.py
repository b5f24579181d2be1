"""What a measurement came to: shares with their intervals, and a verdict for each image."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from smoothify.protocol import published_name, settings, show

_Z_95 = 1.959963984540054  # the normal distribution's 97.5% quantile
SEEN = "images that it was trained on"  # a caveat of an accuracy
_WIDE = 0.1  # an interval of more than ten points decides nothing that papers argue about


@dataclass(frozen=True)
class Share:
    """A share of images, with its 95% Wilson score interval.

    >>> print(Share(74, 100))
    74.0% [64.6, 81.6]
    """

    hits: int
    images: int

    @property
    def value(self) -> float:
        """The share, in [0, 1]."""
        return self.hits / self.images

    @property
    def interval(self) -> tuple[float, float]:
        """Lower and upper end of the 95% interval, in [0, 1] (Wilson, JASA 22, 1927)."""
        n, p, z = self.images, self.value, _Z_95
        centre = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return min(p, max(0.0, centre - half)), max(p, min(1.0, centre + half))  # rounding must not exclude p

    def __str__(self) -> str:
        low, high = self.interval
        return f"{100 * self.value:.1f}% [{100 * low:.1f}, {100 * high:.1f}]"


class Verdicts:
    """Clean and robust accuracy of whatever keeps a verdict for each image.

    >>> class Ours(Verdicts):
    ...     clean_correct, robust_correct = (True, True, True, False), (True, False, False, False)
    >>> Ours().clean.value, Ours().robust.value
    (0.75, 0.25)
    """

    clean_correct: tuple[bool, ...]
    robust_correct: tuple[bool, ...]

    @property
    def clean(self) -> Share:
        """Clean accuracy."""
        return Share(sum(self.clean_correct), len(self.clean_correct))

    @property
    def robust(self) -> Share:
        """Robust accuracy."""
        return Share(sum(self.robust_correct), len(self.robust_correct))


@dataclass(frozen=True)
class RobustAccuracy(Verdicts):
    """What an attack did to a model.

    Args:
        attack: its name, ``"PGD-50"``.
        norm: of the threat model.
        epsilon: of the threat model, in [0, 1] pixel units.
        step_size: of the attack, in [0, 1] pixel units; None where the attack has none.
        seed: of the random starts.
        clean_correct: per image, whether the clean image is classified right.
        robust_correct: per image, whether the clean *and* the attacked image are.
        fell_to: per image, the attack that it fell to; empty where it stands or was wrong already.
        fell_at: per image, at which step of that attack (0 is its start); -1 where there is none or it is not known.
        full_protocol: every image was attacked to the last step, and only where that led counts.
        surrogate: the activation whose derivative the attack saw in ReLU's place.
        caveats: preconditions that the number does not meet; they are printed beside it.
        sanity: in one line, what the sanity checks came to; None where they were not made.
        split_images: how many images the whole split has that these are from; None where it is not known.
        through: the other model that the images were found on, by name; None where it was the measured one.
        known_by: a checksum of the attack with all its settings, and of the surrogate; None where it is not known.

    >>> print(RobustAccuracy("PGD-5", "linf", 0.1, 0.05, 0, (True,) * 900, (True,) * 450 + (False,) * 450))
    clean accuracy   100.0% [99.6, 100.0]
    robust accuracy  50.0% [46.7, 53.3]  (PGD-5, Linf, epsilon 0.1, 900 images, step 0.05)
    """

    attack: str
    norm: str
    epsilon: float
    step_size: float | None
    seed: int
    clean_correct: tuple[bool, ...]
    robust_correct: tuple[bool, ...]
    fell_to: tuple[str, ...] = ()
    fell_at: tuple[int, ...] = ()
    full_protocol: bool = False
    surrogate: str | None = None
    caveats: tuple[str, ...] = ()
    sanity: str | None = None
    split_images: int | None = None
    through: str | None = None
    known_by: str | None = None

    @property
    def warnings(self) -> tuple[str, ...]:
        """The caveats, and whether the images are too few for the number to say much."""
        low, high = self.robust.interval
        few = f"{self.robust.images} images leave {100 * (high - low):.0f} points open"
        return (*self.caveats, few) if high - low > _WIDE else self.caveats

    @property
    def protocol(self) -> str:
        """The attack and its settings, without the threat model."""
        return f"{self.attack}{self._settings}"

    @property
    def threat(self) -> str:
        """Norm and epsilon."""
        return f"{self.norm.capitalize()}, epsilon {show(self.epsilon, self.norm)}"

    @property
    def description(self) -> str:
        """The attack, its threat model and whatever else the number depends on."""
        return f"{self.attack}, {self.threat}, {self.robust.images} images{self._settings}"

    @property
    def _settings(self) -> str:
        return settings(
            step_size=self.step_size,
            surrogate=self.surrogate,
            through=self.through,
            full_protocol=self.full_protocol,
            norm=self.norm,
        )

    @property
    def published_name(self) -> str:
        """What a model card calls the attack: settings that its name implies are left out."""
        return published_name(
            self.attack,
            self.norm,
            self.epsilon,
            step_size=self.step_size,
            surrogate=self.surrogate,
            through=self.through,
            full_protocol=self.full_protocol,
        )

    @property
    def fallen(self) -> str:
        """To which attack how many images fell."""
        return ", ".join(f"{name} {count}" for name, count in Counter(name for name in self.fell_to if name).items())

    def __str__(self) -> str:
        warned = f"  WARNING: {'; '.join(self.warnings)}" if self.warnings else ""
        return f"clean accuracy   {self.clean}\nrobust accuracy  {self.robust}  ({self.description}){warned}"

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON-able values: accuracies and intervals in [0, 1], verdicts as 0 and 1."""
        return {
            "attack": self.attack,
            "norm": self.norm,
            "epsilon": self.epsilon,
            "step_size": self.step_size,
            "full_protocol": self.full_protocol,
            "surrogate": self.surrogate,
            "through": self.through,
            "seed": self.seed,
            "images": self.clean.images,
            "split_images": self.split_images,
            "clean_accuracy": self.clean.value,
            "clean_interval_95": list(self.clean.interval),
            "robust_accuracy": self.robust.value,
            "robust_interval_95": list(self.robust.interval),
            "warnings": list(self.warnings),
            "sanity": self.sanity,
            "clean_correct": [int(verdict) for verdict in self.clean_correct],
            "robust_correct": [int(verdict) for verdict in self.robust_correct],
            "fell_to": list(self.fell_to),
            "fell_at": list(self.fell_at),
        }


def table(results: Sequence[RobustAccuracy]) -> str:
    """Lay results out as lines of text, each number with its warnings in its line.

    >>> print(table([RobustAccuracy("PGD-5", "linf", 0.1, 0.05, 0, (True,) * 900, (True,) * 450 + (False,) * 450)]))
    attack            clean accuracy        robust accuracy    fell to
    PGD-5, step 0.05  100.0% [99.6, 100.0]  50.0% [46.7, 53.3]
    """
    rows = [("attack", "clean accuracy", "robust accuracy", "fell to", "")]
    for result in results:
        warned = f"WARNING: {'; '.join(result.warnings)}" if result.warnings else ""
        rows.append((result.protocol, str(result.clean), str(result.robust), result.fallen, warned))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
