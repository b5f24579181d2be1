"""``python -m smoothify.activations plot`` draws the figures, ``table`` writes the catalogue as a table."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command.

    >>> main(["table"])
    | name | parameters | formula | order | keeps | source |
    ...
    """
    parser = argparse.ArgumentParser(prog="python -m smoothify.activations", description="The catalogue, shown.")
    commands = parser.add_subparsers(dest="command", required=True)
    plot = commands.add_parser("plot", help="draw the paper's figures 1 and 2 and every entry, as PNG files")
    plot.add_argument("--out", type=Path, default=Path("docs/images"), help="the folder to draw into")
    commands.add_parser("table", help="write the catalogue as a Markdown table")
    chosen = parser.parse_args(arguments)
    if chosen.command == "plot":
        from smoothify.activations.plots import draw

        try:
            lines = [str(path) for path in draw(chosen.out)]
        except OSError as error:
            parser.exit(1, f"{parser.prog}: {error}\n")
    else:
        from smoothify.activations.table import catalogue_table

        lines = [catalogue_table()]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
