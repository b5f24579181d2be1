"""One training run, whole."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from smoothify import __version__
from smoothify.activations import SurrogateGradients
from smoothify.errors import ConfigError
from smoothify.hub import check_repo_id
from smoothify.objectives import WeightPerturbation, objective
from smoothify.training.config.attack import AttackConfig
from smoothify.training.config.averaging import AveragingConfig
from smoothify.training.config.bounds import at_least
from smoothify.training.config.data import DataConfig
from smoothify.training.config.engine import EngineConfig
from smoothify.training.config.model import ModelConfig
from smoothify.training.config.optimizer import OptimizerConfig
from smoothify.training.config.version import refuse_newer


@dataclass(frozen=True)
class Config:
    """One training run.

    Args:
        output: the folder that the run leaves.
        seed: of weights, order, noise and held-out images.
        epochs: passes over the training images.
        patience: stop once so many epochs in a row have not bettered the robust accuracy on held-out images (the clean
            one without an adversary); the learning rate falls as if the run were to be whole. Every epoch is run if
            not given.
        batch_size: images a step, over all processes together.
        lr: peak learning rate for this batch size.
        objective: "pgd_at" (adversarial training), "mixture(clean=0.5)", "trades(beta=6)", "mart(beta=5)" or
            "standard"; " + awp(gamma=0.005)" after any of them perturbs the weights, too.
        label_smoothing: in [0, 1); the paper uses 0.
        push: Hub repository "owner/name" that the best model is pushed to at the end.
        model: what is trained.
        data: what it is trained on.
        attack: the adversary of training, and the ones that measure.
        surrogate: derivatives in the place of ReLU's, for a model whose ReLUs are kept (the paper's Table 1).
        optimizer: how the parameters are updated.
        averaging: which average of the weights is measured and saved.
        engine: how it is computed.
        imports: your own modules that register activations, rules, objectives or attacks, such as my_acts, or
            [my_acts, my_attacks]; the command imports them before it reads their names.
        smoothify: the version that this config was written for; a newer one than is installed is refused.

    >>> config = Config(epochs=5, model=ModelConfig(activation="silu"), attack=AttackConfig(epsilon="8/255"))
    >>> config.attack.threat.radius == 8 / 255
    True
    >>> Config(lr=0)
    Traceback (most recent call last):
    smoothify.errors.ConfigError: lr=0: it must be a positive number
    """

    output: str = "runs/train"
    seed: int = 0
    epochs: int = 25
    patience: int | None = None
    batch_size: int = 128
    lr: float = 0.4
    objective: str = "pgd_at"
    label_smoothing: float = 0.0
    push: str | None = None
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    attack: AttackConfig = field(default_factory=AttackConfig)
    surrogate: SurrogateGradients = field(default_factory=SurrogateGradients)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    averaging: AveragingConfig = field(default_factory=AveragingConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)
    imports: str | tuple[str, ...] = ()
    smoothify: str = __version__

    def __post_init__(self) -> None:
        refuse_newer(self.smoothify, "this config")
        at_least("epochs", self.epochs, 1)
        if self.patience is not None:
            at_least("patience", self.patience, 1)
        at_least("batch_size", self.batch_size, 1)
        at_least("seed", self.seed, 0)
        if self.seed >= 2**31:
            raise ConfigError(f"seed={self.seed}: it must be below 2^31")
        if not 0 < self.lr < math.inf:
            raise ConfigError(f"lr={self.lr}: it must be a positive number")
        if not 0 <= self.label_smoothing < 1:
            raise ConfigError(f"label_smoothing={self.label_smoothing}: it must be in [0, 1)")
        if self.surrogate != SurrogateGradients() and self.model.activation != "keep":
            raise ConfigError(
                f"surrogate takes the place of ReLU's derivative, and model.activation={self.model.activation!r} "
                "leaves no ReLU; set model.activation to keep"
            )
        if self.surrogate != SurrogateGradients() and self.engine.activation_checkpointing:
            raise ConfigError(
                "surrogate: engine.activation_checkpointing computes ReLUs again in the backward pass, where nothing "
                "takes the place of their derivative; use engine.accumulation to fit in memory"
            )
        chosen = objective(self.objective)
        if (self.data.mixup or self.data.cutmix) and not chosen.takes_soft_labels:
            raise ConfigError(f"objective={self.objective!r} needs whole labels; set data.mixup and data.cutmix to 0")
        if self.attack.method == "free":
            self._refuse_what_free_cannot()
        if chosen.starts_at_random and not self.attack.starts_at_random:
            raise ConfigError(
                f"objective={self.objective!r} has no gradient at the image itself: set attack.random_start to true "
                "and attack.clean_start to 0"
            )
        if self.attack.targeted and not chosen.takes_targets:
            raise ConfigError(
                f"objective={self.objective!r} attacks something else than the cross-entropy, which has no targets; "
                "set attack.targeted to false"
            )
        if self.surrogate.attacker is not None and not chosen.attacks:
            raise ConfigError(f"objective={self.objective!r} attacks no image; leave surrogate.attacker out")
        for name, epochs in (
            ("optimizer.warmup_epochs", self.optimizer.warmup_epochs),
            ("attack.epsilon_warmup", self.attack.epsilon_warmup),
            ("attack.step_warmup", self.attack.step_warmup),
            ("model.anneal", self.model.anneal),
        ):
            if epochs >= self.epochs:
                raise ConfigError(f"{name}={epochs:g} leaves nothing of {self.epochs} epochs")
        if self.optimizer.schedule == "step" and self.optimizer.milestones[0] >= self.epochs:
            raise ConfigError(
                f"optimizer.milestones={list(self.optimizer.milestones)}: none comes before the end of {self.epochs} "
                'epochs, so that the learning rate would never fall; set them, or optimizer.schedule to "constant"'
            )
        if self.model.anneal and self.engine.compile:
            raise ConfigError(
                "model.anneal changes the model at every step, engine.compile would compile each; drop one"
            )
        if self.averaging.kind == "swa" and self.averaging.start > self.epochs:
            raise ConfigError(f"averaging.start={self.averaging.start} comes after all of {self.epochs} epochs")
        if self.push is not None:
            check_repo_id(self.push)
        if self.engine.fsdp and self.engine.mixed_precision == "fp16":
            raise ConfigError("engine.fsdp does not go with engine.mixed_precision=fp16; use bf16")
        if self.engine.fsdp and self.attack.precision in ("replica", "folded", "autocast"):
            raise ConfigError(f"attack.precision={self.attack.precision} does not go with engine.fsdp; use same")
        if self.engine.fsdp and self.averaging.kind != "none":
            raise ConfigError("averaging does not go with engine.fsdp; set averaging.kind to none")
        if self.engine.fsdp and isinstance(chosen, WeightPerturbation):
            raise ConfigError(
                f"objective={self.objective!r}: awp moves whole weights, engine.fsdp has shards; drop one"
            )
        if self.engine.activation_checkpointing and isinstance(chosen, WeightPerturbation):
            raise ConfigError(
                f"objective={self.objective!r}: awp has moved its weights back when engine.activation_checkpointing "
                "computes activations again; use engine.accumulation to fit in memory, or drop awp"
            )

    def _refuse_what_free_cannot(self) -> None:
        """One backward pass serves the attack and the update there, on the same images several times."""
        if self.objective.strip() != "pgd_at":
            raise ConfigError(f"objective={self.objective!r} does not go with attack.method free; use pgd_at")
        if self.data.mixup or self.data.cutmix:
            raise ConfigError(
                "data.mixup and data.cutmix would mix every replay anew; attack.method free takes neither"
            )
        if self.surrogate.attacker != self.surrogate.optimizer:
            raise ConfigError("surrogate.attacker and surrogate.optimizer are the same pass under attack.method free")
