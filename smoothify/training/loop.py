"""The training loop: attack, update, check, save. It reads from top to bottom."""

from __future__ import annotations

import time
from contextlib import nullcontext
from pathlib import Path

from accelerate import Accelerator

from smoothify.data import Stream
from smoothify.errors import DivergedError
from smoothify.objectives import objective
from smoothify.training.accelerated import accelerated
from smoothify.training.alarms import alarms
from smoothify.training.check import Check
from smoothify.training.config import Config
from smoothify.training.conversion import Annealing, recalibrate
from smoothify.training.divergence import located, refuse_bad_loss
from smoothify.training.processes import wrapping
from smoothify.training.progress import Reporter, Silent
from smoothify.training.saving import state
from smoothify.training.saving.best import bring_back
from smoothify.training.saving.export import Exporter
from smoothify.training.saving.outcome import Outcome
from smoothify.training.saving.record import Record, describe_accuracies, describe_row
from smoothify.training.saving.run_folder import RunFolder, open_run_folder, refuse_occupied
from smoothify.training.saving.settings import flat, recipe
from smoothify.training.setup import Parts, as_started, assemble
from smoothify.training.sharded import ShardedModel, ShardedOptimizer, shard
from smoothify.training.steps.attacked import attacked_model, describe, precision_of
from smoothify.training.steps.averaging import Averaging
from smoothify.training.steps.batches import Batches
from smoothify.training.steps.free import Perturbation
from smoothify.training.steps.mixing import mixing
from smoothify.training.steps.schedule import factor, optimizer
from smoothify.training.steps.update import Update

_REPORT_EVERY = 10  # steps; reading the loss more often would make a GPU wait


def train(
    config: Config, *, overwrite: bool = False, resume: bool = False, reporter: Reporter | None = None
) -> Outcome:
    """Train a model as the config says and leave everything about it in one folder.

    Args:
        config: the run.
        overwrite: delete the run that the output folder holds, if it holds one.
        resume: continue the run in the output folder after its newest checkpoint.
        reporter: hears how it goes; nobody by default.

    No random number depends on what was drawn before it: order, augmentation and attack noise are keyed by seed, epoch
    and image, and what the model itself draws by seed, step and process. A run that is resumed from any checkpoint
    therefore gives the same weights as one that was never stopped.

    Raises:
        SmoothifyError: something in the config cannot be; nothing was trained.
        DivergedError: the loss or the weights became NaN or infinite; the message names the step, the last good
            checkpoint, and which settings to resume it with.
        OSError: the folder cannot be written; what was finished before stays loadable.

    >>> from smoothify.training import AttackConfig
    >>> train(Config(attack=AttackConfig(epsilon=8)))
    Traceback (most recent call last):
    smoothify.errors.ConfigError: epsilon=8 is not in [0, 1] pixel units; did you mean '8/255'?
    """
    started = time.perf_counter()
    with accelerated(config) as accelerator:
        config = as_started(config, accelerator)
        reporter = reporter if reporter is not None and accelerator.is_main_process else Silent()
        if accelerator.is_main_process:
            refuse_occupied(config, overwrite=overwrite, resume=resume)
        parts = assemble(config, processes=accelerator.num_processes)
        one_opens = accelerator.is_main_process
        with open_run_folder(config, overwrite=overwrite, resume=resume) if one_opens else nullcontext():
            accelerator.wait_for_everyone()
            try:
                return _run(config, parts, accelerator, reporter, resume=resume, started=started)
            except DivergedError as error:
                if accelerator.is_main_process:
                    RunFolder(Path(config.output)).write_divergence(error)
                raise


