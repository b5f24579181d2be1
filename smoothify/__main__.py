"""Look at a model, import one, or run a table of experiments: ``python -m smoothify inspect resnet50``."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from smoothify.cli import Parser, add_imports, run
from smoothify.errors import ConfigError, UnknownNameError
from smoothify.files import refuse_existing, write_atomically
from smoothify.hub import CardFacts, from_pretrained, push_folder, save_pretrained
from smoothify.hub.sat import ACTIVATIONS, MODELS, import_sat
from smoothify.models import build
from smoothify.models.importing import import_modules
from smoothify.models.load import LIBRARIES, is_folder
from smoothify.reproduction import Machine, Table, find_tables, guides, reproduce, results_page
from smoothify.surgery import inspect

PROGRAM = "python -m smoothify"


def parser() -> Parser:
    """Build the parser and its subcommands."""
    built = Parser(
        prog=PROGRAM,
        description="Smooth adversarial training of vision models.",
        epilog="To train: `accelerate launch -m smoothify.train --help`. "
        "To measure: `accelerate launch -m smoothify.evaluate --help`.",
        allow_abbrev=False,
    )
    looking = Parser(description="List every activation of a model and whether it is smooth.", allow_abbrev=False)
    looking.add_argument(
        "model",
        type=str,
        help="a timm name, torchvision/NAME, transformers/TYPE, a preset, module:factory of your own, a saved folder, "
        "or a Hub repository owner/name",
    )
    looking.add_argument(
        "--architecture", type=str | None, metavar="MODULE:FACTORY", help="your own code, where it built a saved model"
    )
    add_imports(looking)
    looking.add_argument("--json", action="store_true", help="print the report as JSON")
    running = Parser(
        description="Train and measure what a table of experiments lacks, with the public commands; then write the "
        "pages of results. What was finished before is not done again.",
        allow_abbrev=False,
    )
    running.add_argument("table", type=str, help="such as fashion_mnist/figure_3; fashion_mnist for all of them")
    running.add_argument("--rows", type=list[str], default=[], help="only these rows, as [relu, silu] (default: all)")
    running.add_argument("--seeds", type=list[int] | None, help="only these seeds, as [0, 1] (default: the table's)")
    running.add_argument("--side_by_side", type=int, default=1, help="runs that share the machine (default: 1)")
    running.add_argument(
        "--launch",
        type=str,
        default="",
        metavar="COMMAND",
        help="what starts each run, as 'accelerate launch --num_processes 8' (default: this Python)",
    )
    running.add_argument(
        "--data", type=str | None, help="where the data set lies here (default: the recipe's data.path)"
    )
    running.add_argument("--runs", type=str, default="runs/zoo", help="folder of the runs (default: runs/zoo)")
    running.add_argument("--zoo", type=str, default="zoo", help="folder of the tables (default: zoo)")
    writing = Parser(
        description="Write zoo/RESULTS.md and the pages of docs/paper from the records of runs.", allow_abbrev=False
    )
    writing.add_argument("--zoo", type=str, default="zoo", help="folder of the tables (default: zoo)")
    pushing = Parser(description="Publish a saved model, such as RUN/best, as one commit.", allow_abbrev=False)
    pushing.add_argument("folder", type=str, help="what save_pretrained or a training run left")
    pushing.add_argument("repository", type=str, help="owner/name on the Hub; it is made if it is missing")
    pushing.add_argument(
        "--evaluation",
        type=str | None,
        help="numbers for the card, as smoothify.evaluate wrote them (default: FOLDER/evaluation.json if it is there)",
    )
    pushing.add_argument(
        "--license",
        type=str | None,
        metavar="ID",
        help="licence that the card states, by its id on the Hub, such as mit (default: the card's own, or none)",
    )
    add_imports(pushing)
    pushing.add_argument("--private", action="store_true", help="make a new repository private")
    pushing.add_argument("--revision", type=str | None, help="branch to push to; it is made if it is missing")
    commands = built.add_subcommands()
    for name, subcommand, does in (
        ("import-sat", import_parser(), "turn a checkpoint of the paper's authors into a model"),
        ("inspect", looking, "list every activation of a model"),
        ("push", pushing, "publish a saved model with its numbers"),
        ("reproduce", running, "run a table of experiments"),
        ("results", writing, "write the pages of results"),
    ):
        commands.add_subcommand(name, subcommand, help=does)
        subcommand.prog = f"{PROGRAM} {name}"  # what can be typed
    return built


def import_parser() -> Parser:
    """Build the parser of ``import-sat``."""
    importing = Parser(
        description="Turn a TensorFlow checkpoint that the authors of the paper released into a timm model.",
        allow_abbrev=False,
    )
    importing.add_argument("checkpoint", type=str, help="its prefix, one of its files, or a folder with one checkpoint")
    importing.add_argument("--model", type=str, default="resnet50", help=f"one of {', '.join(MODELS)}")
    importing.add_argument("--act", type=str, default="silu", help=f"one of {', '.join(ACTIVATIONS)}")
    importing.add_argument("--input_size", type=int | None, help="pixels, if not the network's own: 299 or 380")
    importing.add_argument("--averaged", type=bool | None, help="take the moving averages of the weights, or not")
    importing.add_argument("--output", type=str | None, help="folder to save it in (default: sat-MODEL-ACT)")
    importing.add_argument("--push", type=str | None, help="Hub repository owner/name to push it to as well")
    return importing


def model_of(name: str, architecture: str | None = None) -> nn.Module:
    """Load what a name on the command line means: an architecture without weights, or a saved model with its own."""
    library, slash, _ = name.partition("/")
    if name.startswith("hf-hub:"):
        return from_pretrained(name.removeprefix("hf-hub:"), architecture=architecture)
    if is_folder(name) or (slash and library not in LIBRARIES):
        return from_pretrained(name, architecture=architecture)
    if architecture is not None:
        raise ConfigError(
            f"--architecture {architecture} is for a saved model, and {name} names an architecture; leave it out, or "
            "give a folder or a Hub repository owner/name"
        )
    return build(name)


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and do what it asks for."""
    asked = parser().parse_args(arguments)
    import_modules(asked[asked.subcommand].get("imports", ()))
    if asked.subcommand == "inspect":
        report = inspect(model_of(asked.inspect.model, asked.inspect.architecture))
        print(json.dumps(report.to_dict(), indent=1) if asked.inspect.json else report)
        return
    options = asked[asked.subcommand]
    if asked.subcommand == "import-sat":
        _import_sat(options)
        return
    if asked.subcommand == "push":
        found = Path(options.folder) / "evaluation.json"
        evaluation = options.evaluation or (found if found.is_file() else None)
        url = push_folder(
            options.folder,
            options.repository,
            private=options.private,
            revision=options.revision,
            evaluation=evaluation,
            license=options.license,
        )
        print(f"pushed: {url}")
        return
    zoo = Path(options.zoo)
    tables = find_tables(zoo)
    if asked.subcommand == "reproduce":
        machine = Machine(tuple(shlex.split(options.launch)), options.data, options.side_by_side)
        chosen = _chosen(tables, options.table)
        try:
            for table in chosen:
                reproduce(
                    table,
                    runs=Path(options.runs),
                    only=options.rows,
                    seeds=options.seeds,
                    machine=machine,
                    say=lambda line: print(line, flush=True),
                )
        finally:  # what was finished is written down, whatever failed
            _write_pages(zoo, tables)
        return
    _write_pages(zoo, tables)


