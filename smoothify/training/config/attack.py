"""The adversary of training, and the ones that measure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from smoothify.attacks import PGD, ThreatModel, attack
from smoothify.errors import ConfigError


@dataclass(frozen=True)
class AttackConfig:
    """The adversary of training, and the ones that measure.

    Args:
        norm: "linf" or "l2".
        epsilon: radius of the threat model in [0, 1] pixel units, such as 0.1 or "8/255".
        steps: gradient steps of the training attack.
        step_size: of the training attack, in [0, 1] pixel units; not given: epsilon for one step, else
            2.5·epsilon/steps.
        random_start: start from a uniform draw in the ball.
        precision: of the training attack's gradients: "replica" takes them on a bfloat16 copy of the model with batch
            norms folded, "autocast" under bfloat16 autocast, "same" on the model as it is trained; "auto" is "replica"
            where the machine multiplies bfloat16, else "same".
        check: attack on the held-out images after every epoch.
        final: attack on the test images at the end.
    """

    norm: Literal["linf", "l2"] = "linf"
    epsilon: float | str = 0.1
    steps: int = 1
    step_size: float | str | None = None
    random_start: bool = True
    precision: Literal["auto", "replica", "autocast", "same"] = "auto"
    check: str = "pgd-10"
    final: str = "pgd-50"

    def __post_init__(self) -> None:
        self.build()
        attack(self.check, self.threat)
        attack(self.final, self.threat)
        if self.step_size is not None and self.build().step == 0:
            raise ConfigError("attack.step_size=0 would leave every image as it starts; give a positive one")

    @property
    def threat(self) -> ThreatModel:
        """The threat model of training and measuring."""
        return ThreatModel(self.norm, self.epsilon)

    def build(self) -> PGD:
        """The training attack."""
        return PGD(self.threat, steps=self.steps, step_size=self.step_size, random_start=self.random_start)
