"""One check: a question about a measurement, and what it is answered with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from smoothify.errors import SmoothifyError
from smoothify.evaluation.subject import Subject

Verdict = Literal["pass", "fail", "not applicable"]
About = Literal["model", "threat model", "attack"]
Answer = tuple[Verdict, str]
NOTHING_TO_ATTACK: Answer = ("not applicable", "no clean image is classified right")


@dataclass(frozen=True)
class CheckResult:
    """What a check found.

    Args:
        check: the check's name.
        verdict: ``"pass"``, ``"fail"``, or ``"not applicable"`` where the question does not arise.
        found: what was seen, in one line, with the numbers.
        about: ``"model"``; ``"threat model"`` where it says something of the model within this norm and epsilon alone;
            ``"attack"`` where of one attack's numbers alone.

    >>> print(CheckResult("inputs in [0, 1]", "pass", "pixels in [0, 1]"))
    pass            inputs in [0, 1]: pixels in [0, 1]
    """

    check: str
    verdict: Verdict
    found: str
    about: About = "model"

    def __str__(self) -> str:
        return f"{self.verdict:14}  {self.check}: {self.found}"


@dataclass(frozen=True)
class Check:
    """A question about a measurement. To add one, give it a name and a function and put it in the list of `sanity`.

    Args:
        name: as a table shows it.
        ask: returns the verdict and what was found, in one line.
        about: ``"attack"`` if the answer says something of the measuring attack alone, ``"threat model"`` if another
            norm or epsilon would get another one.

    >>> import torch
    >>> from torch import nn
    >>> from smoothify.attacks import PGD
    >>> enough = Check("enough images", lambda asked: (passes(len(asked.images) >= 100), f"{len(asked.images)} images"))
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    >>> print(enough(Subject(model, torch.rand(8, 1, 4, 4), torch.zeros(8).long(), PGD())))
    fail            enough images: 8 images
    """

    name: str
    ask: Callable[[Subject], Answer]
    about: About = "model"

    def __call__(self, subject: Subject) -> CheckResult:
        """Ask the question; one that a broken model or attack leaves without an answer has failed."""
        try:
            verdict, found = self.ask(subject)
        except SmoothifyError as error:
            verdict, found = "fail", str(error)
        return CheckResult(self.name, verdict, found, self.about)


def passes(good: bool) -> Verdict:
    """Return the verdict of a question that arises."""
    return "pass" if good else "fail"
