"""The one folder that a run leaves, and the files in it."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from smoothify.errors import ConfigError, DivergedError, OutputExistsError
from smoothify.evaluation import RobustAccuracy
from smoothify.evaluation.hardware import describe_machine
from smoothify.evaluation.versions import library_versions
from smoothify.files import sweep, write_atomically
from smoothify.training.config import Config
from smoothify.training.saving.resuming import describe, differences, record_changes
from smoothify.training.saving.settings import plain


@dataclasses.dataclass(frozen=True)
class RunFolder:
    """Where each file of a run is.

    >>> RunFolder(Path("runs/train")).best.as_posix()
    'runs/train/best'
    """

    path: Path

    @property
    def config(self) -> Path:
        """The resolved config."""
        return self.path / "config.yaml"

    @property
    def changes(self) -> Path:
        """Which settings were others before a resume, one JSON object a line; absent if they never were."""
        return self.path / "changes.jsonl"

    @property
    def metrics(self) -> Path:
        """One JSON object a line, one line an epoch."""
        return self.path / "metrics.jsonl"

    @property
    def best(self) -> Path:
        """The model with the best accuracy on held-out images, to their precision, in Hub format.

        It is the robust accuracy, and the clean one where nothing is trained against.
        """
        return self.path / "best"

    @property
    def last(self) -> Path:
        """The model after the newest finished epoch, in Hub format."""
        return self.path / "last"

    @property
    def beginning(self) -> Path:
        """The model before it is trained, until the run has begun."""
        return self.path / "beginning"

    @property
    def checkpoints(self) -> Path:
        """What a run resumes from."""
        return self.path / "checkpoints"

    @property
    def diverged(self) -> Path:
        """Where the run ceased to be finite; absent if it did not, or once it is resumed."""
        return self.path / "diverged.json"

    @property
    def evaluation(self) -> Path:
        """Accuracies of the best model on the test images, with one verdict an image."""
        return self.path / "evaluation.json"

    @property
    def measured(self) -> Path:
        """What the measurement on the test images has finished, until all of it is written."""
        return self.path / ".evaluation.json.partial"

    @property
    def curves(self) -> Path:
        """Loss and accuracies against epochs."""
        return self.path / "curves.png"

    @property
    def adversarial(self) -> Path:
        """Clean images, perturbations, attacked images and predictions."""
        return self.path / "adversarial.png"

    @property
    def holds_a_run(self) -> bool:
        """Whether the config in it is one that a run has written: it names the smoothify that it was written for."""
        try:
            found = yaml.safe_load(self.config.read_text(encoding="utf-8"))
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError, UnicodeDecodeError, yaml.YAMLError):
            return False
        return isinstance(found, dict) and "smoothify" in found

    def begin(self, config: Config) -> None:
        """Write the config, delete what a run left that was here, and nothing else; name the first model `last`."""
        self.write_config(config)
        left = (self.changes, self.metrics, self.best, self.last, self.checkpoints, self.diverged, self.measured)
        for path in (*left, self.curves, self.adversarial, *self.path.glob("evaluation*.json")):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)
        self.beginning.rename(self.last)

    def write_config(self, config: Config) -> None:
        """Write the resolved config, in the form that ``--config`` reads."""
        write_atomically(self.config, yaml.safe_dump(plain(dataclasses.asdict(config)), sort_keys=False))

    def take_over(self, config: Config, *, step: int) -> str | None:
        """Bring the config up to date for a resume after a step; return what changed that the weights depend on."""
        changed = differences(config, self.config)
        if changed:
            record_changes(self.changes, changed, step=step)
        self.write_config(config)
        self.diverged.unlink(missing_ok=True)
        return describe(step, changed) if changed else None

    def write_metrics(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write all rows; a reader never sees half a line."""
        write_atomically(self.metrics, "".join(json.dumps(row) + "\n" for row in rows))

    def write_divergence(self, error: DivergedError) -> None:
        """Write where the run ceased to be finite."""
        found = {"what": error.what, "step": error.step, "epoch": error.epoch, **_place()}
        write_atomically(self.diverged, json.dumps(found, indent=1) + "\n")

    def write_evaluation(
        self, measured: RobustAccuracy, *, epoch: int, attack_precision: str | None, split: str
    ) -> None:
        """Write accuracies and verdicts of the model of an epoch, and what they depend on beside the config."""
        run = {"split": split, "epoch": epoch, "attack_precision": attack_precision, **_place()}
        write_atomically(self.evaluation, json.dumps({**measured.to_dict(), **run}, indent=1) + "\n")


def _place() -> dict[str, Any]:
    """Say what a run's figures depend on that no config holds."""
    return {"machine": describe_machine(), "versions": library_versions()}


def refuse_occupied(config: Config, *, overwrite: bool = False, resume: bool = False) -> None:
    """Refuse an output folder in which this run cannot be.

    Raises:
        OutputExistsError: it holds something, and neither overwrite nor resume is set; or it holds something
            that is not a run, which is never deleted.
        ConfigError: resume is set, and there is no run in it, or one that was to come to something else.
    """
    folder = RunFolder(Path(config.output))
    if folder.path.exists() and not folder.path.is_dir():
        raise OutputExistsError(f"output={config.output!r} is a file; name a folder")
    begun_to_write = f".{folder.config.name}.*.part"  # by a run that was killed before it had its config
    found = list(folder.path.iterdir()) if folder.path.is_dir() else []
    occupied = any(not path.match(begun_to_write) for path in found)
    if resume and not folder.holds_a_run:
        raise ConfigError(f"output={config.output!r} holds no run to resume; name the folder of a run")
    if resume:
        differences(config, folder.config)
    elif occupied and not folder.holds_a_run:
        raise OutputExistsError(
            f"output={config.output!r} holds files that are not a run of ours; choose another folder"
        )
    elif occupied and not overwrite:
        raise OutputExistsError(
            f"output={config.output!r} already holds a run; "
            f"choose another --output, or --overwrite, or --resume {config.output}"
        )


@contextmanager
def open_run_folder(config: Config, *, overwrite: bool = False, resume: bool = False) -> Iterator[RunFolder]:
    """Make the output folder ready and keep other runs out of it; a run that is there stays until another has begun.

    Raises:
        OutputExistsError: another run is in it at this moment.
        SmoothifyError: what `refuse_occupied` refuses.
    """
    refuse_occupied(config, overwrite=overwrite, resume=resume)
    folder = RunFolder(Path(config.output))
    folder.path.mkdir(parents=True, exist_ok=True)
    with _alone_in(folder.path):
        for place in (folder.path, folder.checkpoints):
            sweep(place)
        nothing_was_here = not folder.config.is_file()
        if nothing_was_here:
            folder.write_config(config)
        try:
            yield folder
        finally:
            if nothing_was_here and not folder.last.exists():  # refused before its first step: the place is free again
                folder.config.unlink(missing_ok=True)
                shutil.rmtree(folder.beginning, ignore_errors=True)


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Lock a folder; the system unlocks it when this process ends, however it ends. Windows has no such lock."""
    if os.name != "posix":
        yield
        return
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OutputExistsError(f"another run is in {folder} now; wait for it, or choose another folder") from None
        yield
    finally:
        os.close(descriptor)
