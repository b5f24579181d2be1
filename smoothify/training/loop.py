"""The training loop: attack, update, check, save. It reads from top to bottom."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration
from torch import Tensor, nn
from torch.utils.data import DataLoader

from smoothify.attacks import attack
from smoothify.errors import NonFiniteError
from smoothify.evaluation import RobustAccuracy, robust_accuracy
from smoothify.objectives import objective
from smoothify.training import state
from smoothify.training.config import Config
from smoothify.training.export import Exporter
from smoothify.training.progress import Reporter, Silent
from smoothify.training.run_folder import RunFolder, open_run_folder
from smoothify.training.schedule import factor, optimizer
from smoothify.training.setup import assemble

_REPORT_EVERY = 10  # steps; reading the loss more often would make a GPU wait


@dataclass(frozen=True)
class Outcome:
    """What a finished run comes to.

    Args:
        folder: where everything is.
        final: the best model, loaded back from its folder, on the test images.
        best_epoch: the epoch that it is from, counted from 1.
        reloaded_identical: whether the model loaded back gives the logits, bit for bit, of the one that was saved;
            None when that was before the run was resumed.
        parameters: how many numbers were trained.
        training_seconds: wall-clock time of the epochs, checks and checkpoints included.
        total_seconds: wall-clock time from the command's first line to the last figure.
    """

    folder: RunFolder
    final: RobustAccuracy
    best_epoch: int
    reloaded_identical: bool | None
    parameters: int
    training_seconds: float
    total_seconds: float


def train(
    config: Config, *, overwrite: bool = False, resume: bool = False, reporter: Reporter | None = None
) -> Outcome:
    """Train a model as the config says and leave everything about it in one folder.

    Args:
        config: the run.
        overwrite: delete the run that the output folder holds, if it holds one.
        resume: continue the run in the output folder after its newest finished epoch.
        reporter: hears how it goes; nobody by default.

    Every epoch draws its random numbers from generators keyed by (seed, epoch, process), so that a run that is
    resumed after a finished epoch gives the same weights as one that was never stopped.

    Raises:
        SmoothifyError: something in the config cannot be; nothing was trained.
        NonFiniteError: the loss became NaN or infinite; the message names the step and the last good checkpoint.
        OSError: the folder cannot be written; what was finished before stays loadable.
    """
    started = time.perf_counter()
    accelerator = Accelerator(
        dataloader_config=DataLoaderConfiguration(
            split_batches=True, use_seedable_sampler=True, data_seed=config.seed, non_blocking=True
        )
    )
    reporter = reporter if reporter is not None and accelerator.is_main_process else Silent()
    parts = assemble(config, processes=accelerator.num_processes)
    if accelerator.is_main_process:
        open_run_folder(config, overwrite=overwrite, resume=resume)
    accelerator.wait_for_everyone()
    folder = RunFolder(Path(config.output))

    loader = DataLoader(
        parts.train,
        batch_size=config.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=config.data.workers,
        pin_memory=accelerator.device.type == "cuda",
    )
    model, sgd, loader = accelerator.prepare(
        parts.classifier, optimizer(parts.classifier, config.lr, config.optimizer), loader
    )
    unwrapped: nn.Module = accelerator.unwrap_model(model)
    share_of_lr = factor(config.optimizer, epochs=config.epochs, steps_per_epoch=len(loader))
    adversary = config.attack.build()
    goal = objective(config.objective, label_smoothing=config.label_smoothing)
    check = attack(config.attack.check, config.attack.threat)
    exporter = Exporter(config, parts, folder, accelerator)

    rows: list[dict[str, Any]] = []
    best = 0
    if resume:
        checkpoint = state.load(folder.checkpoints, reporter.note)
        unwrapped.load_state_dict(checkpoint.model)
        sgd.optimizer.load_state_dict(checkpoint.optimizer)
        rows, best = checkpoint.metrics, checkpoint.best
        reporter.note(f"resumed after epoch {len(rows)} of {config.epochs}")
    else:
        exporter.save(folder.last, rows)  # what cannot be published is refused before it is trained

    for epoch in range(len(rows), config.epochs):
        epoch_started = time.perf_counter()
        reporter.begin(f"epoch {epoch + 1}/{config.epochs}", config.batch_size * len(loader))
        torch.manual_seed(_key(config.seed, epoch, accelerator.process_index))
        loader.set_epoch(epoch)
        model.train()
        totals = torch.zeros(3, device=accelerator.device)  # images, loss, right answers
        bad_step = torch.full((), -1, device=accelerator.device)
        for step, (images, labels) in enumerate(loader):
            lr = config.lr * share_of_lr(epoch * len(loader) + step)
            for group in sgd.param_groups:
                group["lr"] = lr
            with accelerator.autocast():
                loss = goal.loss(model, unwrapped, adversary, images, labels)
            accelerator.backward(loss.value)
            sgd.step()
            sgd.zero_grad()
            finite = torch.isfinite(loss.value.detach())
            bad_step = torch.where((bad_step < 0) & ~finite, step, bad_step)
            totals += _figures(loss.value, loss.logits, labels)
            if (step + 1) % _REPORT_EVERY == 0 or step + 1 == len(loader):
                _stop_if_not_finite(bad_step, epoch, len(loader), folder)
                reporter.advance(config.batch_size * ((step % _REPORT_EVERY) + 1), _describe(totals, rows))
        reporter.end()
        training_seconds = time.perf_counter() - epoch_started

        totals = accelerator.reduce(totals, reduction="sum")
        if accelerator.num_processes > 1:  # each process kept its own batch statistics; those that are saved count
            for buffer in unwrapped.buffers():
                torch.distributed.broadcast(buffer, src=0)
        try:
            held_out = robust_accuracy(unwrapped, parts.held_out, check, seed=config.seed, accelerator=accelerator)
        except NonFiniteError as error:
            raise _not_finite(str(error), (epoch + 1) * len(loader) - 1, epoch, folder) from error
        row = {
            "epoch": epoch + 1,
            "learning_rate": lr,
            "train_loss": (totals[1] / totals[0]).item(),
            "train_accuracy": (totals[2] / totals[0]).item(),
            "held_out_clean_accuracy": held_out.clean.value,
            "held_out_robust_accuracy": held_out.robust.value,
            "check": str(check),
            "images_per_second": config.batch_size * len(loader) / training_seconds,
            "seconds": time.perf_counter() - epoch_started,
        }
        rows.append(row)
        reporter.note(describe_row(row, config.epochs))
        if stands(rows, len(parts.held_out)):
            best = len(rows) - 1
            exporter.save(folder.best, rows)
        exporter.save(folder.last, rows)
        if accelerator.is_main_process:
            folder.write_metrics(rows)
            state.save(
                state.Checkpoint(len(rows), unwrapped.state_dict(), sgd.optimizer.state_dict(), rows, best),
                folder.checkpoints,
            )
        accelerator.wait_for_everyone()

    final, classifier, identical = exporter.measure_best(reporter)
    exporter.publish(classifier, final, rows, best)
    outcome = Outcome(
        folder=folder,
        final=final,
        best_epoch=rows[best]["epoch"],
        reloaded_identical=identical,
        parameters=sum(parameter.numel() for parameter in unwrapped.parameters()),
        training_seconds=sum(row["seconds"] for row in rows),
        total_seconds=time.perf_counter() - started,
    )
    accelerator.end_training()
    return outcome


def describe_row(row: dict[str, Any], epochs: int) -> str:
    """Write one row of ``metrics.jsonl`` as a line for people."""
    return (
        f"epoch {row['epoch']:>{len(str(epochs))}}/{epochs}  loss {row['train_loss']:.3f}  held out: "
        f"clean {100 * row['held_out_clean_accuracy']:.1f}%  "
        f"{row['check']} {100 * row['held_out_robust_accuracy']:.1f}%  "
        f"({row['images_per_second']:.0f} images/s, {row['seconds']:.0f} s)"
    )


def stands(rows: list[dict[str, Any]], images: int) -> bool:
    """Whether the newest epoch is to be taken for the best: its robust accuracy is the highest, to one standard error.

    Among epochs that the held-out images cannot tell apart the newest is the better bet, since it learned longest; an
    epoch after the robust accuracy has really fallen (catastrophic overfitting) is not taken.

    >>> rows = [{"held_out_robust_accuracy": accuracy} for accuracy in (0.70, 0.72, 0.71)]
    >>> stands(rows, 500), stands([*rows, {"held_out_robust_accuracy": 0.60}], 500)
    (True, False)
    """
    newest, highest = rows[-1]["held_out_robust_accuracy"], max(row["held_out_robust_accuracy"] for row in rows)
    standard_error: float = (highest * (1 - highest) / images) ** 0.5
    return bool(newest >= highest - standard_error)


def _key(seed: int, epoch: int, process: int) -> int:
    return (seed * 1_000_003 + epoch) * 4_096 + process


def _figures(loss: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
    right = (logits.argmax(1) == labels).sum()
    return torch.stack([right.new_tensor(len(labels)), loss.detach() * len(labels), right])


def _describe(totals: Tensor, rows: list[dict[str, Any]]) -> str:
    images, loss, right = totals.tolist()
    now = f"loss {loss / images:.3f}  attacked {100 * right / images:.1f}%"
    if not rows:
        return now
    clean, robust = rows[-1]["held_out_clean_accuracy"], rows[-1]["held_out_robust_accuracy"]
    return f"{now}  held out: clean {100 * clean:.1f}% robust {100 * robust:.1f}%"


def _stop_if_not_finite(bad_step: Tensor, epoch: int, steps: int, folder: RunFolder) -> None:
    step = int(bad_step)
    if step < 0:
        return
    raise _not_finite("the loss is not finite", epoch * steps + step, epoch, folder)


def _not_finite(what: str, step: int, epoch: int, folder: RunFolder) -> NonFiniteError:
    saved = state.newest_first(folder.checkpoints)
    good = f"the last good checkpoint is {saved[0]}" if saved else "no epoch was finished before it"
    return NonFiniteError(f"{what}, at step {step} (epoch {epoch + 1}); {good}; try a smaller lr")
