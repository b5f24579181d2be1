"""AutoAttack (Croce and Hein, arXiv:2003.01690) and its parts, as the authors' code in pyautoattack computes them.

The library is kept from what it does besides: it seeds torch's global generator, logs, clears trace functions, takes
images outside [0, 1] as they are, and fails on gradients that are laid out channels last and on few classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from smoothify.attacks.base import Attack, Found, refuse_outside_pixels, refuse_probabilities
from smoothify.attacks.ensemble import Ensemble
from smoothify.attacks.noise import Randomness, seed_of
from smoothify.attacks.watch import Watch, WatchQueries, WatchRuns
from smoothify.errors import ConfigError, UnknownNameError

Part = Literal["apgd-ce", "apgd-dlr", "apgd-t", "fab-t", "square"]
_TITLES = {"apgd-ce": "APGD-CE", "apgd-dlr": "APGD-DLR", "apgd-t": "APGD-T", "fab-t": "FAB-T", "square": "Square"}
# The DLR loss divides by a difference of the 1st and the 3rd largest logit, its targeted form needs the 4th (eq. 6, 7).
_FEWEST_CLASSES = {"apgd-ce": 2, "apgd-dlr": 3, "apgd-t": 4, "fab-t": 2, "square": 2}


@dataclass(frozen=True)
class AutoAttackPart(Attack):
    """One of AutoAttack's attacks, with the settings that it has in the standard version.

    Args:
        threat: norm and epsilon.
        part: ``"apgd-ce"``, ``"apgd-dlr"``, ``"apgd-t"`` (targeted DLR), ``"fab-t"`` or ``"square"``.
        steps: gradient steps of each run, queries of Square; AutoAttack's own (100, Square 5000) if not given.
        restart: which of several runs it is, from 1; each has a seed of its own.

    Raises:
        UnknownNameError: no such part.
        ConfigError: on use, without pyautoattack, for a model with too few classes for the loss, or, of Square under
            L2, for images of a size that its tiles do not fit.
        DataError: on use, for images outside [0, 1], or labels that are probabilities.

    >>> from smoothify.attacks import ThreatModel
    >>> print(AutoAttackPart(ThreatModel("linf", "8/255"), "apgd-dlr"))
    APGD-DLR
    """

    part: Part = "apgd-ce"
    steps: int | None = None
    restart: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.part not in get_args(Part):
            raise UnknownNameError("part of AutoAttack", self.part, get_args(Part))
        if self.steps is not None and self.steps < 1:
            raise ConfigError(f"{self.part} steps={self.steps}: at least 1 is needed")

    def __str__(self) -> str:
        return _TITLES[self.part] + (f"-{self.steps}" if self.steps else "")

    @property
    def keeps_attempts(self) -> bool:
        """The library gives back the clean image where it does not succeed."""
        return False

    def restarted(self, number: int) -> AutoAttackPart:
        """With another seed: the library seeds itself, so that a source that goes on would not change its start."""
        return replace(self, restart=number)

    def run(self, model: nn.Module, images: Tensor, labels: Tensor, generator: Randomness) -> Tensor:
        """Let the library attack."""
        return self._attack(self._watch(model, labels), images, labels, generator)

    def find(
        self, model: nn.Module, images: Tensor, labels: Tensor, *, generator: Randomness = None, full: bool = False
    ) -> Found:
        """Let the library attack, and watch its passes for the step at which each image fell."""
        watch = self._watch(model, labels)
        attacked = self.constrain(self._attack(watch, images, labels, generator), images)
        with torch.no_grad():
            fell = model(attacked).argmax(1) != labels
        return Found(attacked, fell, watch.step.where(fell, -1), (str(self),) * len(labels))

    def require(self, classes: int) -> None:
        """Pyautoattack, and as many classes as the loss compares."""
        if classes < _FEWEST_CLASSES[self.part]:
            instead = "use apgd-ce" if classes > 1 else "give it two logits, (-z, z)"
            raise ConfigError(f"{self} needs {_FEWEST_CLASSES[self.part]} classes, the model has {classes}; {instead}")
        try:
            import pyautoattack.autopgd_base  # noqa: F401 (only whether it is there)
        except ImportError as error:
            raise ConfigError(f"{self} needs pyautoattack; pip install pyautoattack") from error

    def require_shape(self, shape: Sequence[int]) -> None:
        """Of Square under L2, images that its tiles fit into; the others take any."""
        if self.part == "square" and self.threat.norm == "l2" and not _tiles_fit(*shape[-2:]):
            raise ConfigError(
                f"{self} under L2 does not take images of shape {tuple(shape)}: pyautoattack begins with tiles as high "
                "as a fifth of the image, and here they do not fit; give images of another size, such as 28x28 or "
                "32x32, or leave Square out: apgd-ce, apgd-t and fab-t take any"
            )

    def _watch(self, model: nn.Module, labels: Tensor) -> Watch:
        if self.part == "square":
            return WatchQueries(model, labels)
        if self.part == "fab-t":
            return Watch(model, labels)
        return WatchRuns(model, labels, self.steps or 100, clean_pass=self.part == "apgd-t")

    def _attack(self, watch: Watch, images: Tensor, labels: Tensor, generator: Randomness) -> Tensor:
        refuse_outside_pixels(images)
        refuse_probabilities(labels, self)
        classes = count_classes(watch.model, images)
        self.require(classes)
        self.require_shape(images.shape[1:])
        runner = self._runner(watch, classes, seed_of(generator) + self.restart - 1, images.device)
        cuda = [torch.cuda.current_device()] if images.is_cuda else []
        with torch.random.fork_rng(devices=cuda), _frozen(watch.model):
            attacked: Tensor = runner.perturb(images.detach().contiguous(), labels)
        return attacked.detach()

    def _runner(self, watch: Watch, classes: int, seed: int, device: torch.device) -> Any:
        """Return the library's attack as `AutoAttack._set_version("standard")` sets it up, targets within reach."""
        from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted
        from pyautoattack.fab_pt import FABAttack_PT
        from pyautoattack.square import SquareAttack

        norm, targets = self.threat.norm.capitalize(), min(9, classes - 1)
        common = {"norm": norm, "eps": self.threat.radius, "seed": seed, "device": device}
        steps = self.steps or 100
        if self.part == "square":
            return SquareAttack(watch, n_queries=self.steps or 5000, resc_schedule=False, **common)
        if self.part == "fab-t":
            return FABAttack_PT(watch, n_iter=steps, targeted=True, n_target_classes=targets, **common)
        if self.part == "apgd-t":
            return APGDAttack_targeted(watch, n_iter=steps, n_target_classes=targets, logger=_Unheard(), **common)
        return APGDAttack(watch, n_iter=steps, loss=self.part.removeprefix("apgd-"), logger=_Unheard(), **common)


