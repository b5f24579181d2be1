"""The outer minimisation: what is minimised over the model's parameters."""

from smoothify.objectives.awp import WeightPerturbation
from smoothify.objectives.base import Loss, Objective
from smoothify.objectives.mart import Mart
from smoothify.objectives.names import OBJECTIVES, objective, register_objective
from smoothify.objectives.pgd_at import AdversarialTraining, Mixture
from smoothify.objectives.standard import StandardTraining
from smoothify.objectives.trades import Trades

__all__ = [
    "OBJECTIVES",
    "AdversarialTraining",
    "Loss",
    "Mart",
    "Mixture",
    "Objective",
    "StandardTraining",
    "Trades",
    "WeightPerturbation",
    "objective",
    "register_objective",
]
