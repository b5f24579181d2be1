"""The versions that a figure depends on."""

from __future__ import annotations

import platform
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version


def library_versions() -> dict[str, str]:
    """Return the version of every library that computes a figure, where it is installed.

    >>> list(library_versions())[:3]
    ['python', 'smoothify', 'torch']
    """
    from smoothify import __version__

    found = {"python": platform.python_version(), "smoothify": __version__}
    for name in ("torch", "timm", "pyautoattack"):
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
