"""Measure a saved model: ``accelerate launch -m smoothify.evaluate RUN/best``."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from accelerate import Accelerator
from rich.console import Console

from smoothify.attacks.names import attacks_by
from smoothify.cli import Parser, add_imports, run, use_cores
from smoothify.data import labels_of, load, name_rows, representative
from smoothify.errors import ConfigError, OutputExistsError
from smoothify.evaluation import CHECKS, RobustAccuracy, Sanity, Unfinished, robust_accuracy, sanity, table
from smoothify.evaluation.refusals import refuse_impossible
from smoothify.evaluation.results import SEEN
from smoothify.evaluation.saved import StatedWeights, built_by
from smoothify.evaluation.setting import Setting, called
from smoothify.evaluation.transfer import refuse_source
from smoothify.evaluation.versions import library_versions
from smoothify.files import write_atomically
from smoothify.hub import from_pretrained
from smoothify.hub.remote import refuse_run_folder
from smoothify.models.importing import import_modules
from smoothify.training import Silent, Terminal
from smoothify.training.accelerated import patient

PROGRAM = "python -m smoothify.evaluate"


def parser() -> Parser:
    """Build the parser. What is not given is taken from the ``training.yaml`` that lies beside the model."""
    built = Parser(
        prog=PROGRAM,
        allow_abbrev=False,
        description="Measure clean and robust accuracy of a saved model and write them as JSON. Data, norm and epsilon "
        "are those that the model was trained with, unless given.",
        epilog="On several GPUs or processes: `accelerate launch -m smoothify.evaluate` with the same options.",
    )
    built.add_argument(
        "model",
        type=str,
        help="a folder such as RUN/best, or a Hub repository 'owner/name', with or without hf-hub: before it",
    )
    built.add_argument(
        "--architecture", type=str | None, metavar="MODULE:FACTORY", help="your own code, if that built the model"
    )
    add_imports(built)
    built.add_argument(
        "--attack",
        action="append",
        metavar="NAME",
        help="pgd-K, pgd-KxRESTARTS, apgd-ce, apgd-dlr, apgd-t, fab-t, square, autoattack, or one that --imports "
        "registered; may be repeated (default: pgd-50)",
    )
    built.add_argument("--data", type=str | None, help="data set: fashion_mnist_sample, a folder, or a Hub id")
    built.add_argument("--split", type=str | None, help="split of the data set (default: the run's data.test_split)")
    built.add_argument(
        "--images",
        type=int | None,
        help="only so many images of the split: the first, or where these lack a class's share, as in rows sorted by "
        "class, evenly spread ones",
    )
    built.add_argument("--norm", type=str | None, help="linf or l2")
    built.add_argument("--epsilon", type=str | None, help="radius in [0, 1] pixel units, such as 0.1 or 8/255")
    built.add_argument("--step_size", type=str | None, help="of PGD, in [0, 1] pixel units (default: its own)")
    built.add_argument(
        "--sanity", action="store_true", help="check first whether the numbers of the first attack can be believed"
    )
    built.add_argument(
        "--sanity_images",
        type=int,
        default=200,
        help="on so many of the images, chosen as by --images; so is the report's epsilon curve (default: 200)",
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
    built.add_argument(
        "--through",
        type=str | None,
        metavar="MODEL",
        help="a transfer attack: images are found on this second saved model, such as one with ReLU, by every step on "
        "every image, and judged on the first",
    )
    built.add_argument("--batch_size", type=int, default=250, help="images attacked at a time (default: 250)")
    built.add_argument("--seed", type=int, default=0, help="of the random starts (default: 0)")
    built.add_argument(
        "--threads", type=int | None, help="CPU threads of each process (default: its share of the cores)"
    )
    built.add_argument(
        "--output",
        type=str | None,
        help="JSON file (default: evaluation.json in the model's folder, or in the "
        "working folder for a model of the Hub)",
    )
    built.add_argument("--report", type=str | None, metavar="FILE", help="also write everything as one HTML file")
    built.add_argument(
        "--beside",
        type=str | None,
        metavar="MODEL",
        help="a second saved model, such as one with ReLU, in the report's pictures beside the first",
    )
    built.add_argument("--overwrite", action="store_true", help="replace the JSON file and the report if they exist")
    return built


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, load the model, attack it, print and write what came of it."""
    import datasets

    datasets.disable_progress_bars()
    asked = parser().parse_args(arguments)
    import_modules(asked.imports)
    command = shlex.join(["smoothify.evaluate", *(sys.argv[1:] if arguments is None else arguments)])
    for option in ("images", "sanity_images", "batch_size"):
        if asked[option] is not None and asked[option] < 1:
            raise ConfigError(f"--{option} {asked[option]}: at least 1 is needed")
    if not 0 <= asked.seed < 2**31:
        raise ConfigError(f"--seed {asked.seed}: it must be from 0 to 2^31 - 1")
    if asked.beside is not None and asked.report is None:
        raise ConfigError(f"--beside {asked.beside} is for the report's pictures; give --report FILE as well")
    for option in ("model", "beside", "through"):
        asked[option] = asked[option] and asked[option].removeprefix("hf-hub:")
    for option in ("sanity", "surrogate"):
        if asked.through is not None and asked[option]:
            raise ConfigError(f"--{option} is about the model's own gradients; measure it without --through")
    use_cores(asked.threads)
    refuse_run_folder(Path(asked.model))
    output = _output(asked.model, asked.output, overwrite=asked.overwrite)
    page = None if asked.report is None else _free(Path(asked.report), "--report", overwrite=asked.overwrite)
    if page is not None and page.resolve() == output.resolve():
        raise OutputExistsError(f"--report {page}: --output is the same file; give one of them another name")
    unfinished = Unfinished(output.with_name(f".{output.name}.partial"))
    own_code = built_by(asked.architecture, asked.model, asked.beside, asked.through)
    weights = StatedWeights(asked.model, asked.through)
    host = from_pretrained(asked.model, architecture=own_code.get(asked.model))
    setting = Setting.of(asked.model, data=asked.data, split=asked.split, norm=asked.norm, epsilon=asked.epsilon)
    if page is not None and setting.threat.radius == 0:
        raise ConfigError(f"--report {page}: its pictures need an epsilon above 0; leave it out, or give one")
    attacks = attacks_by(asked.attack or ["pgd-50"], setting.threat, asked.step_size)
    accelerator = Accelerator(kwargs_handlers=[patient()])
    console = Console(quiet=not accelerator.is_main_process)

    classifier = setting.classifier(host).to(accelerator.device)
    source = load(setting.data, setting.split)
    rows = representative(labels_of(source), asked.images or len(source))
    images = setting.images(host, source, rows)
    few = images.few(asked.sanity_images)
    refuse_impossible(classifier, images, attacks)
    models = {asked.model: classifier}
    started = time.perf_counter()
    beside, through = (
        setting.second(asked[option], f"--{option}", images.input_size, own_code.get(asked[option])).to(
            accelerator.device
        )
        if asked[option] is not None
        else None
        for option in ("beside", "through")
    )
    weights.refuse_replaced()
    if beside is not None:
        models[asked.beside] = beside
    if through is not None:
        refuse_source(through, classifier, few, attacks)
    checked: Sanity | None = None
    results: list[RobustAccuracy] = []
    with Terminal(console) as terminal:
        reporter = terminal if accelerator.is_main_process else Silent()
        if unfinished.folder.is_dir():
            reporter.note(
                f"{unfinished.folder} is of an evaluation that was interrupted: what it finished is not done again"
            )
        if asked.sanity:
            reporter.begin(f"checks of {attacks[0]}", len(CHECKS))
            checked = sanity(
                classifier,
                few,
                attacks[0],
                batch_size=asked.batch_size,
                seed=asked.seed,
                surrogate=asked.surrogate,
                accelerator=accelerator,
                advance=reporter.advance,
            )
            reporter.end()
            reporter.note(f"{checked}\n")
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
                through=through,
                through_name="" if asked.through is None else called(asked.through),
                accelerator=accelerator,
                state=unfinished,
                advance=reporter.advance,
            )
            if setting.seen:
                measured = replace(measured, caveats=(*measured.caveats, SEEN))
            results.append(checked.attached_to(measured) if checked else measured)
            reporter.end()
        if accelerator.is_main_process:
            described = {
                "model": str(asked.model),
                "weights_sha256": weights[asked.model],
                "command": command,
                "data": setting.data,
                "split": setting.split,
                "rows": name_rows(rows, len(source)),
                "preprocessing": {
                    "input_size": list(images.input_size),
                    **asdict(images.resizing),
                    "mean": classifier.mean.flatten().tolist(),
                    "std": classifier.std.flatten().tolist(),
                },
                "sanity": checked.to_dict() if checked else None,
                "sanity_rows": name_rows(few.indices, len(source)) if checked else None,
                "through": asked.through and {"model": asked.through, "weights_sha256": weights[asked.through]},
                "results": [result.to_dict() for result in results],
                "seconds": round(time.perf_counter() - started, 1),
                "versions": library_versions(),
            }
            _free(output, "--output", overwrite=asked.overwrite)  # another evaluation may have written it meanwhile
            write_atomically(output, json.dumps(described, indent=1) + "\n")
            unfinished.forget()
            if weights.replaced(asked.model):
                reporter.note(f"{asked.model} was replaced meanwhile: this is about the weights that it held before")
            reporter.note(f"{setting.data}, {setting.split}: {name_rows(rows, len(source))}; {setting.threat}")
            reporter.note(table(results))
            reporter.note(f"written to {output}")
        if accelerator.is_main_process and page is not None:
            from smoothify.evaluation import report

            reporter.begin("pictures", 1)
            pictures = report.draw(models, few, setting.threat, results, seed=asked.seed)
            text = report.report(asked.model, results, checked=checked, pictures=pictures, setting=described)
            reporter.end()
            write_atomically(page, text)
            reporter.note(f"report in {page}")
    accelerator.end_training()


def _output(model: str, output: str | None, *, overwrite: bool) -> Path:
    beside = Path(model) if Path(model).is_dir() else Path()
    path = Path(output) if output is not None else beside / "evaluation.json"
    return _free(path, "--output", overwrite=overwrite)


def _free(path: Path, option: str, *, overwrite: bool) -> Path:
    example = "report.html" if option == "--report" else "evaluation.json"
    if path.is_dir():
        raise OutputExistsError(f"{option} {path} is a folder; name a file, such as {path / example}")
    if path.exists() and not overwrite:
        raise OutputExistsError(f"{path} exists; pass --overwrite or another {option}")
    if not path.parent.is_dir():
        raise OutputExistsError(f"{option} {path}: there is no folder {path.parent}; make it first")
    return path


if __name__ == "__main__":
    run(main, PROGRAM, again="the same command goes on")