@dataclass(frozen=True)
class AutoAttack(Attack):
    """The standard AutoAttack: APGD-CE, APGD-T, FAB-T and Square, each on what the ones before it left standing.

    On a model with 2 or 3 classes the targeted DLR loss does not exist; AutoAttack is then without APGD-T, with
    APGD-DLR in its place where there are 3. A result names the attack that each image fell to.

    Args:
        threat: norm and epsilon.
        restart: which of several runs it is, from 1; each has seeds of its own.

    Raises:
        ConfigError: on use, as its parts; under L2 also for images of a size that Square does not take.

    >>> from smoothify.attacks import ThreatModel
    >>> print(AutoAttack(ThreatModel("l2", 0.5)))
    AutoAttack
    """

    restart: int = 1

    def __str__(self) -> str:
        return "AutoAttack"

    @property
    def keeps_attempts(self) -> bool:
        """Its parts keep none."""
        return False

    @property
    def names(self) -> tuple[str, ...]:
        """The parts' names."""
        return tuple(_TITLES.values())

    def members(self, classes: int) -> Ensemble:
        """Return the attacks that a model with so many classes is put through."""
        second: tuple[Part, ...] = ("apgd-t",) if classes > 3 else ("apgd-dlr",) if classes == 3 else ()
        parts: tuple[Part, ...] = ("apgd-ce", *second, "fab-t", "square")
        members = (AutoAttackPart(self.threat, part, restart=self.restart) for part in parts)
        return Ensemble(self.threat, str(self), tuple(members))

    def restarted(self, number: int) -> AutoAttack:
        """Restart every part."""
        return replace(self, restart=number)

    def require(self, classes: int) -> None:
        """What its parts require."""
        self.members(classes).require(classes)

    def require_shape(self, shape: Sequence[int]) -> None:
        """What Square requires, which is among its parts whatever the model."""
        AutoAttackPart(self.threat, "square").require_shape(shape)

    def run(self, model: nn.Module, images: Tensor, labels: Tensor, generator: Randomness) -> Tensor:
        """Attack with one after the other."""
        return self.find(model, images, labels, generator=generator).images

    def find(
        self, model: nn.Module, images: Tensor, labels: Tensor, *, generator: Randomness = None, full: bool = False
    ) -> Found:
        """Search with one after the other."""
        return self.members(count_classes(model, images)).find(model, images, labels, generator=generator, full=full)


def count_classes(model: nn.Module, images: Tensor) -> int:
    """Return how many logits a model gives an image."""
    with torch.no_grad():
        logits: Tensor = model(images[:1])
    return logits.shape[1]


def _tiles_fit(height: int, width: int) -> bool:
    """Tell whether `SquareAttack.attack_single_run` can lay its first tiles under L2 over an image.

    They are height // 5 wide and high, and as many as fit into the image from its edge; but they are laid from where
    five of them would stand in the middle of the height. Of tiles of one pixel the last may lie outside: none is added.
    """
    tile = height // 5
    if tile < 2 or width < tile:
        return tile > 0
    first = (height - 5 * tile) // 2
    return all(first + side // tile * tile <= side for side in (height, width))


class _Unheard:
    """The logger of a library that has nothing to say here: zero gradients are a check of the sanity suite."""

    def warning(self, message: str) -> None:
        pass


@contextmanager
def _frozen(model: nn.Module) -> Iterator[None]:
    """Keep parameters from collecting gradients: FAB calls ``backward``."""
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in learned:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learned:
            parameter.requires_grad_(True)
