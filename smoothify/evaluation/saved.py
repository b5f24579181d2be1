"""The saved models that a measurement is about: whose code built them, and whether they still are what was loaded."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from smoothify.errors import HubError
from smoothify.hub import weights_digest
from smoothify.hub.extra import is_of_own_code

T = TypeVar("T")


class StatedWeights:
    """What saved models say of their weights before they are loaded; a run may replace its best model at any time.

    Args:
        models: folders, or Hub repositories ``"owner/name"``; None is left out.

    >>> StatedWeights("no/such/model", None)["no/such/model"]
    """

    def __init__(self, *models: str | None) -> None:
        self._stated = {model: _told(weights_digest, model) for model in models if model is not None}

    def __getitem__(self, model: str) -> str | None:
        """Return the SHA-256 that a model stated; None of one that is not ours."""
        return self._stated[model]

    def replaced(self, model: str) -> bool:
        """Tell whether a model states other weights by now."""
        return _told(weights_digest, model) not in (self._stated[model], None)

    def refuse_replaced(self) -> None:
        """Refuse models that were replaced since, after they have been loaded.

        Raises:
            HubError: nobody knows which weights were loaded.
        """
        for model in filter(self.replaced, self._stated):
            raise HubError(f"{model} was replaced while it was loaded; the same command measures what is there now")


def built_by(architecture: str | None, *models: str | None) -> dict[str, str]:
    """Say which of several saved models somebody's own code built: those that say so of themselves.

    Where there is one model only, or none of them says so, it is for all, and loading them says what does not fit.

    >>> built_by("my_nets:SmallNet", "runs/own/best", None)
    {'runs/own/best': 'my_nets:SmallNet'}
    """
    given = [model for model in models if model is not None]
    if architecture is None:
        return {}
    own = [model for model in given if _told(is_of_own_code, model)] if len(given) > 1 else given
    return dict.fromkeys(own or given, architecture)


def _told(read: Callable[[str], T], model: str) -> T | None:
    """Read what a model says of itself; None of one that cannot be read, since loading it says better what is wrong."""
    try:
        return read(model)
    except HubError:
        return None
