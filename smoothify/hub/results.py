"""What was measured, as a card tells it: read from what ``smoothify.evaluate`` wrote, checked, with its verdict."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from smoothify.errors import HubError
from smoothify.hub.checks import MAX_CONFIG_BYTES, Checks, parse_object
from smoothify.hub.places import name_of
from smoothify.protocol import published_name, show

MAX_NAME = 300  # letters
_LARGEST = 64 * MAX_CONFIG_BYTES  # one verdict an image, for every attack


@dataclass(frozen=True)
class Result:
    """One measured accuracy. ``attack`` is "none" for clean accuracy, else for example "pgd-50"; ``accuracy``
    and ``interval`` (95%, low and high) are fractions; ``epsilon`` is in [0, 1] pixel units; ``verdict`` is what the
    checks of ``smoothify.evaluate --sanity`` came to; ``dataset`` is what it was measured on, where that is another one
    than the card's, and ``split`` which part of it.

    >>> str(Result("pgd-50", 0.741, epsilon=0.1, interval=(0.721, 0.760)))
    'robust accuracy under pgd-50 (linf, epsilon 0.1): 74.1% [72.1, 76.0]'
    """

    attack: str
    accuracy: float
    epsilon: float | None = None
    norm: str = "linf"
    interval: tuple[float, float] | None = None
    images: int | None = None
    verdict: str | None = None
    dataset: str | None = None
    split: str = "test"

    def __post_init__(self) -> None:
        for value in (self.accuracy, *(self.interval or ())):
            if not 0 <= value <= 1:
                raise HubError(f"result of {self.attack}: {value} is no accuracy; pass a fraction from 0 to 1")
        if (self.epsilon is None) != (self.attack == "none"):
            raise HubError(f"result of {self.attack}: a robust accuracy needs its epsilon, a clean one has none")

    @property
    def name(self) -> str:
        """What was measured, in words."""
        if self.epsilon is None:
            return "clean accuracy"
        return f"robust accuracy under {self.attack} ({self.norm}, epsilon {show(self.epsilon, self.norm)})"

    @property
    def identity(self) -> tuple[str, str | None, str]:
        """What a reader tells results apart by: the name, the data set and its split."""
        return self.name, self.dataset, self.split

    @property
    def value(self) -> str:
        """The accuracy in percent and its interval."""
        bounds = f" [{self.interval[0]:.1%}, {self.interval[1]:.1%}]".replace("%", "") if self.interval else ""
        return f"{self.accuracy:.1%}{bounds}"

    def __str__(self) -> str:
        return f"{self.name}: {self.value}"


@dataclass(frozen=True)
class Evaluation:
    """The results of one ``evaluation.json``, and the SHA-256 of the weights that they were measured on, if it says.

    >>> measured = Evaluation((Result("none", 0.86), Result("pgd-50", 0.74, epsilon=0.1)))
    >>> [result.value for result in measured.results]
    ['86.0%', '74.0%']
    """

    results: tuple[Result, ...]
    weights_sha256: str | None = None


def read_evaluation(source: str | Path | Mapping[str, Any]) -> Evaluation:
    """Read what ``smoothify.evaluate`` or a training run wrote as results for a card.

    Args:
        source: a file, or its content.

    Raises:
        HubError: the file is missing or says something else.

    >>> measured = {"attack": "PGD-2", "norm": "linf", "epsilon": 0.1, "images": 4, "clean_accuracy": 0.75,
    ...             "clean_interval_95": [0.3, 0.95], "robust_accuracy": 0.5, "robust_interval_95": [0.15, 0.85]}
    >>> [str(result) for result in read_evaluation(measured).results]
    ['clean accuracy: 75.0% [30.0, 95.0]', 'robust accuracy under pgd-2 (linf, epsilon 0.1): 50.0% [15.0, 85.0]']
    """
    where, found = ("evaluation", dict(source)) if isinstance(source, Mapping) else (str(source), _file(Path(source)))
    checks = Checks(where)
    measured = found.get("results", [found])
    rows = checks.sequence("results", measured, range(1, 101), lambda w, v: checks.mapping(w, v))
    dataset = checks.text("data", found["data"], limit=300) if found.get("data") is not None else None
    dataset = name_of(dataset) if dataset else dataset
    split = checks.text("split", found.get("split", "test"), limit=300) or "test"
    results = [
        replace(result, dataset=dataset, split=split)
        for number, row in enumerate(rows)
        for result in _results(f"results[{number}]", row, checks)
    ]
    sha256 = found.get("weights_sha256")
    if sha256 is not None:
        sha256 = checks.text("weights_sha256", sha256, r"[0-9a-f]{64}")
    checks.raise_if_any()
    return Evaluation(without_repeats(results, where), sha256)


def without_repeats(results: Iterable[Result], where: str = "results") -> tuple[Result, ...]:
    """Return one result of each name, data set and split, in their order: the one of the most images.

    Args:
        results: of one model.
        where: what an error calls them.

    Of clean accuracies of as many images the lowest stays: each attack measures it anew, and a device need not round
    twice alike.

    Raises:
        HubError: two of as many images that a reader could not tell apart, with different values.

    >>> weak, strong = Result("pgd-50", 0.5, 0.1), Result("pgd-50", 0.25, 0.1)
    >>> without_repeats([weak, strong])
    Traceback (most recent call last):
    smoothify.errors.HubError: results: robust accuracy under pgd-50 (linf, epsilon 0.1): 50.0% and also 25.0%; ...
    """
    found: dict[tuple[str, str | None, str], Result] = {}
    for result in results:
        key = result.identity
        known = found.setdefault(key, result)
        if known.images != result.images:
            found[key] = max(known, result, key=lambda one: one.images or 0)
        elif known.attack == "none":
            found[key] = min(known, result, key=lambda clean: clean.accuracy)
        elif known.accuracy != result.accuracy:
            raise HubError(
                f"{where}: {known} and also {result.value}; publish one of them, or give attacks of your own that "
                "differ different names (their __str__)"
            )
    return tuple(found.values())


def _results(where: str, row: Mapping[str, Any], checks: Checks) -> list[Result]:
    def share(kind: str) -> tuple[float, tuple[float, float]]:
        value = checks.number(f"{where}.{kind}_accuracy", row.get(f"{kind}_accuracy"), 0, 1)
        interval = checks.sequence(
            f"{where}.{kind}_interval_95",
            row.get(f"{kind}_interval_95"),
            range(2, 3),
            lambda w, v: checks.number(w, v, 0, 1) or 0.0,
        )
        return value or 0.0, (interval[0], interval[1]) if len(interval) == 2 else (0.0, 0.0)

    attack = checks.line(f"{where}.attack", row.get("attack"), MAX_NAME) or "?"
    norm = checks.text(f"{where}.norm", row.get("norm"), r"\w+", 20) or "?"
    epsilon = checks.number(f"{where}.epsilon", row.get("epsilon"), 0, 1e4) or 0.0
    images = checks.integer(f"{where}.images", row.get("images"), 1, 10**9)
    (clean, clean_interval), (robust, robust_interval) = share("clean"), share("robust")
    verdict = None if row.get("sanity") is None else checks.text(f"{where}.sanity", row["sanity"], limit=2000)
    step = None if row.get("step_size") is None else checks.number(f"{where}.step_size", row["step_size"], 0, 1e4)
    surrogate, through = (
        None if row.get(field) is None else checks.line(f"{where}.{field}", row[field], MAX_NAME)
        for field in ("surrogate", "through")
    )
    last = checks.flag(f"{where}.full_protocol", row.get("full_protocol", False)) or False
    name = published_name(
        attack, norm.lower(), epsilon, step_size=step, surrogate=surrogate, through=through, full_protocol=last
    )
    return [
        Result("none", clean, interval=clean_interval, images=images),
        Result(
            name,
            robust,
            epsilon=epsilon,
            norm=norm.lower(),
            interval=robust_interval,
            images=images,
            verdict=verdict,
        ),
    ]


def _file(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise HubError(f"{path}: there is no such evaluation; write one with `python -m smoothify.evaluate`")
    return parse_object(path.read_bytes(), str(path), limit=_LARGEST)
