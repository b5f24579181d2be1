"""Which sites a conversion is about: ``only=``, ``exclude=`` and ``replace=``."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

from torch import nn

from smoothify.errors import UnknownNameError, nearest, suggestion
from smoothify.surgery.rules.base import known_function

Globs = str | Collection[str] | None
Replace = str | Collection[str]


@dataclass(frozen=True, slots=True)
class Scope:
    """Globs over module paths, and which functions to replace."""

    only: tuple[str, ...]
    """Empty for everything."""
    exclude: tuple[str, ...]
    replace: str | frozenset[str]

    @classmethod
    def of(cls, only: Globs, exclude: Globs, replace: Replace) -> Scope:
        """Read the caller's arguments; raises ValueError for a ``replace`` that means nothing."""
        if isinstance(replace, str):
            if replace not in ("nonsmooth", "all"):
                raise UnknownNameError("replace= (a word, or a set of function names)", replace, ("nonsmooth", "all"))
            functions: str | frozenset[str] = replace
        else:
            functions = frozenset(replace)
            for function in functions:
                known_function(function)
        if only is not None and not isinstance(only, str) and not only:
            raise ValueError("only= is empty, and nothing would be converted; pass None for everything")
        return cls(_globs(only), _globs(exclude), functions)

    def holds(self, paths: Iterable[str]) -> bool:
        """Whether an instance with these paths is inside ``only`` and outside ``exclude``.

        What a glob matches it is about with everything beneath it.
        """
        known = tuple(_with_those_above(paths))
        inside = not self.only or _any_matches(self.only, known)
        return inside and not _any_matches(self.exclude, known)

    def wants(self, function: str, smooth: bool | None) -> bool:
        """Whether a function is to be replaced."""
        if self.replace == "nonsmooth":
            return smooth is False
        return self.replace == "all" or function in self.replace

    def check(self, model: nn.Module, paths: Collection[str]) -> None:
        """Raise ValueError for a glob that no module path matches: a silent typo would convert nothing."""
        for option, globs in (("only", self.only), ("exclude", self.exclude)):
            for glob in globs:
                if not _any_matches((glob,), _with_those_above(paths)):
                    hint = suggestion(nearest(glob, paths))
                    raise ValueError(f"{option}={glob!r} matches no module of this {type(model).__name__}{hint}")


def _globs(value: Globs) -> tuple[str, ...]:
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else tuple(value)


def _with_those_above(paths: Iterable[str]) -> Iterator[str]:
    for path in paths:
        yield path
        while (end := max(path.rfind("."), path.rfind("["))) >= 0:
            path = path[:end]
            yield path


def _any_matches(globs: Iterable[str], paths: Iterable[str]) -> bool:
    known = tuple(paths)
    # A path as it stands, first: to a glob, the brackets in functions['relu'] mean one of these letters.
    return any(path == glob or fnmatchcase(path, glob) for glob in globs for path in known)
