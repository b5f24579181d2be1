"""Several attacks after each other, each on the images that the ones before it left standing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from smoothify.attacks.base import Attack, Found, refuse_probabilities
from smoothify.attacks.noise import Randomness, narrow
from smoothify.attacks.pgd import PGD
from smoothify.errors import ConfigError


@dataclass(frozen=True)
class Ensemble(Attack):
    """An image falls to the first of several attacks that finds a misclassified image in the threat model.

    Args:
        threat: norm and epsilon; the members' own must be the same.
        name: what people call the ensemble.
        members: the attacks, in order.
        batch_norm: the members', who must agree in it.

    >>> from smoothify.attacks import ThreatModel
    >>> threat = ThreatModel("linf", 0.1)
    >>> print(Ensemble(threat, "two", (PGD(threat, steps=5), PGD(threat, steps=50))))
    two
    """

    name: str = "ensemble"
    members: tuple[Attack, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.members:
            raise ConfigError(f"{self.name}: an ensemble needs at least one attack; give members=")
        for member in self.members:
            if member.threat != self.threat:
                raise ConfigError(f"{self.name}: {member} attacks within {member.threat}, not within {self.threat}")
        _take_batch_norm(self, self.members)

    def __str__(self) -> str:
        return self.name

    @property
    def step(self) -> float | None:
        """The members' step size where they have the same one, in [0, 1] pixel units."""
        steps = {getattr(member, "step", None) for member in self.members}
        return steps.pop() if len(steps) == 1 else None

    @property
    def reach(self) -> float:
        """As far as the member that goes furthest."""
        return max(member.reach for member in self.members)

    @property
    def keeps_attempts(self) -> bool:
        """Whether its last member does, which is the one that saw every image that stands."""
        return self.members[-1].keeps_attempts

    @property
    def image_by_image(self) -> bool:
        """Whether every member goes image by image."""
        return all(member.image_by_image for member in self.members)

    @property
    def names(self) -> tuple[str, ...]:
        """The members' names."""
        return tuple(name for member in self.members for name in member.names)

    def restarted(self, number: int) -> Ensemble:
        """Restart every member."""
        return replace(self, members=tuple(member.restarted(number) for member in self.members))

    def require(self, classes: int) -> None:
        """What every member requires."""
        for member in self.members:
            member.require(classes)

    def require_shape(self, shape: Sequence[int]) -> None:
        """What every member requires."""
        for member in self.members:
            member.require_shape(shape)

    def run(self, model: nn.Module, images: Tensor, labels: Tensor, generator: Randomness) -> Tensor:
        """Search; an image that stands is as the last member leaves it."""
        return self.find(model, images, labels, generator=generator).images

    def find(
        self, model: nn.Module, images: Tensor, labels: Tensor, *, generator: Randomness = None, full: bool = False
    ) -> Found:
        """Search with each member among what still stands; the randomness goes on from one to the next."""
        refuse_probabilities(labels, self)
        self.require_shape(images.shape[1:])  # before the first member has run, which may take hours
        result, fell = images.clone(), torch.zeros_like(labels, dtype=torch.bool)
        step, by = torch.full_like(labels, -1), [self.names[0]] * len(labels)
        standing = torch.arange(len(labels), device=labels.device)
        for member in self.members:
            found = member.find(model, images[standing], labels[standing], generator=generator, full=full)
            result[standing], fell[standing], step[standing] = found.images, found.fell, found.step
            for position, attack in zip(standing.tolist(), found.attack, strict=True):
                by[position] = attack
            left = (~found.fell).nonzero().flatten()
            standing, generator = standing[left], narrow(generator, left)
            if len(standing) == 0:
                break
        return Found(result, fell, step, tuple(by))


@dataclass(frozen=True)
class Restart(Attack):
    """One of several runs of the same attack, from another random start.

    Args:
        threat: norm and epsilon.
        attack: what is run again.
        number: which run it is, from 1.
        batch_norm: the attack's.

    >>> print(Restart(attack=PGD(steps=50), number=2))
    PGD-50, restart 2
    """

    attack: Attack = field(default_factory=PGD)
    number: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        _take_batch_norm(self, (self.attack,))

    def __str__(self) -> str:
        return f"{self.attack}, restart {self.number}"

    @property
    def step(self) -> float | None:
        """The attack's step size, in [0, 1] pixel units; None where it has none."""
        step: float | None = getattr(self.attack, "step", None)
        return step

    @property
    def reach(self) -> float:
        """As far as the attack."""
        return self.attack.reach

    @property
    def keeps_attempts(self) -> bool:
        """Whether the attack does."""
        return self.attack.keeps_attempts

    @property
    def image_by_image(self) -> bool:
        """Whether the attack goes so."""
        return self.attack.image_by_image

    def require(self, classes: int) -> None:
        """What the attack requires."""
        self.attack.require(classes)

    def require_shape(self, shape: Sequence[int]) -> None:
        """What the attack requires."""
        self.attack.require_shape(shape)

    def run(self, model: nn.Module, images: Tensor, labels: Tensor, generator: Randomness) -> Tensor:
        """Run the attack."""
        return self.attack.run(model, images, labels, generator)

    def find(
        self, model: nn.Module, images: Tensor, labels: Tensor, *, generator: Randomness = None, full: bool = False
    ) -> Found:
        """Search with the attack."""
        found = self.attack.find(model, images, labels, generator=generator, full=full)
        return Found(found.images, found.fell, found.step, (str(self),) * len(labels))


def _take_batch_norm(whole: Attack, members: Sequence[Attack]) -> None:
    """Have an attack made of others see batch norms as they do: while it runs, the mode is one for all of them."""
    modes = {member.batch_norm for member in members}
    if len(modes) > 1 or (whole.batch_norm == "train" and modes == {"eval"}):
        listed = ", ".join(f"{member} {member.batch_norm!r}" for member in members)
        raise ConfigError(f"{whole}: batch_norm is the members' ({listed}); give each the same, and leave it out here")
    object.__setattr__(whole, "batch_norm", modes.pop())


def restarts(attack: Attack, count: int) -> Attack:
    """Return an attack that runs another so many times, from as many random starts.

    >>> print(restarts(PGD(steps=50), 5))
    PGD-50x5
    """
    if count < 1:
        raise ConfigError(f"restarts={count}: at least 1 is needed")
    if count == 1:
        return attack
    members = tuple(Restart(attack.threat, attack.restarted(number), number) for number in range(1, count + 1))
    return Ensemble(attack.threat, f"{attack}x{count}", members)
