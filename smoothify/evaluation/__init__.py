"""How robust a model is, measured so that others believe it."""

from smoothify.evaluation.accuracy import RobustAccuracy, Share, full_precision, predict, robust_accuracy

__all__ = ["RobustAccuracy", "Share", "full_precision", "predict", "robust_accuracy"]
