"""Clean and robust accuracy, measured one way everywhere: float32, eval mode, one verdict an image."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from smoothify.activations import refuse_without_relu, surrogate_gradients
from smoothify.attacks import Attack, SampleNoise, inference_mode_of, sample_keys
from smoothify.attacks.base import refuse_outside_pixels
from smoothify.attacks.gradients import Guarded
from smoothify.data import Images, Source, as_images
from smoothify.errors import ConfigError, DataError
from smoothify.evaluation.checksum import checksum
from smoothify.evaluation.logits import device_of, predict
from smoothify.evaluation.precision import full_precision
from smoothify.evaluation.refusals import refuse_impossible, refuse_outside
from smoothify.evaluation.results import RobustAccuracy
from smoothify.evaluation.state import Finished, Unfinished
from smoothify.evaluation.transfer import find_through, refuse_source

if TYPE_CHECKING:
    from accelerate import Accelerator


def robust_accuracy(
    model: nn.Module,
    images: Images | tuple[Tensor, Tensor],
    attack: Attack,
    *,
    batch_size: int = 250,
    seed: int = 0,
    full_protocol: bool = False,
    surrogate: str | None = None,
    through: nn.Module | None = None,
    through_name: str = "another model",
    accelerator: Accelerator | None = None,
    state: Path | Unfinished | None = None,
    advance: Callable[[int], None] | None = None,
) -> RobustAccuracy:
    """Measure clean and robust accuracy.

    An image counts as robust when it is classified right clean and wherever the attack looked. Images that are wrong
    already are not attacked, and those that fell not any further. Random numbers depend on ``seed`` and the image's
    row in its data set alone, so that any batch size and any number of processes give the same verdicts; what
    pyautoattack draws depends on the batch as well.

    Args:
        model: maps images in [0, 1] to logits (batch, classes), as `smoothify.PixelClassifier` does; not wrapped
            for distributed training. It is measured in eval mode and left in the mode it was in.
        images: the labelled images, or a pair of tensors: pixels (images, channels, height, width) in [0, 1], not
            normalised, and labels (images,).
        attack: the adversary.
        batch_size: images attacked at a time.
        seed: of the random starts.
        full_protocol: take every step on every image, and look only at where the last one leads, as papers do that
            run PGD as it is trained with. It finds no image that the search does not find.
        surrogate: the attack sees this activation's derivative in place of ReLU's (paper §3.2; BPDA).
        through: a transfer attack: another model, such as the ReLU twin, that the images are found on, by every step of
            the attack; ``model`` judges where the last step leads. It takes the same images to the same classes.
        through_name: what the result calls that model; not empty.
        accelerator: shares the batches among its processes; one process if not given.
        state: a folder that keeps what is finished, so that the same call goes on where one was interrupted; or an
            `Unfinished` of it, which then knows what to delete. It goes on with the same libraries only, and with what
            the model, the attack and the images hold now.
        advance: called with the number of images done after each batch.

    Raises:
        DataError: no images, images outside [0, 1], or a label that the model has no class for.
        ConfigError: an attack that leaves its threat model, or the mere name of one; augmented images; a batch without
            images; a transfer by way of the model itself, with a surrogate, or of an attack such as AutoAttack that
            keeps no attempts.
        NonFiniteError: logits that are not finite, or a gradient that the attack follows.
        UnsupportedModelError: an output that is not (batch, classes), parameters that are not float32, or a surrogate
            for a model without a ReLU; likewise a model to go through that does not fit.

    >>> from smoothify.attacks import PGD, ThreatModel
    >>> from smoothify.data import load
    >>> images = Images(load("fashion_mnist_sample", "test"), indices=range(20), input_size=(1, 28, 28))
    >>> blind = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    >>> _ = nn.init.zeros_(blind[1].weight), nn.init.eye_(blind[1].bias[None])  # it takes everything for class 0
    >>> measured = robust_accuracy(blind, images, PGD(ThreatModel("linf", "8/255"), steps=2))
    >>> str(measured.clean), str(measured.robust)
    ('5.0% [0.9, 23.6]', '5.0% [0.9, 23.6]')
    """
    images = as_images(images)
    if len(images) == 0:
        raise DataError("no images to measure accuracy on; choose a split that has some")
    if batch_size < 1:
        raise ConfigError(f"batch_size={batch_size}: at least 1 is needed")
    device = device_of(model)
    classes = refuse_impossible(model, images, [attack])
    if through is not None and not through_name.strip():
        raise ConfigError(
            f"through_name={through_name!r}: the number says what it was transferred from; give it a name"
        )
    if through is not None:
        refuse_source(through, model, images, [attack], surrogate=surrogate)
    full_protocol = full_protocol or through is not None
    rank, processes = (accelerator.process_index, accelerator.num_processes) if accelerator else (0, 1)
    which = (
        images.source.name,
        images.source.split,
        images.input_size,
        images.resizing,
        images.indices,
        images.labels,
    )
    protocol: tuple[object, ...] = (attack, batch_size, seed, full_protocol, surrogate, which)
    if state is not None and through is not None:
        protocol = (*protocol, "through", checksum(through))
    finished = Finished.read(state, model, protocol, rank)
    batches = [range(first, min(first + batch_size, len(images))) for first in range(0, len(images), batch_size)]
    known = finished.still(images, batches)
    if accelerator and processes > 1 and state is not None:
        # all have read before anyone writes; what one of them does not know, all do again: they share what is left
        mask = torch.tensor([number in known for number in range(len(batches))], device=device).long()
        of_all = (accelerator.reduce(mask, reduction="sum") == processes).tolist()
        known = {number: rows for number, rows in known.items() if of_all[number]}
    verdicts = torch.zeros((4, len(images)), dtype=torch.int64, device=device)
    left = [number for number in range(len(batches)) if number not in known]
    for number, rows in known.items():
        if rank == 0:
            verdicts[:, batches[number].start : batches[number].stop] = torch.tensor(rows, device=device)
        if advance:
            advance(len(batches[number]))
    with full_precision(device), inference_mode_of(model):
        refuse_without_relu(model, images.batch(range(1))[0].to(device), surrogate)
        for turn, number in enumerate(left):
            positions = batches[number]
            if turn % processes == rank:
                batch, labels = (tensor.to(device) for tensor in images.batch(positions))
                samples = torch.tensor([images.indices[position] for position in positions], device=device)
                noise = SampleNoise(sample_keys(seed, 0, samples))
                part = _verdicts(model, batch, labels, attack, noise, full_protocol, surrogate, through)
                verdicts[:, positions.start : positions.stop] = part
                finished.add(number, part.tolist(), batch, labels)
            if advance:
                advance(len(positions))
    if accelerator and processes > 1:
        verdicts = accelerator.reduce(verdicts, reduction="sum")
    clean_correct, robust_correct, fell_to, fell_at = verdicts.tolist()
    names = ("", *attack.names)
    return RobustAccuracy(
        attack=str(attack),
        norm=attack.threat.norm,
        epsilon=attack.threat.radius,
        step_size=getattr(attack, "step", None),
        seed=seed,
        clean_correct=tuple(bool(verdict) for verdict in clean_correct),
        robust_correct=tuple(bool(verdict) for verdict in robust_correct),
        fell_to=tuple(names[index] for index in fell_to),
        fell_at=tuple(step - 1 for step in fell_at),
        full_protocol=full_protocol,
        surrogate=surrogate,
        split_images=len(images.source),
        through=None if through is None else through_name,
        caveats=_other_classes(images.source, classes),
        known_by=checksum(attack, surrogate),
    )


def _other_classes(source: Source, classes: int) -> tuple[str, ...]:
    """Return a caveat where a data set names more or fewer classes than the model tells apart."""
    named = len(source.classes)
    if not source.names_classes or named == classes:
        return ()
    return (f"the data set names {named} classes, the model tells {classes} apart: their numbers may mean others",)


def _verdicts(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    attack: Attack,
    noise: SampleNoise,
    full_protocol: bool,
    surrogate: str | None,
    through: nn.Module | None,
) -> Tensor:
    """Return, per image: right when clean, right throughout, number of the attack it fell to, step it fell at + 1."""
    refuse_outside_pixels(images)
    clean = predict(model, images, labels) == labels
    verdicts = torch.zeros((4, len(labels)), dtype=torch.int64, device=labels.device)
    verdicts[:2] = clean
    standing = clean.nonzero().flatten()
    if len(standing) == 0:
        return verdicts
    right, own, noise = images[standing], labels[standing], noise.of(standing)
    if through is not None:
        found = find_through(through, model, attack, right, own, noise)
    else:
        with surrogate_gradients(surrogate):
            found = attack.find(Guarded(model, attack), right, own, generator=noise, full=full_protocol)
    # an attack's word is not taken for it
    refuse_outside(found.images, right, attack)
    fell = predict(model, found.images, labels[standing]) != labels[standing]
    by = torch.tensor([1 + attack.names.index(name) for name in found.attack], device=labels.device)
    verdicts[1, standing] = (~fell).long()
    verdicts[2, standing] = by * fell
    verdicts[3, standing] = (found.step + 1) * fell
    return verdicts
