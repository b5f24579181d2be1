"""Train a robust model: ``accelerate launch -m smoothify.train``."""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from smoothify.cli import Parser, hide, run, use_cores
from smoothify.errors import ConfigError
from smoothify.models.importing import import_modules
from smoothify.training import Config, Outcome, Terminal, train
from smoothify.training.accelerated import end_processes
from smoothify.training.config import refuse_code, refuse_newer
from smoothify.training.config.files import mapping_in

PROGRAM = "python -m smoothify.train"


def parser() -> Parser:
    """Build the parser: one option for every field of `smoothify.training.Config`."""
    built = Parser(
        prog=PROGRAM,
        usage=f"{PROGRAM} [--config FILE] [--OPTION VALUE ...]",
        allow_abbrev=False,
        description="Make a model smooth, train it adversarially, measure it and leave it ready to publish. "
        "Without arguments: the embedded sample, minutes on a CPU.",
        epilog="On several GPUs or processes: `accelerate launch -m smoothify.train` with the same options.",
    )
    built.add_argument("--config", action="config", help="YAML file with any of the options below; later ones win")
    built.add_argument("--overwrite", action="store_true", help="delete the run that the output folder holds")
    built.add_argument("--resume", metavar="RUN", help="continue the run in this folder after its newest checkpoint")
    built.add_argument(
        "--threads", type=int | None, help="CPU threads of each process (default: its share of the cores)"
    )
    built.add_class_arguments(Config, as_group=False)
    groups = [field.name for field in dataclasses.fields(Config) if dataclasses.is_dataclass(field.default_factory)]
    hide(built, [*groups, "smoothify"])
    return built


@dataclasses.dataclass(frozen=True)
class Request:
    """What a command line asks for.

    Args:
        config: the run.
        overwrite: delete the run that the output folder holds.
        resume: continue it.
        threads: CPU threads of each process; its share of the cores if not given.
    """

    config: Config
    overwrite: bool
    resume: bool
    threads: int | None


def read(arguments: Sequence[str] | None = None) -> Request:
    """Read a command line; nothing is trained or changed yet."""
    built, arguments = parser(), sys.argv[1:] if arguments is None else arguments
    for path in _config_files(arguments):
        _refuse_unreadable(path)
    parsed = built.parse_args(arguments)
    if parsed.resume is not None:
        saved = Path(parsed.resume) / "config.yaml"
        if not saved.is_file():
            raise ConfigError(f"--resume {parsed.resume}: no run there ({saved} is missing); name the folder of a run")
        if parsed.overwrite:
            raise ConfigError("--overwrite deletes the run that --resume would continue; choose one")
        output = built.parse_args(arguments, defaults=False).get("output", parsed.resume)
        if Path(output).resolve() != Path(parsed.resume).resolve():
            raise ConfigError(f"--resume {parsed.resume} goes on in that folder; leave --output {output} out")
        _refuse_unreadable(saved)
        parsed = built.parse_args(["--config", str(saved), *arguments, "--output", str(parsed.resume)])
    parsed.imports = import_modules(parsed.imports)
    values = built.instantiate(parsed)
    config = Config(**{field.name: values[field.name] for field in dataclasses.fields(Config)})
    return Request(config, parsed.overwrite, parsed.resume is not None, parsed.threads)


def _config_files(arguments: Sequence[str]) -> list[Path]:
    only = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    only.add_argument("--config", action="append", default=[], type=Path)
    paths: list[Path] = only.parse_known_args(arguments)[0].config
    return paths


def _refuse_unreadable(path: Path) -> None:
    """Refuse what must not come to the parser: code from strangers, and a newer config, whose options look misspelt."""
    refuse_code(path)
    content = mapping_in(path)
    if "config" in content:
        raise ConfigError(
            f"{path}: a config brings no other ({content['config']!r}); give both files, each as --config"
        )
    version = content.get("smoothify")
    if version is not None:
        refuse_newer(str(version), str(path))


def main() -> None:
    """Read the command line, train, print what came of it."""
    import datasets

    datasets.disable_progress_bars()
    console = Console(quiet=os.environ.get("RANK", "0") != "0")
    asked = read()
    for name in asked.config.imports:
        console.print(f"imported {name}, {getattr(sys.modules[name], '__file__', 'built in')}")
    use_cores(asked.threads)
    with Terminal(console) as reporter:
        outcome = train(asked.config, overwrite=asked.overwrite, resume=asked.resume, reporter=reporter)
    console.print(summary(asked.config, outcome))
    end_processes()


def summary(config: Config, outcome: Outcome) -> Table:
    """Lay out what a run came to."""
    table = Table(title=f"{config.model.name}, {config.model.activation}", show_header=False, title_justify="left")
    final = outcome.final
    compared = {
        True: "identical logits",
        False: "DIFFERENT LOGITS",
        None: "not compared: saved before the run was resumed",
    }
    own = "".join(f"import {name}; " for name in config.imports)
    minutes, seconds = divmod(round(outcome.total_seconds), 60)
    for name, value in (
        ("parameters", f"{outcome.parameters:,}"),
        ("clean accuracy", str(final.clean)),
        (f"robust accuracy, {final.attack}", str(final.robust)),
        ("threat model", str(config.attack.threat)),
        (
            "measured on",
            f"{final.clean.images:,} test images, best model (epoch {outcome.best_epoch}) loaded back from disk",
        ),
        ("loaded back", compared[outcome.reloaded_identical]),
        ("time", f"{minutes} min {seconds} s, of which training {round(outcome.training_seconds)} s"),
        ("model", str(outcome.folder.best)),
        ("load it", f'{own}smoothify.from_pretrained("{outcome.folder.best}")'),
        ("pictures", f"{outcome.folder.curves}, {outcome.folder.adversarial}"),
    ):
        table.add_row(name, value)
    return table


if __name__ == "__main__":
    run(main, PROGRAM, again="--resume and that folder go on")
