"""What a training run is made of. Every field is a command line option and a line of the YAML file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from smoothify.activations import get, parse
from smoothify.attacks import PGD, ThreatModel, attack
from smoothify.data import SAMPLE, Augmentation
from smoothify.errors import ConfigError
from smoothify.objectives import objective


@dataclass(frozen=True)
class ModelConfig:
    """What is trained.

    Args:
        name: architecture: a preset ("resnet10_28px"), "timm/NAME" or "torchvision/NAME".
        activation: what its non-smooth activations become, such as "silu" or "celu(alpha=1.4)"; "keep" keeps them.
        pretrained: start from the weights that the architecture's library publishes (needs the network).
        arguments: further keyword arguments of the architecture's constructor.
        input_size: channels, height and width in pixels; the architecture's own if not given.
        mean: subtracted from every channel, in [0, 1] pixel units; the architecture's own if not given.
        std: every channel is divided by it, in [0, 1] pixel units; the architecture's own if not given.
    """

    name: str = "resnet10_28px"
    activation: str = "parametric_softplus"
    pretrained: bool = False
    arguments: dict[str, Any] = field(default_factory=dict)
    input_size: tuple[int, int, int] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.activation != "keep":
            entry, _ = parse(self.activation)
            get(entry.name)


@dataclass(frozen=True)
class DataConfig:
    """What it is trained on.

    Args:
        path: "fashion_mnist_sample" (embedded), a local folder, or a Hub data set "owner/name".
        train_split: the split that is trained on.
        test_split: the split that the final figures are measured on.
        augmentation: of training images: "none", "flip", "crop" or "imagenet".
        held_out: training images set aside for the check after every epoch (images).
        workers: processes that prepare batches; 0 prepares them in the training process.
    """

    path: str = SAMPLE
    train_split: str = "train"
    test_split: str = "test"
    augmentation: Augmentation = "flip"
    held_out: int = 500
    workers: int = 0

    def __post_init__(self) -> None:
        _at_least("data.held_out", self.held_out, 1)
        _at_least("data.workers", self.workers, 0)


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
        check: attack on the held-out images after every epoch.
        final: attack on the test images at the end.
    """

    norm: Literal["linf", "l2"] = "linf"
    epsilon: float | str = 0.1
    steps: int = 1
    step_size: float | str | None = None
    random_start: bool = True
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


@dataclass(frozen=True)
class OptimizerConfig:
    """Momentum SGD and its learning rate schedule.

    Args:
        momentum: of SGD, in [0, 1).
        nesterov: Nesterov's form of momentum.
        weight_decay: of weights; norms, biases and learned activation parameters are not decayed.
        schedule: "one_cycle" rises linearly to lr, then falls along a cosine; "cosine" only falls; "step" divides
            by ten at each milestone; "constant".
        warmup: share of all steps in which "one_cycle" rises, in (0, 1).
        milestones: epochs at which "step" divides by ten; the paper's 30, 60, 90 of 100.
    """

    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 5e-4
    schedule: Literal["one_cycle", "cosine", "step", "constant"] = "one_cycle"
    warmup: float = 0.3
    milestones: tuple[int, ...] = (30, 60, 90)

    def __post_init__(self) -> None:
        if not 0 <= self.momentum < 1:
            raise ConfigError(f"optimizer.momentum={self.momentum}: it must be in [0, 1)")
        if self.nesterov and self.momentum == 0:
            raise ConfigError("optimizer.nesterov needs a positive momentum; set nesterov to false")
        if self.weight_decay < 0:
            raise ConfigError(f"optimizer.weight_decay={self.weight_decay}: it cannot be negative")
        if not 0 < self.warmup < 1:
            raise ConfigError(f"optimizer.warmup={self.warmup}: it must be in (0, 1)")


@dataclass(frozen=True)
class Config:
    """One training run.

    Args:
        output: the folder that the run leaves.
        seed: of weights, order, noise and held-out images.
        epochs: passes over the training images.
        batch_size: images a step, over all processes together.
        lr: peak learning rate for this batch size.
        objective: "pgd_at" (adversarial training) or "standard".
        label_smoothing: in [0, 1); the paper uses 0.
        push: Hub repository "owner/name" that the best model is pushed to at the end.
        model: what is trained.
        data: what it is trained on.
        attack: the adversary of training, and the ones that measure.
        optimizer: momentum SGD and its schedule.
    """

    output: str = "runs/train"
    seed: int = 0
    epochs: int = 25
    batch_size: int = 128
    lr: float = 0.4
    objective: str = "pgd_at"
    label_smoothing: float = 0.0
    push: str | None = None
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    attack: AttackConfig = field(default_factory=AttackConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)

    def __post_init__(self) -> None:
        _at_least("epochs", self.epochs, 1)
        _at_least("batch_size", self.batch_size, 1)
        _at_least("seed", self.seed, 0)
        if self.seed >= 2**31:
            raise ConfigError(f"seed={self.seed}: it must be below 2^31")
        if not self.lr > 0:
            raise ConfigError(f"lr={self.lr}: it must be positive")
        if not 0 <= self.label_smoothing < 1:
            raise ConfigError(f"label_smoothing={self.label_smoothing}: it must be in [0, 1)")
        objective(self.objective)


def _at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise ConfigError(f"{name}={value}: at least {least} is needed")
