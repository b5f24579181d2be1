"""From a config to everything that a run works with. All that can be refused is refused here, before the first step."""

from __future__ import annotations

from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, get_args

import torch
from accelerate import Accelerator
from torch import nn

from smoothify.activations import refuse_without_relu
from smoothify.attacks import inference_mode_of
from smoothify.data import (
    Images,
    Resizing,
    Source,
    Stream,
    StreamedImages,
    hold_out,
    labels_of,
    load,
    open_stream,
)
from smoothify.errors import ConfigError
from smoothify.models import PixelClassifier, input_size
from smoothify.training.config import Config, DataConfig, EngineConfig, MixedPrecision
from smoothify.training.conversion import activations_of, convert_as_configured_
from smoothify.training.host import classifier_of, host_of, name_classes_, resizing_of
from smoothify.training.refusals import (
    checkpoint_activations,
    refuse_before_data,
    refuse_impossible_attacks,
    refuse_misfit,
    refuse_untrained_classes,
    with_classes_of,
)


@dataclass(frozen=True)
class Parts:
    """What a run works with.

    Args:
        host: the model, its activations converted.
        classifier: the host behind its normalisation; maps images in [0, 1] to logits.
        train: the images that are trained on.
        held_out: training images kept aside for the check after every epoch, not augmented.
        test: the images that the final figures are measured on.
        activations: what the host's are, which a config that keeps some of them does not say.
    """

    host: nn.Module
    classifier: PixelClassifier
    train: Images | StreamedImages
    held_out: Images
    test: Images
    activations: tuple[str, ...]

    def with_classifier(self, classifier: PixelClassifier) -> Parts:
        """Return the same data with another classifier of the same architecture."""
        return replace(self, host=classifier.model, classifier=classifier)

    @property
    def fingerprint(self) -> str:
        """A checksum of which images are trained on and which are held out, with their labels and the classes' names.

        It knows nothing of pixels, which would all have to be read.
        """
        source = self.train.source
        if isinstance(source, Stream):
            told: list[Any] = [len(self.train), sorted(source.without)]
        else:
            assert isinstance(self.train, Images)
            told = [labels_of(source).tolist(), self.train.indices, self.held_out.indices]
        return sha256(repr((source.classes, told)).encode()).hexdigest()[:16]

    def trained(self, engine: EngineConfig) -> PixelClassifier:
        """Return the classifier that is trained: the same host, as the engine is to compute it.

        Measuring and saving keep to ``classifier``, whose forward stays in float32 and uncompiled.

        Raises:
            ConfigError: the host has no activation checkpointing.
        """
        if engine.activation_checkpointing:
            checkpoint_activations(self.host)
        if engine.channels_last:
            self.host.to(memory_format=torch.channels_last)
        mean, std = (values.flatten().tolist() for values in (self.classifier.mean, self.classifier.std))
        twin = PixelClassifier(self.host, mean=mean, std=std)
        if engine.compile:
            twin.compile()
        return twin


def as_started(config: Config, accelerator: Accelerator) -> Config:
    """Return the config with what it left to the launcher, so that the run's records say it.

    Raises:
        SmoothifyError: what the launcher says does not go with the rest.
    """
    precision = accelerator.mixed_precision
    if precision not in get_args(MixedPrecision):
        raise ConfigError(f"engine.mixed_precision={precision}, as the launcher says: choose no, bf16 or fp16")
    return replace(config, engine=replace(config.engine, mixed_precision=precision))


def assemble(config: Config, *, processes: int = 1) -> Parts:
    """Build the model and load the data of a run.

    Raises:
        SmoothifyError: anything that the config names does not exist or does not fit the rest.
    """
    refuse_before_data(config, processes=processes)
    torch.manual_seed(config.seed)
    data = config.data
    test_source = load(data.path, data.test_split)
    train_source: Source | Stream
    if data.streaming:
        train_source = open_stream(data.path, data.train_split, classes=test_source.classes, buffer=data.buffer)
    else:
        train_source = load(data.path, data.train_split)
    test_source = with_classes_of(test_source, train_source)
    if not isinstance(train_source, Stream):
        refuse_untrained_classes(test_source, train_source)
    refuse_impossible_attacks(config.attack, classes=len(train_source.classes))
    host = host_of(config.model, num_classes=len(train_source.classes))
    name_classes_(host, train_source.classes)
    classifier = classifier_of(host, config.model)
    size = config.model.input_size or input_size(host)
    refuse_misfit(classifier, size, classes=len(train_source.classes), name=config.model.name)
    converted = convert_as_configured_(host, config.model)
    with inference_mode_of(classifier):
        for spec in (config.surrogate.attacker, config.surrogate.optimizer):
            refuse_without_relu(classifier, torch.zeros(1, *size), spec)
    resizing = resizing_of(host, config.model)
    train, held_out = _training_images(data, train_source, size, resizing, seed=config.seed)
    if config.batch_size > len(train):
        raise ConfigError(
            f"batch_size={config.batch_size} exceeds the {len(train)} training images; choose a smaller one"
        )
    return Parts(
        host=host,
        classifier=classifier,
        train=train,
        held_out=held_out,
        test=Images(test_source, input_size=size, resizing=resizing),
        activations=activations_of(converted) or (config.model.activation,),
    )


def _training_images(
    data: DataConfig, source: Source | Stream, size: tuple[int, int, int], resizing: Resizing, *, seed: int
) -> tuple[Images | StreamedImages, Images]:
    """Return the images to train on, and the held-out ones."""
    fitted: dict[str, Any] = {"input_size": size, "resizing": resizing}
    augmented = {**fitted, "augmentation": data.augmentation, "auto_augment": data.auto_augment}
    if not isinstance(source, Stream):
        kept, held_out = hold_out(labels_of(source), data.held_out, seed=seed)
        return Images(source, indices=kept, **augmented), Images(source, indices=held_out, **fitted)
    rest, aside = source.hold_out(data.held_out, seed=seed)
    images = data.images or rest.count
    if images is None:
        raise ConfigError(
            f"data.streaming: data set {data.path!r} does not say how many images its split {data.train_split!r} has; "
            "set data.images to as many as an epoch is to have"
        )
    return StreamedImages(rest, images=images, **augmented), Images(aside, **fitted)
