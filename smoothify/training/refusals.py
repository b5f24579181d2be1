"""What cannot be is refused in one line: before any data is read where it can be known, else before the first step."""

from __future__ import annotations

import os
from dataclasses import replace

import torch
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers
from torch import nn

from smoothify.attacks import attack, inference_mode_of
from smoothify.data import Source, Stream, labels_of
from smoothify.errors import ConfigError, DataError, UnknownNameError
from smoothify.evaluation.refusals import refuse_as_measure
from smoothify.models import PixelClassifier
from smoothify.training.config import AttackConfig, Config, EngineConfig
from smoothify.training.host import sketch
from smoothify.training.steps.schedule import optimizer


def refuse_before_data(config: Config, *, processes: int) -> None:
    """Refuse what the config alone, or the architecture that it names, shows to be impossible.

    Raises:
        SmoothifyError: the message names the field.
    """
    engine = config.engine
    if config.batch_size % (processes * engine.accumulation):
        in_pieces = f" in {engine.accumulation} pieces each" if engine.accumulation > 1 else ""
        raise ConfigError(
            f"batch_size={config.batch_size} cannot be shared evenly by {processes} processes{in_pieces}; "
            f"choose a multiple of {processes * engine.accumulation}"
        )
    piece = config.batch_size // (processes * engine.accumulation)
    if (config.data.mixup or config.data.cutmix) and piece % 2:
        raise ConfigError(f"data.mixup and data.cutmix mix pairs, but {piece} images are computed together")
    if engine.fsdp and processes == 1:
        raise ConfigError(
            "engine.fsdp shards over several processes, and this run has one; start more, or leave it off"
        )
    host = sketch(config.model)
    if host is not None:
        if engine.activation_checkpointing:
            checkpoint_activations(host)
        optimizer(host, config.lr, config.optimizer)


def refuse_tracker(engine: EngineConfig) -> None:
    """Refuse an experiment tracker that Accelerate does not know, or that is not installed."""
    if engine.log_with is None:
        return
    if engine.log_with not in LOGGER_TYPE_TO_CLASS:
        raise UnknownNameError("engine.log_with", engine.log_with, LOGGER_TYPE_TO_CLASS)
    if engine.log_with not in {str(tracker) for tracker in get_available_trackers()}:
        raise ConfigError(f"engine.log_with={engine.log_with!r} is not installed; install it, or leave it out")


def refuse_launchers_own() -> None:
    """Refuse what ``accelerate launch`` can be configured to do to a model, and what would not be the config's."""
    for name in ("FSDP", "DEEPSPEED", "MEGATRON_LM", "PARALLELISM_CONFIG"):
        if os.environ.get(f"ACCELERATE_USE_{name}", "false").lower() == "true":
            raise ConfigError(
                f"accelerate is configured for {name.lower()}, which is not what engine says: launch with several "
                "processes alone (--multi_gpu), and set engine.fsdp to shard"
            )


def refuse_impossible_attacks(attacks: AttackConfig, *, classes: int) -> None:
    """Refuse attacks that could not measure a model with so many classes once it is trained."""
    for name, built in (("check", attack(attacks.check, attacks.threat)), ("final", attacks.build_final())):
        try:
            refuse_as_measure(built, classes)
        except ConfigError as error:
            raise ConfigError(f"attack.{name}={getattr(attacks, name)!r}: {error}") from error


def checkpoint_activations(host: nn.Module) -> None:
    """Have a host compute activations again in its backward pass; refuse one that does not offer it."""
    # timm's, that of transformers, and that of transformers 4
    names = ("set_grad_checkpointing", "activation_checkpointing_enable", "gradient_checkpointing_enable")
    enable = next((getattr(host, name) for name in names if hasattr(host, name)), None)
    try:
        if enable is None:
            raise ConfigError("it offers none")
        enable()
    except (AssertionError, ValueError) as error:
        raise ConfigError(f"engine.activation_checkpointing: {type(host).__name__}: {error}; leave it off") from error


def with_classes_of(test: Source, train: Source | Stream) -> Source:
    """Return a test split with the classes of the training split.

    A split whose labels have no names has as many classes as its highest label says, so a test split may seem to have
    fewer; it takes names over.

    Raises:
        DataError: they are not the same classes in the same order.
    """
    names = getattr(test.rows.features[test.label_column], "names", None)
    if names is None and len(test.classes) <= len(train.classes):
        return replace(test, classes=train.classes)
    if test.classes != train.classes[: len(test.classes)]:
        differing = [name for name in test.classes if name not in train.classes] or ["the order"]
        raise DataError(
            f"data set {test.name!r}: its splits {train.split!r} ({len(train.classes)} classes) and {test.split!r} "
            f"({len(test.classes)}) name different classes: {', '.join(differing[:5])}; give both the same"
        )
    return replace(test, classes=train.classes)


def refuse_untrained_classes(test: Source, train: Source) -> None:
    """Refuse a test split with images of classes that the training split has none of: all of them would be wrong.

    `datasets` gives a folder of pictures the classes of all its splits together, so one that is misspelt in one of them
    stands in both.

    Raises:
        DataError: there are such images.
    """
    untrained = sorted(set(labels_of(test).tolist()) - set(labels_of(train).tolist()))
    if untrained:
        names = ", ".join(test.classes[label] for label in untrained[:5])
        raise DataError(
            f"data set {test.name!r}: its split {test.split!r} has images of classes that {train.split!r} has none of: "
            f"{names}; give both the same"
        )


@torch.no_grad()
def refuse_misfit(classifier: PixelClassifier, size: tuple[int, int, int], *, classes: int, name: str) -> None:
    """Run the model once on the CPU: it must take images of this size and return a logit for each class.

    Raises:
        ConfigError: it does not.
    """
    if classifier.mean.shape[1] not in (1, size[0]):
        raise ConfigError(
            f"model.name={name!r} normalises {classifier.mean.shape[1]} channels and images have {size[0]}; "
            "set model.input_size, model.mean and model.std for the same number, and the architecture with them"
        )
    try:
        with inference_mode_of(classifier):
            logits = classifier(torch.zeros(1, *size))
    except (AssertionError, RuntimeError, ValueError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise ConfigError(
            f"model.name={name!r} does not take images of {size}: {reason}; set model.input_size, or model.arguments"
        ) from error
    if logits.shape[1] != classes:
        raise ConfigError(f"model.name={name!r} returns {logits.shape[1]} logits, and the data has {classes} classes")
