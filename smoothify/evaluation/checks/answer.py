"""What checks answer with."""

from __future__ import annotations

from smoothify.evaluation.sanity import Verdict

SLACK = 2.0  # points by which two attacks of equal strength may differ
Answer = tuple[Verdict, str]
NOTHING_TO_ATTACK: Answer = ("not applicable", "no clean image is classified right")


def passes(good: bool) -> Verdict:
    """Return the verdict of a question that arises."""
    return "pass" if good else "fail"
