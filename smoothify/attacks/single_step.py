"""Single-step attacks made for training against catastrophic overfitting; neither measures robustness."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from smoothify.attacks.base import Attack
from smoothify.attacks.gradients import gradient_of
from smoothify.attacks.noise import Randomness, uniform
from smoothify.attacks.pgd import LOSS_SCALE, PGD
from smoothify.attacks.threat import ThreatModel
from smoothify.errors import ConfigError


def fgsm_rs(threat: ThreatModel, *, step_size: float | str | None = None) -> PGD:
    """Return FGSM with a random start (Wong et al., arXiv:2001.03994): PGD-1 with a step of 1.25 epsilon.

    Args:
        threat: norm and epsilon.
        step_size: another one, in [0, 1] pixel units.

    >>> fgsm_rs(ThreatModel("linf", 0.1)).step
    0.125
    """
    return PGD(threat, steps=1, step_size=min(1.25 * threat.radius, threat.longest) if step_size is None else step_size)


@dataclass(frozen=True)
class NoiseFGSM(Attack):
    """N-FGSM (de Jorge et al., arXiv:2202.01181): noise as wide as k epsilon, then a step of epsilon, no projection.

    What comes out is up to (k + 1) epsilon away from its image: outside the threat model, on purpose, and clipped to
    [0, 1] alone. That helps training, and is no measure of robustness within epsilon.

    Args:
        threat: Linf and epsilon.
        noise: k, at least 0; the authors' 2.

    >>> attack = NoiseFGSM(ThreatModel("linf", "8/255"))
    >>> round(attack.reach * 255)
    24
    """

    noise: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.threat.norm != "linf":
            raise ConfigError(f"N-FGSM is defined for linf only, not for {self.threat.norm}")
        if self.noise < 0:
            raise ConfigError(f"N-FGSM noise={self.noise}: it cannot be negative")

    def __str__(self) -> str:
        return "N-FGSM"

    @property
    def reach(self) -> float:
        """Noise and step together."""
        return (self.noise + 1) * self.threat.radius

    def run(self, model: nn.Module, images: Tensor, labels: Tensor, generator: Randomness) -> Tensor:
        """Step from the noisy images, which are clipped to [0, 1] first, as in the authors' code."""
        width = self.noise * self.threat.radius
        noisy = (images + uniform(images, -width, width, generator)).clamp(0, 1).requires_grad_()
        with torch.enable_grad():
            loss = F.cross_entropy(model(noisy), labels, reduction="sum") * LOSS_SCALE
        return noisy.detach() + self.threat.radius * gradient_of(loss, noisy, self).sign()
