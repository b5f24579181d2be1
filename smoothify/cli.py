"""What the command lines share: one parser whose errors are one line, and exit codes."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Collection
from typing import NoReturn

import torch
from jsonargparse import SUPPRESS, ArgumentParser

from smoothify.errors import ConfigError, NonFiniteError, SmoothifyError, UnknownNameError

USER_ERROR, RUN_ERROR, INTERRUPTED = 2, 1, 130
_UNKNOWN_ARGUMENT = re.compile(r"unrecognized arguments: (?:--)?([\w.-]+)", re.IGNORECASE)
_UNKNOWN_KEY = re.compile(r"(?:Group '(?P<group>[\w.]+)'|\w+) does not accept (?:option|key) '(?P<name>[\w.]+)'")
_UNKNOWN_TOP_KEY = re.compile(r"(?:Option|Key) '(?P<name>[\w.]+)' is not (?:accepted|expected)")
_NOT_ONE_OF = re.compile(
    r"key \"(?P<key>[\w.]+)\": .*?Expected a typing\.Literal\[(?P<known>[^]]*)\].* (?:Got|Given) value: (?P<value>.*)"
)
_OF_NO_TYPE = re.compile(r"key \"(?P<key>[\w.]+)\": .*(?:Got|Given) value: (?P<value>.*)")
_GROUP = re.compile(r"key \"(?P<group>\w+)\": Unable to load config ['\"](?P<value>[^'\"]*)")
_NO_COMMAND = re.compile(r"invalid choice: '(?P<name>[^']*)' \(choose from (?P<known>.*)\)")
_TYPE = re.compile(r"Expected an? <class '(\w+)'>")
_NOBODYS = ("h", "help", "print_shtab")  # options that no other one is taken for
_WRITTEN = {"NoneType": "null", "tuple": "a list such as [1,2]", "dict": "a mapping such as '{name: 1}'"}


class Parser(ArgumentParser):
    """A parser that answers what it cannot read with one line, the nearest option and exit code 2."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print one line and exit with code 2."""
        fail(f"{self.prog}: {self._explain(' '.join(message.split()))}", USER_ERROR)

    def _explain(self, message: str) -> str:
        options = [option.lstrip("-") for action in self._actions for option in action.option_strings]
        groups = {option.partition(".")[0] for option in options if "." in option}
        options = [option for option in options if option not in {*groups, *_NOBODYS}]
        if argument := _UNKNOWN_ARGUMENT.search(message):
            return _unknown_option(argument[1], options)
        if key := _UNKNOWN_KEY.search(message) or _UNKNOWN_TOP_KEY.search(message):
            group = key.groupdict().get("group")
            return _unknown_option(f"{group}.{key['name']}" if group else key["name"], options)
        if (whole := _GROUP.search(message)) and whole["group"] in groups:
            first, *_ = within = [f"--{option}" for option in options if option.startswith(f"{whole['group']}.")]
            return (
                f"--{whole['group']} {whole['value']}: is a group of options, {', '.join(within[:3])} and others; did "
                f"you mean {first} {whole['value']}?"
            )
        if command := _NO_COMMAND.search(message):
            if command["name"] in ("train", "evaluate"):
                return f"{command['name']} is a program of its own: accelerate launch -m smoothify.{command['name']}"
            return str(UnknownNameError("command", command["name"], re.findall(r"[\w-]+", command["known"])))
        if value := _NOT_ONE_OF.search(message):
            known = [name.strip(" '") for name in value["known"].split(",")]
            error = UnknownNameError(value["key"], value["value"], known)
            return f"{error} (one of {', '.join(known)})" if error.nearest else str(error)
        if (value := _OF_NO_TYPE.search(message)) and (types := _TYPE.findall(message)):
            expected = " or ".join(_WRITTEN.get(name, name) for name in types)
            return f"{value['key']}={value['value']}: expected {expected}"
        return message


def _unknown_option(name: str, options: Collection[str]) -> str:
    error = UnknownNameError("option", name, options)
    return str(error) if error.nearest else f"unknown option {name!r}; --help shows all of them"


def hide(parser: Parser, names: Collection[str]) -> None:
    """Leave options out of ``--help``: a config file may hold them, and nobody types them."""
    for action in parser._actions:
        if action.dest in names:
            action.help = SUPPRESS


def add_imports(parser: Parser) -> None:
    """Add the option that names modules of the user's own, which `import_modules` imports."""
    parser.add_argument(
        "--imports",
        type=str | tuple[str, ...],
        default=(),
        metavar="MODULES",
        help="your own modules that register what is asked for by name, such as my_acts or my_acts,my_attacks",
    )


def use_cores(threads: int | None) -> None:
    """Let torch use this many threads on a CPU; if not said, this process's fair share of the machine's cores.

    ``accelerate launch`` starts a single process with one thread unless it is told otherwise.
    """
    if threads is not None and threads < 1:
        raise ConfigError(f"--threads {threads}: at least 1 is needed")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    torch.set_num_threads(threads or max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))


def run(command: Callable[[], None], program: str, *, again: str = "") -> None:
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
        if os.environ.get("RANK", "0") != "0":  # every process is interrupted, one says so
            raise SystemExit(INTERRUPTED) from None
        told = f"; {again}" if again else ""
        fail(f"{program}: stopped; what was finished before is still in its folder{told}", INTERRUPTED)


def fail(message: str, code: int) -> NoReturn:
    """Print one line to standard error and exit."""
    print(message, file=sys.stderr, flush=True)
    raise SystemExit(code)
