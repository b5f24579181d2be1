"""What a training run is made of. Every field is a command line option and a line of the YAML file."""

from smoothify.training.config.attack import AttackConfig
from smoothify.training.config.averaging import AveragingConfig
from smoothify.training.config.data import DataConfig
from smoothify.training.config.engine import EngineConfig, MixedPrecision
from smoothify.training.config.model import ModelConfig
from smoothify.training.config.optimizer import OptimizerConfig
from smoothify.training.config.published import refuse_code
from smoothify.training.config.run import Config
from smoothify.training.config.version import refuse_newer

__all__ = [
    "AttackConfig",
    "AveragingConfig",
    "Config",
    "DataConfig",
    "EngineConfig",
    "MixedPrecision",
    "ModelConfig",
    "OptimizerConfig",
    "refuse_code",
    "refuse_newer",
]
