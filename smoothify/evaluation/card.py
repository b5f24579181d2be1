"""The block of numbers that a model card shows."""

from __future__ import annotations

from collections.abc import Sequence

from smoothify.evaluation.results import RobustAccuracy
from smoothify.hub import Result
from smoothify.hub.results import without_repeats


def card_results(results: Sequence[RobustAccuracy], *, split: str = "test") -> tuple[Result, ...]:
    """Return measurements as a model card takes them: each clean accuracy once, then one line for every attack.

    Args:
        results: of one model; one that fails a sanity check says so in its verdict.
        split: the part of the data set that they were measured on.

    Raises:
        HubError: two results that a reader could not tell apart, with different values.

    >>> measured = RobustAccuracy("PGD-50", "linf", 0.1, None, 0, (True,) * 1000, (True,) * 700 + (False,) * 300)
    >>> for result in card_results([measured]):
    ...     print(result)
    clean accuracy: 100.0% [99.6, 100.0]
    robust accuracy under pgd-50 (linf, epsilon 0.1): 70.0% [67.1, 72.8]
    """
    clean = [
        Result("none", one.clean.value, interval=one.clean.interval, images=one.clean.images, split=split)
        for one in results
    ]
    robust = [
        Result(
            one.published_name,
            one.robust.value,
            epsilon=one.epsilon,
            norm=one.norm,
            interval=one.robust.interval,
            images=one.robust.images,
            verdict=one.sanity,
            split=split,
        )
        for one in results
    ]
    return without_repeats([*clean, *robust])