def _run(
    config: Config, parts: Parts, accelerator: Accelerator, reporter: Reporter, *, resume: bool, started: float
) -> Outcome:
    folder = RunFolder(Path(config.output))
    batches = Batches(
        parts.train,
        batch_size=config.batch_size,
        pieces=config.engine.accumulation,
        replays=config.attack.replays,
        seed=config.seed,
        workers=config.data.workers,
        channels_last=config.engine.channels_last,
        accelerator=accelerator,
    )
    parts.classifier.to(accelerator.device)
    annealing = Annealing.of(config.model)
    if not resume:
        annealing.apply(0, [parts.classifier])
        if config.model.recalibrate:
            anew = recalibrate(parts.classifier, batches.distinct(0), accelerator)
            reporter.note(f"{anew} batch norms estimated anew")
    trained = parts.trained(config.engine)
    example = parts.held_out.batch(range(1))[0].to(accelerator.device)
    if config.engine.fsdp:
        model = trained = shard(trained, accelerator)
        descent = accelerator.prepare(optimizer(trained, config.lr, config.optimizer))
    else:
        if accelerator.num_processes > 1:
            accelerator.ddp_handler = wrapping(parts.classifier, example)
        model, descent = accelerator.prepare(trained, optimizer(trained, config.lr, config.optimizer))
    chosen = objective(config.objective, label_smoothing=config.label_smoothing)
    free = config.attack.method == "free"
    attacked = attacked_model(
        "same" if config.engine.fsdp or free or not chosen.attacks else config.attack.precision,
        accelerator.unwrap_model(model),
        parts.classifier,
        example,
        compiled=config.engine.compile,
        mixed=accelerator.mixed_precision != "no",
        note=reporter.note,
    )
    carried = Perturbation(config.batch_size, parts.train.input_size, accelerator) if free else None
    share_of_lr = factor(config.optimizer, epochs=config.epochs, steps_per_epoch=len(batches))
    update = Update(
        accelerator=accelerator,
        model=model,
        attacked=attacked,
        optimizer=descent,
        objective=chosen,
        surrogate=config.surrogate,
        attack=lambda step: config.attack.at((step + 1) / len(batches)),
        mixing=mixing(config, classes=len(parts.train.source.classes)),
        learning_rate=lambda step: config.lr * share_of_lr(step),
        clip_norm=config.optimizer.clip_norm,
        seed=config.seed,
        carried=carried,
        recomputes=config.engine.activation_checkpointing,
    )
    average = Averaging(config.averaging, parts.classifier) if config.averaging.kind != "none" else None
    measured = parts if average is None else parts.with_classifier(average.classifier)
    annealed = [parts.classifier, attacked, measured.classifier]
    check = Check(config, measured, accelerator)
    exporter = Exporter(config, measured, folder, accelerator)
    record = Record(accelerator, judged_by=chosen.judged_by, unjudged=annealing.unfinished_epochs)
    kept: dict[str, state.Stateful] = {"model": parts.classifier, "optimizer": descent, "record": record}
    if config.engine.fsdp:
        kept |= {
            "model": ShardedModel(model, parts.classifier),
            "optimizer": ShardedOptimizer(model, descent.optimizer),
        }
    kept |= {} if average is None else {"average": average}
    kept |= {} if carried is None else {"carried": carried}
    precision = precision_of(attacked) if chosen.attacks else None
    saver = state.Saver(kept, folder.checkpoints, accelerator, precision=precision, images=parts.fingerprint)

    if isinstance(parts.train.source, Stream):
        reporter.note(str(parts.train.source))
    if (told := describe(attacked)) is not None:
        reporter.note(told)
    if resume:
        saver.restore(warn=reporter.note)
        if accelerator.is_main_process:
            for told in (folder.take_over(config, step=record.step), bring_back(folder, record.weights_of_best)):
                if told is not None:
                    reporter.note(told)
        reporter.note(f"resumed after step {record.step} ({record.step / len(batches):.2f} of {config.epochs} epochs)")
    else:
        saver.agree()
        if config.model.pretrained:
            reporter.note(f"to begin with: {describe_accuracies(check())}")
        exporter.save(folder.beginning, record.rows)  # what cannot be published is refused before it is trained
        if accelerator.is_main_process:
            folder.begin(config)
        accelerator.wait_for_everyone()
    settings = flat(recipe(config))
    accelerator.init_trackers("smoothify", config={name: str(value) for name, value in settings.items()})

    for epoch in range(record.step // len(batches), config.epochs):
        if config.patience is not None and record.stalled >= config.patience:
            accuracy = f"{record.judged_by} accuracy on held-out images"
            reporter.note(f"stopped early: no better {accuracy} in {record.stalled} epochs")
            break
        epoch_started, first, before = time.perf_counter(), record.step % len(batches), record.elapsed
        reporter.begin(f"epoch {epoch + 1}/{config.epochs}", config.batch_size * len(batches))
        reporter.advance(config.batch_size * first)
        model.train()
        shown = first
        for done, pieces in enumerate(batches.epoch(epoch, first=first), start=first + 1):
            annealing.apply((record.step + 1) / len(batches), annealed)
            record.add(update(record.step, pieces))
            if average is not None:
                average.after_step(record.step - 1)
            save_now = record.step % (config.engine.checkpoint_every or config.epochs * len(batches)) == 0
            if done % _REPORT_EVERY == 0 or done == len(batches) or save_now:
                refuse_bad_loss(record, epoch, folder.checkpoints, config, is_main=accelerator.is_main_process)
                reporter.advance(config.batch_size * (done - shown), record.describe())
                shown = done
            if save_now and done < len(batches):
                record.elapsed = before + time.perf_counter() - epoch_started
                with located(record, epoch, folder.checkpoints, config):
                    saver.save(record.step)
        reporter.end()
        training_seconds = time.perf_counter() - epoch_started

        if average is not None:
            average.after_epoch(epoch, update.attacked_images(record.step - 1, batches.distinct(epoch)))
        with located(record, epoch, folder.checkpoints, config):
            saver.agree()
            saver.refuse_broken()
            accuracies = check()
        row = {
            "epoch": epoch + 1,
            "learning_rate": update.learning_rate(record.step - 1),
            **record.figures(),
            **accuracies,
            "images_per_second": config.batch_size * (len(batches) - first) / training_seconds,
            "seconds": before + time.perf_counter() - epoch_started,
        }
        record.finish_epoch(row, held_out=len(parts.held_out))
        for line in (describe_row(row, config.epochs), *alarms(record.rows, images=len(parts.held_out))):
            reporter.note(line)
        if record.best == epoch:
            record.weights_of_best = exporter.save_best(record.rows)
        exporter.save(folder.last, record.rows)
        if accelerator.is_main_process:
            folder.write_metrics(record.rows)
        accelerator.log({name: value for name, value in row.items() if name != "check"}, step=record.step)
        with located(record, epoch, folder.checkpoints, config):
            saver.save(record.step)

    final, classifier, identical = exporter.measure_best(reporter)
    exporter.publish(classifier, final, record.rows, record.best, precision)
    outcome = Outcome(
        folder=folder,
        final=final,
        best_epoch=record.rows[record.best]["epoch"],
        reloaded_identical=identical,
        parameters=sum(parameter.numel() for parameter in parts.classifier.parameters()),
        training_seconds=sum(row["seconds"] for row in record.rows),
        total_seconds=time.perf_counter() - started,
    )
    for tracker in accelerator.trackers:
        tracker.finish()
    return outcome
