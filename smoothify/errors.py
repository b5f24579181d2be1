"""Everything smoothify raises on purpose. Each message says where, what was found, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_FEW = 20  # names; more are not read in an error message
_YOUR_OWN = "If it is your own, first import the module that registers it (--imports MODULE)"


class SmoothifyError(Exception):
    """The base of every error that smoothify raises on purpose."""


class UnknownNameError(SmoothifyError, ValueError):
    """A name that no registry holds; the message lists the nearest ones that exist, or all where they are few.

    Args:
        kind: what should go by that name.
        name: the name.
        known: those that exist.
        listing: of a registry that takes entries of one's own: what shows all its names.
        of: whose name it would be, where that is not all of them.

    >>> str(UnknownNameError("activation", "slu", ["silu", "relu", "gelu"]))
    "unknown activation 'slu'; did you mean 'silu', 'relu' or 'gelu'?"
    >>> str(UnknownNameError("activation", "mine", ["silu", "relu"], listing="names()"))
    "unknown activation 'mine'; it is one of 'silu' or 'relu'. If it is your own, first import the module that
    registers it (--imports MODULE)"
    """

    def __init__(self, kind: str, name: str, known: Iterable[str], *, listing: str = "", of: str = "") -> None:
        known = list(known)
        self.kind, self.name = kind, name
        self.nearest = nearest(name, known)
        hint = suggestion(self.nearest)
        if not hint and 0 < len(known) <= _FEW:
            hint = f"; it is one of {_listed(known)}"
        elif not hint and listing:
            hint = f"; {listing} shows all of them"
        if listing:
            hint += f"{'' if hint.endswith('?') else '.'} {_YOUR_OWN}"
        super().__init__(f"unknown {kind} {name!r}{f' of {of}' if of else ''}{hint}")


class SpecError(SmoothifyError, ValueError):
    """An activation spec such as ``"celu(alpha=1.4)"`` that cannot be read."""


class UnconvertedError(SmoothifyError):
    """A conversion that would leave a non-smooth activation in the model."""


class UnverifiedWarning(UserWarning):
    """A conversion after which the model may not be smooth; the message says why."""


class UnsupportedModelError(SmoothifyError, TypeError):
    """A model that cannot be worked on as it is (wrapped, scripted); the message names the remedy."""


class ConfigError(SmoothifyError, ValueError):
    """A configuration value that cannot work; the message names the field."""


class DataError(SmoothifyError, ValueError):
    """Images or labels that do not fit the model or the task; the message names what and where."""


class HubError(SmoothifyError):
    """A repository or folder that cannot be saved or loaded; nothing is left half-loaded."""


class OutputExistsError(SmoothifyError, FileExistsError):
    """An output folder that already holds a run and was not to be overwritten."""


class NonFiniteError(SmoothifyError, ArithmeticError):
    """Something that is NaN or infinite: logits, a loss, a derivative, weights; the message names it."""


class DivergedError(NonFiniteError):
    """A training run that ceased to be finite; the message names the last good checkpoint, and what to try.

    Args:
        what: what was not finite.
        step: the update after which, or in which, it was not, counted from 0.
        epoch: that it belongs to, counted from 1.
        advice: what the run can go on from, and how.

    >>> str(DivergedError("the loss is not finite", step=5, epoch=1, advice="try a smaller lr"))
    'the loss is not finite, at step 5 (epoch 1); try a smaller lr'
    """

    def __init__(self, what: str, *, step: int, epoch: int, advice: str) -> None:
        self.what, self.step, self.epoch = what, step, epoch
        super().__init__(f"{what}, at step {step} (epoch {epoch}); {advice}")


def nearest(name: str, known: Iterable[str], count: int = 3) -> list[str]:
    """Return the up to ``count`` known names closest to ``name``, best first.

    >>> nearest("resnet5", ["resnet50", "vit_base", "resnet18"])
    ['resnet50', 'resnet18']
    """
    candidates = list(known)
    folded = {candidate.lower(): candidate for candidate in candidates}
    matches = difflib.get_close_matches(name.lower(), list(folded), n=count, cutoff=0.5)
    return [folded[match] for match in matches]


def suggestion(names: list[str]) -> str:
    """Phrase a list of nearest names as the end of an error message ('' for an empty list)."""
    if not names:
        return ""
    return f"; did you mean {_listed(names)}?"


def _listed(names: list[str]) -> str:
    quoted = [repr(name) for name in names]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} or {quoted[-1]}"
