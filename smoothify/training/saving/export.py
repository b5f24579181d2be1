"""The models that a run leaves: saved in Hub format, loaded back, measured, described."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml
from accelerate import Accelerator
from torch import Tensor, nn

from smoothify.attacks import Attack
from smoothify.errors import HubError
from smoothify.evaluation import RobustAccuracy, Sanity, card_results, robust_accuracy, sanity
from smoothify.evaluation.plots import adversarial
from smoothify.evaluation.results import SEEN
from smoothify.evaluation.sharing import shared_batch_size
from smoothify.files import write_atomically
from smoothify.hub import CardFacts, Result, from_pretrained, push_folder, save_pretrained, weights_digest
from smoothify.hub.places import name_of, renamed
from smoothify.hub.training_file import TRAINING
from smoothify.models import PRESETS, PixelClassifier
from smoothify.models.importing import is_import_path
from smoothify.objectives import objective
from smoothify.training.config import Config
from smoothify.training.progress import Reporter
from smoothify.training.saving.best import keep_aside
from smoothify.training.saving.plots import curves
from smoothify.training.saving.resuming import describe_changes
from smoothify.training.saving.run_folder import RunFolder
from smoothify.training.saving.settings import flat, recipe
from smoothify.training.setup import Parts

_COLUMNS = 8  # images in adversarial.png


class Exporter:
    """Saves models as the run goes, and turns the best one into something publishable at the end.

    Only the main process writes; all processes share the final measurement.
    """

    def __init__(self, config: Config, parts: Parts, folder: RunFolder, accelerator: Accelerator) -> None:
        self.config, self.parts, self.folder, self.accelerator = config, parts, folder, accelerator
        self._probe = parts.held_out.batch(range(min(_COLUMNS, len(parts.held_out))))[0].to(accelerator.device)
        self._logits_of_best: Tensor | None = None
        self._seen = config.data.train_split == config.data.test_split

    def save(self, path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
        """Save the model as it is now; ``rows`` are the epochs behind it."""
        if self.accelerator.is_main_process:
            self._save(path, self.parts.classifier.model, _progress_of(rows), (), {})

    def save_best(self, rows: Sequence[Mapping[str, Any]]) -> str | None:
        """Save the model as the best, and keep the one before; return its weights' SHA-256 in the main process."""
        if not self.accelerator.is_main_process:
            return None
        self._logits_of_best = self._logits(self.parts.classifier)
        keep_aside(self.folder)
        self.save(self.folder.best, rows)
        return weights_digest(self.folder.best)

    def measure_best(self, reporter: Reporter) -> tuple[RobustAccuracy, PixelClassifier, bool | None]:
        """Load the best model back from its folder and attack it on the test images.

        Returns:
            The figures; the model that was loaded; whether its logits equal, bit for bit, those of the model that was
            saved (None when it was saved before the run was resumed).
        """
        self.accelerator.wait_for_everyone()
        host = from_pretrained(self.folder.best, architecture=self._own_code())
        mean, std = (values.flatten().tolist() for values in (self.parts.classifier.mean, self.parts.classifier.std))
        classifier = PixelClassifier(host, mean=mean, std=std).to(self.accelerator.device).eval()
        if self.config.engine.channels_last:
            classifier.to(memory_format=torch.channels_last)
        identical = None
        if self._logits_of_best is not None:
            identical = torch.equal(self._logits(classifier), self._logits_of_best)
        final = self.config.attack.build_final()
        if self.folder.measured.is_dir():
            reporter.note(f"{self.folder.measured} is of a measurement that was interrupted: it goes on from there")
        reporter.begin(f"{final} on the test images", len(self.parts.test))
        measured = robust_accuracy(
            classifier,
            self.parts.test,
            final,
            batch_size=shared_batch_size(final, len(self.parts.test), self.accelerator.num_processes),
            seed=self.config.seed,
            accelerator=self.accelerator,
            state=self.folder.measured,
            advance=lambda images: reporter.advance(images),
        )
        reporter.end()
        if self._seen:
            measured = replace(measured, caveats=(*measured.caveats, SEEN))
        return measured, classifier, identical

    def publish(
        self,
        classifier: PixelClassifier,
        measured: RobustAccuracy,
        rows: Sequence[Mapping[str, Any]],
        best: int,
        precision: str | None,
    ) -> None:
        """Write the pictures and the figures, complete the best model's card, and push it if the config says so.

        Args:
            classifier: the best model, loaded back.
            measured: its figures.
            rows: one for each epoch.
            best: the index of the best model's.
            precision: that training attacks were computed in, which "auto" left to the machine; None without attacks.
        """
        if not self.accelerator.is_main_process:
            return
        images, labels = (tensor.to(self.accelerator.device) for tensor in self.parts.test.batch(telling(measured)))
        final = self.config.attack.build_final()
        picture = adversarial(classifier, images, labels, final, self.parts.test.source.classes)
        write_atomically(self.folder.adversarial, picture)
        write_atomically(self.folder.curves, curves(rows, f"{self.config.model.name}, {self.parts.activations[0]}"))
        if self.config.attack.sanity:
            measured = self._checked(classifier, final).attached_to(measured)
        epoch, split = rows[best]["epoch"], self.config.data.test_split
        self.folder.write_evaluation(measured, epoch=epoch, attack_precision=precision, split=split)
        how = "adversarially" if objective(self.config.objective).attacks else "without an adversary"
        about = f"Trained {how} for {epoch} of {self.config.epochs} epochs."
        about += f" The accuracies are of {SEEN}." if self._seen else ""
        results = card_results([measured], split=split)
        self._save(self.folder.best, classifier.model, about, results, {"adversarial.png": picture})
        shutil.rmtree(self.folder.measured)
        if self.config.push is not None:
            self._push(self.config.push)

    def _checked(self, classifier: PixelClassifier, final: Attack) -> Sanity:
        few = self.parts.test.few(self.config.attack.sanity)
        return sanity(classifier, few, final, seed=self.config.seed)

    def _push(self, repository: str) -> None:
        try:
            push_folder(self.folder.best, repository)
        except HubError as error:
            again = f"python -m smoothify push {self.folder.best} {repository}"
            raise HubError(f"the run is finished, but not pushed: {error}; repeat it with `{again}`") from error

    def _save(
        self,
        path: Path,
        model: nn.Module,
        about: str,
        figures: tuple[Result, ...],
        pictures: Mapping[str, bytes],
    ) -> None:
        settings = recipe(self.config)
        settings["model"] |= self._input()
        published = {name: value for name, value in settings.items() if name != "imports"}  # no model names code to run
        save_pretrained(
            model,
            path,
            architecture=self._own_code() or self._torchvision_name(),
            model_args=self._model_args(),
            card=CardFacts(
                model_name=f"{re.split('[/:]', name_of(self.config.model.name))[-1]}-{self.parts.activations[0]}",
                activation=", ".join(self.parts.activations),
                dataset=name_of(self.config.data.path),
                about=" ".join([about, *describe_changes(self.folder.changes)]),
                results=figures,
                recipe=renamed(flat(settings)),
                images=tuple(pictures),
            ),
            files={TRAINING: yaml.safe_dump(published, sort_keys=False).encode(), **pictures},
            overwrite=True,
        )

    def _input(self) -> dict[str, Any]:
        """What the model takes; not every library's models say so themselves once they are loaded back."""
        return {
            "input_size": list(self.parts.test.input_size),
            **vars(self.parts.test.resizing),
            "mean": [round(value, 7) for value in self.parts.classifier.mean.flatten().tolist()],
            "std": [round(value, 7) for value in self.parts.classifier.std.flatten().tolist()],
        }

    def _own_code(self) -> str | None:
        model = self.config.model
        return model.name if is_import_path(model.name) else model.architecture

    def _torchvision_name(self) -> str | None:
        library, _, name = self.config.model.name.rpartition("/")
        return name if library == "torchvision" else None

    def _model_args(self) -> dict[str, Any]:
        preset = PRESETS.get(self.config.model.name)
        if is_import_path(self.config.model.name):
            return {**self.config.model.arguments, "num_classes": len(self.parts.test.source.classes)}
        return {**(preset.arguments if preset else {}), **self.config.model.arguments}

    @torch.no_grad()
    def _logits(self, classifier: PixelClassifier) -> Tensor:
        training = classifier.training
        classifier.eval()
        logits: Tensor = classifier(self._probe)
        classifier.train(training)
        return logits


def telling(measured: RobustAccuracy) -> list[int]:
    """Positions of the images to draw: as many that withstood the attack as fell to it, the first of each kind."""
    verdicts = list(enumerate(zip(measured.clean_correct, measured.robust_correct, strict=True)))
    stood = [position for position, (_, robust) in verdicts if robust]
    fell = [position for position, (clean, robust) in verdicts if clean and not robust]
    wrong = [position for position, (clean, _) in verdicts if not clean]
    fell = fell[: max(_COLUMNS // 2, _COLUMNS - len(stood))]
    shown = stood[: _COLUMNS - len(fell)] + fell
    return shown + wrong[: _COLUMNS - len(shown)]


def _progress_of(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return "Not trained yet."
    row = rows[-1]
    return (
        f"After epoch {row['epoch']}; {100 * row['held_out_clean_accuracy']:.1f}% clean and "
        f"{100 * row['held_out_robust_accuracy']:.1f}% robust accuracy ({row['check']}) on held-out training images; "
        "not measured on test images."
    )
