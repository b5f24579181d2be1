"""Measure a saved model: ``accelerate launch -m smoothify.evaluate RUN/best``."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import yaml
from accelerate import Accelerator
from rich import box
from rich.console import Console
from rich.table import Table

from smoothify.attacks import Attack, ThreatModel, attack
from smoothify.cli import Parser, run, use_cores
from smoothify.data import Images, Resizing, load
from smoothify.errors import ConfigError, OutputExistsError
from smoothify.evaluation import Outcome, RobustAccuracy, robust_accuracy, sanity
from smoothify.evaluation.versions import library_versions
from smoothify.files import write_atomically
from smoothify.hub import from_pretrained, read_file, weights_digest
from smoothify.models import PixelClassifier, input_size
from smoothify.training import Silent, Terminal

PROGRAM = "smoothify.evaluate"


def parser() -> Parser:
    """Build the parser. What is not given is taken from the ``training.yaml`` that lies beside the model."""
    built = Parser(
        prog=PROGRAM,
        allow_abbrev=False,
        description="Measure clean and robust accuracy of a saved model and write them as JSON. Data, norm and epsilon "
        "are those that the model was trained with, unless given.",
    )
    built.add_argument("model", type=str, help="a folder such as RUN/best, or a Hub repository 'owner/name'")
    built.add_argument(
        "--architecture", type=str | None, metavar="MODULE:FACTORY", help="your own code, if that built it"
    )
    built.add_argument(
        "--attack",
        action="append",
        metavar="NAME",
        help="pgd-K, pgd-KxRESTARTS, apgd-ce, apgd-dlr, "
        "apgd-t, fab-t, square or autoattack; may be repeated (default: pgd-50)",
    )
    built.add_argument("--data", type=str | None, help="data set: fashion_mnist_sample, a folder, or a Hub id")
    built.add_argument("--split", type=str, default="test", help="split of the data set (default: test)")
    built.add_argument("--images", type=int | None, help="only the first so many images of the split")
    built.add_argument("--norm", type=str | None, help="linf or l2")
    built.add_argument("--epsilon", type=str | None, help="radius in [0, 1] pixel units, such as 0.1 or 8/255")
    built.add_argument("--step_size", type=str | None, help="of PGD, in [0, 1] pixel units (default: its own)")
    built.add_argument("--sanity", action="store_true", help="check first whether the numbers can be believed")
    built.add_argument(
        "--sanity_images",
        type=int,
        default=200,
        help="on the first so many images; so is the report's epsilon curve (default: 200)",
    )
    built.add_argument(
        "--full_protocol",
        action="store_true",
        help="take every step on every image and look only at "
        "where the last one leads; otherwise an image that fell is left alone",
    )
    built.add_argument(
        "--surrogate",
        type=str | None,
        metavar="ACTIVATION",
        help="the attack sees this activation's derivative in place of ReLU's",
    )
    built.add_argument("--batch_size", type=int, default=250, help="images attacked at a time (default: 250)")
    built.add_argument("--seed", type=int, default=0, help="of the random starts (default: 0)")
    built.add_argument(
        "--threads", type=int | None, help="CPU threads of each process (default: its share of the cores)"
    )
    built.add_argument("--output", type=str | None, help="JSON file (default: evaluation.json in the model's folder)")
    built.add_argument("--report", type=str | None, metavar="FILE", help="also write everything as one HTML file")
    built.add_argument("--overwrite", action="store_true", help="replace the JSON file and the report if they exist")
    return built


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, load the model, attack it, print and write what came of it."""
    import datasets

    datasets.disable_progress_bars()
    asked = parser().parse_args(arguments)
    if asked.sanity_images < 1:
        raise ConfigError(f"--sanity_images {asked.sanity_images}: at least 1 is needed")
    use_cores(asked.threads)
    output = _output(asked.model, asked.output, overwrite=asked.overwrite)
    page = None if asked.report is None else _free(Path(asked.report), "--report", overwrite=asked.overwrite)
    partial = output.with_name(f".{output.name}.partial")
    host = from_pretrained(asked.model, architecture=asked.architecture)
    settings = _settings(asked)
    threat = ThreatModel(settings["norm"], settings["epsilon"])
    attacks = _attacks(asked.attack or ["pgd-50"], threat, asked.step_size)
    accelerator = Accelerator()
    console = Console(quiet=not accelerator.is_main_process)

    classifier = _classifier(host, settings).to(accelerator.device).eval()
    source = load(settings["data"], asked.split)
    chosen = range(len(source))[: asked.images]
    resizing = replace(Resizing.from_host(host), **settings["resizing"])
    size = settings["input_size"] or input_size(host)
    images = Images(source, input_size=size, resizing=resizing, indices=chosen)
    outcomes = _sanity(classifier, images, attacks[0], asked) if asked.sanity else ()
    for outcome in outcomes:
        console.print(str(outcome), markup=False, highlight=False, soft_wrap=True)
    caveats = tuple(f"{outcome.check}: {outcome.found}" for outcome in outcomes if outcome.verdict == "fail")
    results: list[RobustAccuracy] = []
    with Terminal(console) as terminal:
        reporter = terminal if accelerator.is_main_process else Silent()
        for adversary in attacks:
            reporter.begin(str(adversary), len(images))
            measured = robust_accuracy(
                classifier,
                images,
                adversary,
                batch_size=asked.batch_size,
                seed=asked.seed,
                full_protocol=asked.full_protocol,
                surrogate=asked.surrogate,
                accelerator=accelerator,
                state=partial,
                advance=reporter.advance,
            )
            results.append(replace(measured, caveats=caveats))
            reporter.end()
    if accelerator.is_main_process:
        described = {
            "model": str(asked.model),
            "weights_sha256": weights_digest(asked.model),
            "data": settings["data"],
            "split": asked.split,
            "preprocessing": {
                "input_size": list(images.input_size),
                **asdict(images.resizing),
                "mean": classifier.mean.flatten().tolist(),
                "std": classifier.std.flatten().tolist(),
            },
            "sanity": [asdict(outcome) for outcome in outcomes],
            "results": [result.to_dict() for result in results],
            "versions": library_versions(),
        }
        write_atomically(output, json.dumps(described, indent=1) + "\n")
        shutil.rmtree(partial)
        console.print(_table(results))
        console.print(f"written to {output}", markup=False, highlight=False)
        if page is not None:
            from smoothify.evaluation import report

            pictures = report.draw(classifier, _first(images, asked.sanity_images), threat, results, seed=asked.seed)
            setting = {
                "data": f"{settings['data']}, {asked.split}",
                "input": f"{images.input_size}, normalised inside the model",
                "random starts": f"seed {asked.seed}",
                "precision": "float32, TF32 off",
                "versions": ", ".join(f"{name} {number}" for name, number in library_versions().items()),
            }
            text = report.report(str(asked.model), results, outcomes=outcomes, pictures=pictures, setting=setting)
            write_atomically(page, text)
            console.print(f"report in {page}", markup=False, highlight=False)
    accelerator.end_training()


