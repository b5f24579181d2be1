"""The adversarial training loop, its config and what it leaves."""

from smoothify.training.config import (
    AttackConfig,
    AveragingConfig,
    Config,
    DataConfig,
    EngineConfig,
    ModelConfig,
    OptimizerConfig,
)
from smoothify.training.loop import train
from smoothify.training.progress import Reporter, Silent, Terminal
from smoothify.training.saving.outcome import Outcome
from smoothify.training.saving.run_folder import RunFolder

__all__ = [
    "AttackConfig",
    "AveragingConfig",
    "Config",
    "DataConfig",
    "EngineConfig",
    "ModelConfig",
    "OptimizerConfig",
    "Outcome",
    "Reporter",
    "RunFolder",
    "Silent",
    "Terminal",
    "train",
]
