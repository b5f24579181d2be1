"""The versions that a figure depends on."""

from __future__ import annotations

import platform
import shutil
import subprocess
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def library_versions() -> dict[str, str]:
    """Return the version of every library that computes a figure, where it is installed.

    In a clone, ``commit`` is that of the code which is running.

    >>> list(library_versions())[:3]
    ['python', 'smoothify', 'torch']
    """
    commit = commit_of(Path(__file__).parents[1])
    return installed() if commit is None else {**installed(), "commit": commit}


def installed() -> dict[str, str]:
    """Return the versions without the commit, which changes with every file of the code.

    >>> "commit" in installed()
    False
    """
    from smoothify import __version__

    found = {"python": platform.python_version(), "smoothify": __version__}
    for name in ("torch", "timm", "pyautoattack"):
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def commit_of(package: Path) -> str | None:
    """Return the commit that a folder of code is at, with a "+" if its files differ; None if git does not keep it."""
    git = shutil.which("git")
    if git is None:
        return None

    def said(*arguments: str) -> str | None:
        done = subprocess.run([git, "-C", str(package), *arguments], capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else None

    if said("ls-files", "--error-unmatch", "__init__.py") is None:  # a package that lies in somebody's repository
        return None
    commit = said("rev-parse", "--short=10", "HEAD")
    return commit and commit + ("+" if said("status", "--porcelain", "--", ".") else "")
