"""Runs what a table lacks, through the public commands only."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from smoothify.errors import ConfigError, SmoothifyError, UnknownNameError
from smoothify.reproduction.divergence import Divergence, read_divergences
from smoothify.reproduction.job import FINISHED, Job, Machine
from smoothify.reproduction.record import Measurement, Record, file_of
from smoothify.reproduction.table import Measure, Row, Table
from smoothify.training import RunFolder
from smoothify.training.config.files import mapping_in
from smoothify.training.saving.state import newest_first


def reproduce(
    table: Table,
    *,
    runs: Path,
    only: Sequence[str] = (),
    seeds: Sequence[int] | None = None,
    machine: Machine | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> list[Record]:
    """Train and measure every row and seed of which the table's results hold no record; write the records.

    What was finished before is not done again, and a run that was interrupted goes on where it stopped. A run that
    diverges is a result too, and written down as one.

    Args:
        table: what to run.
        runs: the folder under which runs are kept.
        only: names of rows; all if empty.
        seeds: the table's own if not given.
        machine: how runs are started; one at a time by this Python if not given.
        say: hears one line for each run.

    Returns:
        The records that are new, of runs that came to their end.

    Raises:
        UnknownNameError: a row that the table does not have.
        ConfigError: a seed that it does not have.
        SmoothifyError: a run failed; the others were finished first, and the message names its log.

    >>> from smoothify.reproduction import read_table
    >>> table = read_table(Path("zoo/fashion_mnist/table_1/table.yaml"))
    >>> reproduce(table, runs=Path("runs"), only=["either"])
    Traceback (most recent call last):
    smoothify.errors.UnknownNameError: unknown row 'either' of fashion_mnist/table_1; did you mean 'neither'?
    """
    machine = machine or Machine()
    for seed in () if seeds is None else seeds:
        if seed not in table.seeds:
            known = ", ".join(map(str, table.seeds))
            raise ConfigError(f"{table.name} has the seeds {known}, not {seed}; add it to the table's file to run it")
    jobs = list(missing(table, runs=runs, only=only, seeds=table.seeds if seeds is None else seeds, machine=machine))
    say(f"{table.name}: {len(jobs)} runs to do")
    done, failed = [], []
    for wave in ([job for job in jobs if job.row.start is None], [job for job in jobs if job.row.start is not None]):
        with ThreadPoolExecutor(machine.side_by_side) as pool:
            running = {pool.submit(_do, job): job for job in wave}
            try:
                for future in as_completed(running):
                    try:
                        record = future.result()
                    except SmoothifyError as error:
                        failed.append(str(error))
                        say(str(error))
                        continue
                    record.write(table.results)
                    if isinstance(record, Divergence):
                        say(f"{running[future]}: {record}")
                    else:
                        done.append(record)
                        figures = ", ".join(f"{column} {one.robust}" for column, one in record.columns.items())
                        say(f"{running[future]}: clean {record.measured[0].clean}, {figures}")
            except BaseException:  # Ctrl-C, or a full disk: the pool would start all that wait before it gives up
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    if failed:
        raise SmoothifyError(f"{table.name}: {len(failed)} of {len(jobs)} runs failed: {'; '.join(failed)}")
    return done


def missing(table: Table, *, runs: Path, only: Sequence[str], seeds: Sequence[int], machine: Machine) -> Iterator[Job]:
    """Yield every row and seed without a record that is up to date and has all measures, seed by seed.

    A row that others start from is among them if its model is not at hand, recorded or not.
    """
    names = [row.name for row in table.rows]
    for name in only:
        if name not in names:
            raise UnknownNameError("row", name, names, of=table.name)
    for seed in seeds:
        wanted = [row for row in table.rows if (not only or row.name in only) and not _is_known(table, row, seed)]
        starts = {row.start.digest for row in wanted if row.start is not None}
        for row in table.rows:
            job = Job(table, row, seed, runs / f"{row.digest}.seed-{seed}", machine)
            if row in wanted or (row.digest in starts and not job.finished.is_file()):
                yield job


def _is_known(table: Table, row: Row, seed: int) -> bool:
    if any(one.seed == seed for one in read_divergences(table, row)):
        return True
    file = file_of(table.results, row.name, seed)
    if not file.is_file():
        return False
    record = Record.read(file)
    return record.digest == row.digest and {measure.slug for measure in table.measures} <= {*record.measures}


def _do(job: Job) -> Record | Divergence:
    if job.start is not None and not (job.start / FINISHED).is_file():
        raise SmoothifyError(f"{job}: left out, since {job.start}, which it starts from, did not come to its end")
    if (changes := RunFolder(job.folder).changes).is_file():
        raise SmoothifyError(f"{job}: was resumed with settings that are not the table's ({changes}); move it away")
    if job.machine.data is not None and job.finished.is_file() and (used := _data_of(job)) != job.machine.data:
        raise SmoothifyError(
            f"{job}: {job.folder} was trained on {used}, not on {job.machine.data}; leave --data out, or move it away"
        )
    diverged = RunFolder(job.folder).diverged
    job.folder.parent.mkdir(parents=True, exist_ok=True)
    if not job.finished.is_file() and not diverged.is_file():
        begun = bool(newest_first(RunFolder(job.folder).checkpoints))  # a file that was being written is none
        start = ["--resume", str(job.folder)] if begun else ["--output", str(job.folder), "--overwrite"]
        try:
            _command(job, "smoothify.train", [*job.arguments, f"--seed={job.seed}", *_place(job), *start])
        except SmoothifyError:
            if not diverged.is_file():
                raise
    for measure in () if diverged.is_file() else job.table.measures:
        if not (output := _measured_file(job, measure)).is_file():
            best = str(job.folder / "best")
            _command(job, "smoothify.evaluate", [best, *job.row.imports, *measure.arguments, f"--output={output}"])
    try:
        return _divergence(job, diverged) if diverged.is_file() else _record(job)
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise SmoothifyError(
            f"{job}: {job.folder} does not say what a record needs ({error!r}): it is damaged, or of another version; "
            "delete it and run the table again"
        ) from error


def _data_of(job: Job) -> object:
    """Return the data set that a finished run was trained on."""
    data = mapping_in(RunFolder(job.folder).config).get("data")
    return data.get("path") if isinstance(data, Mapping) else None


def _measured_file(job: Job, measure: Measure) -> Path:
    return job.folder / f"evaluation-{measure.slug}.json"


def _record(job: Job) -> Record:
    """Read what a finished run left."""
    final = _read(job.finished)
    evaluations = [_read(_measured_file(job, measure)) for measure in job.table.measures]
    rows = [json.loads(line) for line in (job.folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    kept = rows[final["epoch"] - 1]
    seconds = [found["seconds"] for found in evaluations if "seconds" in found]
    return Record(
        row=job.row.name,
        seed=job.seed,
        digest=job.row.digest,
        command=_options(job),
        epochs=len(rows),
        epoch=kept["epoch"],
        train_accuracy=kept["train_accuracy"],
        train_loss=kept["train_loss"],
        held_out=tuple(row["held_out_robust_accuracy"] for row in rows),
        held_out_single_step=tuple(row["held_out_single_step_accuracy"] for row in rows),
        attack_precision=final["attack_precision"],
        measures=tuple(measure.slug for measure in job.table.measures),
        measured=tuple(map(Measurement.read, [final, *(one for found in evaluations for one in found["results"])])),
        training_seconds=round(sum(row["seconds"] for row in rows), 1),
        measuring_seconds=round(sum(seconds), 1) if len(seconds) == len(evaluations) else None,
        versions=final["versions"],
        machine=final["machine"],
    )


def _divergence(job: Job, file: Path) -> Divergence:
    """Read where a run diverged."""
    found = _read(file)
    told = {name: found[name] for name in ("what", "step", "epoch", "versions", "machine")}
    return Divergence(row=job.row.name, seed=job.seed, digest=job.row.digest, command=_options(job), **told)


def _options(job: Job) -> tuple[str, ...]:
    """Return the options that a record names: those of the row, and what the runner adds."""
    started = () if job.row.start is None else (f"--model.name=(the run of {job.row.start.name})",)
    launched = (f"(launched by {shlex.join(job.machine.launcher)})",) if job.machine.launcher else ()
    return (*job.row.arguments, *started, *_place(job), f"--seed={job.seed}", *launched)


def _place(job: Job) -> tuple[str, ...]:
    return () if job.machine.data is None else (f"--data.path={job.machine.data}",)


def _read(file: Path) -> dict[str, Any]:
    content = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ValueError(f"{file.name} holds no figures")
    return content


def _command(job: Job, module: str, arguments: list[str]) -> None:
    with job.log.open("a", encoding="utf-8") as log:
        command = [*job.machine.opening, module, *arguments, *job.machine.threads]
        ended = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT)
    if ended.returncode:
        last = job.log.read_text(encoding="utf-8", errors="replace").rstrip().rpartition("\n")[2]
        raise SmoothifyError(f"{job}: {module} failed ({last}); all that it said is in {job.log}")
