"""Look at a model from the shell: ``python -m smoothify inspect resnet50``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from torch import nn

from smoothify.cli import Parser, run
from smoothify.hub import from_pretrained
from smoothify.models import build
from smoothify.surgery import inspect

PROGRAM = "smoothify"
_LIBRARIES = ("timm", "torchvision")


def parser() -> Parser:
    """Build the parser and its one subcommand."""
    built = Parser(prog=PROGRAM, description="Smooth adversarial training of vision models.", allow_abbrev=False)
    looking = Parser(
        description="List every activation of a model, whether it is smooth, and what would become of it.",
        allow_abbrev=False,
    )
    looking.add_argument(
        "model",
        type=str,
        help="a timm name, torchvision/NAME, a preset, a saved folder, or a Hub repository owner/name",
    )
    looking.add_argument("--json", action="store_true", help="print the report as JSON")
    built.add_subcommands().add_subcommand("inspect", looking, help="list every activation of a model")
    return built


def model_of(name: str) -> nn.Module:
    """Load what a name on the command line means: an architecture without weights, or a saved model with its own."""
    source, _, _ = name.rpartition("/")
    if name.startswith("hf-hub:"):
        return from_pretrained(name.removeprefix("hf-hub:"))
    if Path(name).is_dir() or (source != "" and source not in _LIBRARIES):
        return from_pretrained(name)
    return build(name)


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and print the report."""
    asked = parser().parse_args(arguments)
    report = inspect(model_of(asked.inspect.model))
    print(json.dumps(report.to_dict(), indent=1) if asked.inspect.json else report)


if __name__ == "__main__":
    run(main, PROGRAM)
