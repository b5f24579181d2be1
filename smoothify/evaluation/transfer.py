"""Transfer attacks: images are found on one model and judged by another.

A model whose own gradients mislead an attack can still fall to what fools a model like it. So reviewers ask for an
attack through one, at best its undefended twin (Papernot et al., arXiv:1605.07277; Carlini et al., arXiv:1902.06705).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from smoothify.attacks import Attack, Ensemble, Found, Randomness, inference_mode_of
from smoothify.attacks.ensemble import Restart
from smoothify.attacks.gradients import Guarded
from smoothify.attacks.noise import narrow
from smoothify.data import Images
from smoothify.errors import ConfigError, UnsupportedModelError
from smoothify.evaluation.checksum import checksum
from smoothify.evaluation.logits import device_of, logits_of, predict, refuse_other_precision
from smoothify.evaluation.precision import full_precision


def find_through(
    source: nn.Module, model: nn.Module, attack: Attack, images: Tensor, labels: Tensor, generator: Randomness
) -> Found:
    """Attack one model, every step on every image, and look whether another one is wrong where the last step leads.

    What fools the source early is no reason to stop: the measured model may need more. Nor is an image done with that
    fell there, so an ensemble's next member and the next restart go on with what stands on the measured model.

    Args:
        source: the images are found on it.
        model: it judges them, and classifies the clean ones right.
        attack: the adversary, which `refuse_source` has let pass.
        images: (batch, channels, height, width), in [0, 1].
        labels: (batch,), whole numbers.
        generator: where random numbers come from.
    """
    result, fell = images.clone(), torch.zeros_like(labels, dtype=torch.bool)
    by = [""] * len(labels)
    standing = torch.arange(len(labels), device=labels.device)
    for one, name in _single(attack):
        attacked = one.perturb(Guarded(source, one), images[standing], labels[standing], generator=generator)
        falls = predict(model, attacked) != labels[standing]
        result[standing], fell[standing] = attacked, falls
        for position in standing.tolist():
            by[position] = name
        left = (~falls).nonzero().flatten()
        standing, generator = standing[left], narrow(generator, left)
        if len(standing) == 0:
            break
    return Found(result, fell, torch.full_like(labels, -1), tuple(by))


def refuse_source(
    source: nn.Module, model: nn.Module, images: Images, attacks: Sequence[Attack], *, surrogate: str | None = None
) -> None:
    """Refuse what cannot be a transfer attack, before it has begun.

    Args:
        source: the model that the images are to be found on.
        model: the measured one.
        images: what is measured on.
        attacks: the adversaries.
        surrogate: as `robust_accuracy` takes it.

    Raises:
        ConfigError: the measured model itself or one with its weights, a surrogate besides, or an attack that keeps no
            attempts.
        UnsupportedModelError: a source on another device, not in float32, with other classes or for other images.
    """
    if source is model:
        raise ConfigError("through: it is the measured model itself; leave it out, and the attack is a white-box one")
    if surrogate is not None:
        raise ConfigError(
            f"surrogate={surrogate} and through: an attack follows another derivative or another model; leave one out"
        )
    for attack in attacks:
        for one, _ in _single(attack):
            if not one.keeps_attempts:
                raise ConfigError(
                    f"{attack} through another model: {one} gives back clean images where it does not succeed there, "
                    "and stops where it does; use pgd-K or pgd-KxRESTARTS"
                )
    refuse_other_precision(source, "through: ")
    if device_of(source) != (device := device_of(model)):
        raise UnsupportedModelError(f"through: it is on {device_of(source)}, the measured model on {device}; move it")
    image = images.batch([0])[0].to(device)
    with full_precision(device), inference_mode_of(source), inference_mode_of(model):
        measured = logits_of(model, image).shape[1]
        try:
            classes = logits_of(source, image).shape[1]
        except RuntimeError as error:  # how a layer says that an image is of another size
            raise UnsupportedModelError(
                f"through: it does not take images of shape {tuple(image.shape[1:])}, which are measured on ({error}); "
                "give a model that takes the same images"
            ) from error
    if classes != measured:
        raise UnsupportedModelError(
            f"through: it has {classes} classes, the measured model {measured}; give one of the same classes"
        )
    if checksum(source) == checksum(model):
        raise ConfigError(
            "through: it has the measured model's own weights; give another model, or leave it out, and the attack is "
            "a white-box one"
        )


def _single(attack: Attack) -> Iterator[tuple[Attack, str]]:
    """Yield the attacks that an attack is made of, in their order, and by what of its names what falls to each goes.

    A restart of an ensemble is taken apart as well: as a whole it would stop at what fools the source.
    """
    if isinstance(attack, Ensemble):
        for member in attack.members:
            yield from _single(member)
    elif isinstance(attack, Restart):
        for one, _ in _single(attack.attack):
            yield Restart(attack.threat, one, attack.number), str(attack)
    else:
        yield attack, str(attack)
