"""How robust a model is, measured so that others believe it."""

from smoothify.evaluation.accuracy import full_precision, predict, robust_accuracy
from smoothify.evaluation.results import RobustAccuracy, Share

__all__ = ["RobustAccuracy", "Share", "full_precision", "predict", "robust_accuracy"]