def _write_pages(zoo: Path, tables: Sequence[Table]) -> None:
    folder = zoo.absolute().parent / "docs" / "paper"
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in guides(tables).items():
        write_atomically(folder / name, text)
    print(f"written to {write_atomically(zoo / 'RESULTS.md', results_page(tables))} and {folder}")


def _import_sat(asked: Any) -> None:
    output = asked.output or f"sat-{asked.model}-{asked.act}"
    refuse_existing(output)
    imported = import_sat(
        asked.checkpoint,
        model=asked.model,
        activation=asked.act,
        input_size=asked.input_size,
        averaged=asked.averaged,
    )
    print(imported)
    card = CardFacts(
        f"sat-{asked.model}-{asked.act}",
        activation=asked.act,
        dataset="ImageNet-1k",
        dataset_id="ILSVRC/imagenet-1k",
        license="other",
        about="Weights of the authors of Smooth Adversarial Training (arXiv:2006.14536), who name no licence for them, "
        "turned into a timm model with TensorFlow's padding. It takes RGB images scaled to [-1, 1]. "
        "Nothing was measured on this copy.",
    )
    print(f"saved as {save_pretrained(imported.model, output, card=card)}")
    if asked.push is not None:
        print(f"pushed: {push_folder(output, asked.push)}")


def _chosen(tables: Sequence[Table], name: str) -> Sequence[Table]:
    chosen = [table for table in tables if name in (table.name, table.folder.parent.name)]
    if not chosen:
        raise UnknownNameError("table", name, [table.name for table in tables])
    return chosen


if __name__ == "__main__":
    run(main, PROGRAM)
