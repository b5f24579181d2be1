"""The outer minimisation: what is minimised over the model's parameters."""

from collections.abc import Mapping
from types import MappingProxyType

from smoothify.errors import UnknownNameError
from smoothify.objectives.base import Loss, Objective
from smoothify.objectives.pgd_at import AdversarialTraining
from smoothify.objectives.standard import StandardTraining

__all__ = ["OBJECTIVES", "AdversarialTraining", "Loss", "Objective", "StandardTraining", "objective"]

OBJECTIVES: Mapping[str, type[AdversarialTraining] | type[StandardTraining]] = MappingProxyType(
    {kind.name: kind for kind in (AdversarialTraining, StandardTraining)}
)


def objective(name: str, *, label_smoothing: float = 0.0) -> Objective:
    """Return the objective that goes by a name.

    Raises:
        UnknownNameError: no objective goes by that name.

    >>> objective("pgd_at").name
    'pgd_at'
    """
    if name not in OBJECTIVES:
        raise UnknownNameError("objective", name, OBJECTIVES)
    return OBJECTIVES[name](label_smoothing=label_smoothing)
