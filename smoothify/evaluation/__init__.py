"""How robust a model is, measured so that others believe it."""

from smoothify.evaluation.accuracy import full_precision, predict, robust_accuracy
from smoothify.evaluation.landscape import Landscape, landscape
from smoothify.evaluation.results import RobustAccuracy, Share
from smoothify.evaluation.robustbench import as_robustbench, leaderboard_entry

__all__ = [
    "Landscape",
    "RobustAccuracy",
    "Share",
    "as_robustbench",
    "full_precision",
    "landscape",
    "leaderboard_entry",
    "predict",
    "robust_accuracy",
]
