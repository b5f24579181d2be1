"""How robust a model is, measured so that others believe it."""

from smoothify.evaluation.accuracy import robust_accuracy
from smoothify.evaluation.card import card_results
from smoothify.evaluation.checks import CHECKS, Check, CheckResult
from smoothify.evaluation.landscape import Landscape, landscape
from smoothify.evaluation.logits import predict
from smoothify.evaluation.precision import full_precision
from smoothify.evaluation.results import RobustAccuracy, Share, Verdicts, table
from smoothify.evaluation.robustbench import as_robustbench, leaderboard_entry
from smoothify.evaluation.sanity import Sanity, sanity
from smoothify.evaluation.state import Unfinished
from smoothify.evaluation.subject import Subject

__all__ = [
    "CHECKS",
    "Check",
    "CheckResult",
    "Landscape",
    "RobustAccuracy",
    "Sanity",
    "Share",
    "Subject",
    "Unfinished",
    "Verdicts",
    "as_robustbench",
    "card_results",
    "full_precision",
    "landscape",
    "leaderboard_entry",
    "predict",
    "robust_accuracy",
    "sanity",
    "table",
]
