"""What the command lines share: one parser whose errors are one line, and exit codes."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import NoReturn

from jsonargparse import ArgumentParser

from smoothify.errors import NonFiniteError, SmoothifyError, nearest, suggestion

USER_ERROR, RUN_ERROR, INTERRUPTED = 2, 1, 130
_UNKNOWN = re.compile(r"(?:Unrecognized arguments: --|Key '|key \"?|Option ')([\w.]+)")


class Parser(ArgumentParser):  # type: ignore[misc]  # jsonargparse's class is typed as Any under follow_imports=skip
    """A parser that answers what it cannot read with one line, the nearest option and exit code 2."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print one line and exit with code 2."""
        first_line = " ".join(message.split())
        unknown = _UNKNOWN.search(message)
        options = [option.lstrip("-") for action in self._actions for option in action.option_strings]
        if unknown and unknown[1] not in options:
            first_line = f"unknown option {unknown[1]!r}{suggestion(nearest(unknown[1], options))}"
        fail(f"{self.prog}: {first_line}", USER_ERROR)


def run(command: Callable[[], None], program: str) -> None:
    """Run a command; what goes wrong as people expect it to becomes one line and an exit code, never a traceback.

    2: something that was asked for cannot be. 1: the run itself failed. 130: Ctrl-C.
    """
    try:
        command()
    except NonFiniteError as error:
        fail(f"{program}: {error}", RUN_ERROR)
    except SmoothifyError as error:
        fail(f"{program}: {error}", USER_ERROR)
    except OSError as error:
        fail(f"{program}: {error}; what was finished before is still in its folder", RUN_ERROR)
    except KeyboardInterrupt:
        fail(f"{program}: stopped; what was finished before is still in its folder", INTERRUPTED)


def fail(message: str, code: int) -> NoReturn:
    """Print one line to standard error and exit."""
    print(message, file=sys.stderr, flush=True)
    raise SystemExit(code)