def _attacks(names: Sequence[str], threat: ThreatModel, step_size: str | None) -> list[Attack]:
    """Build the attacks; a step size is for those that take one, and for nothing if none does."""
    takes = [name.lower().startswith("pgd-") for name in names]
    return [
        attack(name, threat, step_size=step_size if own or not any(takes) else None)
        for name, own in zip(names, takes, strict=True)
    ]


def _sanity(classifier: PixelClassifier, images: Images, adversary: Attack, asked: Any) -> tuple[Outcome, ...]:
    return sanity(classifier, _first(images, asked.sanity_images), adversary, seed=asked.seed)


def _first(images: Images, count: int) -> Images:
    indices = images.indices[:count]
    return Images(images.source, input_size=images.input_size, resizing=images.resizing, indices=indices)


def _output(model: str, output: str | None, *, overwrite: bool) -> Path:
    beside = Path(model) if Path(model).is_dir() else Path()
    path = Path(output) if output is not None else beside / "evaluation.json"
    return _free(path, "--output", overwrite=overwrite)


def _free(path: Path, option: str, *, overwrite: bool) -> Path:
    if path.exists() and not overwrite:
        raise OutputExistsError(f"{path} exists; pass --overwrite or another {option}")
    if not path.parent.is_dir():
        raise OutputExistsError(f"{option} {path}: there is no folder {path.parent}; make it first")
    return path


def _settings(asked: Any) -> dict[str, Any]:
    """Join what was asked for with what the model was trained with; refuse to guess the rest."""
    stored = read_file(asked.model, "training.yaml")
    trained: Mapping[str, Any] = _mapping(yaml.safe_load(stored)) if stored is not None else {}
    data, threat, model = (_mapping(trained.get(name)) for name in ("data", "attack", "model"))
    settings = {
        "data": asked.data if asked.data is not None else data.get("path"),
        "norm": asked.norm if asked.norm is not None else threat.get("norm"),
        "epsilon": asked.epsilon if asked.epsilon is not None else threat.get("epsilon"),
    }
    missing = [f"--{name}" for name, value in settings.items() if value is None]
    if missing:
        raise ConfigError(f"{asked.model} does not say what it was trained with; give {', '.join(missing)}")
    size = model.get("input_size")
    return {
        **settings,
        "input_size": tuple(size) if size else None,
        "resizing": {name: model[name] for name in Resizing.__dataclass_fields__ if model.get(name) is not None},
        "mean": model.get("mean"),
        "std": model.get("std"),
    }


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _classifier(host: Any, settings: Mapping[str, Any]) -> PixelClassifier:
    if settings["mean"] is None:
        return PixelClassifier.from_host(host)
    return PixelClassifier(host, mean=settings["mean"], std=settings["std"])


def _table(results: Sequence[RobustAccuracy]) -> Table:
    table = Table("attack", box=box.SIMPLE_HEAD)
    table.add_column("clean accuracy", no_wrap=True)
    table.add_column("robust accuracy", min_width=18)
    table.add_column("fell to")
    for result in results:
        fell = Counter(name for name in result.fell_to if name)
        warned = f"\nWARNING: {'; '.join(result.warnings)}" if result.warnings else ""
        table.add_row(
            result.description,
            str(result.clean),
            f"{result.robust}{warned}",
            ", ".join(f"{name} {count}" for name, count in fell.items()),
        )
    return table


if __name__ == "__main__":
    run(main, PROGRAM)
