"""The adversary of training, and the ones that measure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from smoothify.attacks import PGD, Attack, NoiseFGSM, ThreatModel, attack, fgsm_rs
from smoothify.errors import ConfigError
from smoothify.training.config.bounds import at_least, refuse_unread


@dataclass(frozen=True)
class AttackConfig:
    """The adversary of training, and the ones that measure.

    Args:
        method: "pgd"; "fgsm_rs", one step of 1.25 epsilon from a random start; "n_fgsm", one from wide noise, which
            leaves the threat model on purpose; "free", the updates' own gradients on batches that are replayed.
        norm: "linf" or "l2".
        epsilon: radius of the threat model in [0, 1] pixel units, such as 0.1 or "8/255".
        steps: gradient steps of the training attack.
        replays: of "free": updates in a row on each batch, and so in an epoch on each image; 4 in the authors' ImageNet
            experiments. They divide the epochs by it.
        step_size: of the training attack, in [0, 1] pixel units; not given: epsilon for one step, else
            2.5·epsilon/steps.
        random_start: start from a uniform draw in the ball.
        clean_start: share of the images, in [0, 1], that start from themselves all the same.
        targeted: go towards a random wrong class instead of away from the right one.
        batch_norm: "eval", with running statistics during the attack, or "train", with those of the attacked batch.
        epsilon_warmup: epochs in which epsilon, and the step with it, rises linearly from zero.
        step_warmup: epochs in which the step alone rises linearly from zero.
        precision: of the training attack's gradients: "replica" takes them on a bfloat16 copy of the model with batch
            norms folded, "folded" on such a copy in float32, "autocast" under bfloat16 autocast, "same" on the model as
            it is trained; "auto" is "replica" where the machine multiplies bfloat16, else "folded", or "same" where the
            model is trained in mixed precision or cannot be copied so, which the run then says.
        check: attack on the held-out images after every epoch.
        final: attack on the test images at the end.
        sanity: with so many of the test images it is checked whether the final number can be believed, for the card;
            0 leaves that out.
        final_step_size: of it, where it is PGD, in [0, 1] pixel units; its own default if not given.

    >>> config = AttackConfig(epsilon="8/255", steps=3)
    >>> print(f"{config.build()}, then {config.build_final()}, {config.threat}")
    PGD-3, then PGD-50, Linf, epsilon 8/255
    """

    method: Literal["pgd", "fgsm_rs", "n_fgsm", "free"] = "pgd"
    norm: Literal["linf", "l2"] = "linf"
    epsilon: float | str = 0.1
    steps: int = 1
    replays: int = 1
    step_size: float | str | None = None
    random_start: bool = True
    clean_start: float = 0.0
    targeted: bool = False
    batch_norm: Literal["eval", "train"] = "eval"
    epsilon_warmup: float = 0.0
    step_warmup: float = 0.0
    precision: Literal["auto", "replica", "folded", "autocast", "same"] = "auto"
    check: str = "pgd-10"
    final: str = "pgd-50"
    sanity: int = 0
    final_step_size: float | str | None = None

    def __post_init__(self) -> None:
        at_least("attack.epsilon_warmup", self.epsilon_warmup, 0)
        at_least("attack.step_warmup", self.step_warmup, 0)
        at_least("attack.sanity", self.sanity, 0)
        if self.batch_norm == "train" and self.precision not in ("same", "autocast"):
            raise ConfigError(
                'attack.batch_norm="train" needs attack.precision "same" or "autocast": no norm folded away'
            )
        refuse_unread(self, "attack", "method", "pgd", ["steps", "targeted", "random_start", "clean_start"])
        if self.method == "n_fgsm":
            refuse_unread(self, "attack", "method", "pgd", ["step_size", "step_warmup"])
        refuse_unread(self, "attack", "method", "free", ["replays"])
        if self.method == "free":
            self._refuse_what_free_has_not()
        self.build()
        attack(self.check, self.threat)
        self.build_final()
        built = self.build()
        if self.step_size is not None and isinstance(built, PGD) and built.step == 0:
            raise ConfigError("attack.step_size=0 would leave every image as it starts; give a positive one")

    @property
    def threat(self) -> ThreatModel:
        """The threat model of training and measuring."""
        return ThreatModel(self.norm, self.epsilon)

    @property
    def starts_at_random(self) -> bool:
        """Whether no image of the training attack starts from itself."""
        return self.random_start and not self.clean_start

    def build(self, *, epsilon_share: float = 1.0, step_share: float = 1.0) -> Attack:
        """The training attack, at shares of its epsilon and of its step."""
        threat = ThreatModel(self.norm, self.threat.radius * epsilon_share)
        if self.method == "n_fgsm":
            return NoiseFGSM(threat, batch_norm=self.batch_norm)
        whole = PGD(self.threat, steps=self.steps, step_size=self.step_size)
        step = (fgsm_rs(self.threat) if self.method == "fgsm_rs" and self.step_size is None else whole).step
        return PGD(
            threat,
            steps=self.steps,
            step_size=step * epsilon_share * step_share,
            random_start=self.random_start,
            clean_start=self.clean_start,
            targeted=self.targeted,
            batch_norm=self.batch_norm,
        )

    def build_final(self) -> Attack:
        """The attack on the test images."""
        return attack(self.final, self.threat, step_size=self.final_step_size)

    def at(self, epoch: float) -> Attack:
        """The training attack after this many epochs, counted from 0, on its way up."""
        return self.build(
            epsilon_share=min(1.0, epoch / self.epsilon_warmup) if self.epsilon_warmup else 1.0,
            step_share=min(1.0, epoch / self.step_warmup) if self.step_warmup else 1.0,
        )

    def _refuse_what_free_has_not(self) -> None:
        if self.replays < 2:
            raise ConfigError(f"attack.replays={self.replays}: attack.method free needs at least 2, such as 4")
        if self.batch_norm != "eval" or self.precision not in ("auto", "same"):
            name = "batch_norm" if self.batch_norm != "eval" else "precision"
            raise ConfigError(f"attack.{name}: attack.method free takes the update's own gradients; leave it out")
