"""What cannot be measured, and what an attack may not return."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from smoothify.attacks import Attack, inference_mode_of
from smoothify.data import Images
from smoothify.errors import ConfigError
from smoothify.evaluation.logits import device_of, logits_of, refuse_labels, refuse_one_logit, refuse_other_precision
from smoothify.evaluation.precision import full_precision


def refuse_impossible(model: nn.Module, images: Images, attacks: Sequence[Attack]) -> int:
    """Refuse what cannot be measured, before the first attack has begun; return how many classes the model has.

    Raises:
        ConfigError: an attack that leaves its threat model, needs more classes than the model has, or does not take
            images of this shape; augmented images.
        DataError: a label that the model has no class for.
        UnsupportedModelError: an output that is not (batch, classes), a single logit, or parameters that are not
            float32.
    """
    for attack in attacks:
        if not isinstance(attack, Attack):
            raise ConfigError(
                f"attack={attack!r} is no attack; build it with smoothify.attacks.attack({attack!r}, threat)"
            )
    if images.augmentation != "none":
        raise ConfigError(
            f"augmentation={images.augmentation!r}: every reading of these images is another one; measure on Images "
            "without augmentation"
        )
    refuse_other_precision(model)
    device = device_of(model)
    image = images.batch([0])[0].to(device)
    with full_precision(device), inference_mode_of(model):
        classes = logits_of(model, image).shape[1]
    refuse_one_logit(classes)
    for attack in attacks:
        refuse_as_measure(attack, classes)
        attack.require_shape(image.shape[1:])
    refuse_labels(images.labels, classes)
    return classes


def refuse_as_measure(attack: Attack, classes: int) -> None:
    """Refuse an attack that cannot measure a model of so many classes.

    Raises:
        ConfigError: it leaves its threat model, or needs more classes.
    """
    if attack.reach > attack.threat.radius:
        raise ConfigError(f"{attack} leaves its threat model ({attack.threat}): it trains, but measures nothing")
    if attack.batch_norm != "eval":
        raise ConfigError(
            f"{attack} with batch_norm={attack.batch_norm!r} attacks a model that depends on the batch, and another is "
            "measured: it trains, but measures nothing"
        )
    attack.require(classes)


def refuse_outside(found: Tensor, images: Tensor, attack: Attack) -> None:
    """Refuse attacked images that are none, or that the threat model does not allow, but for rounding."""
    sizes = attack.threat.ball.size(found - images)
    inside = found.numel() == 0 or bool(
        ((found >= 0) & (found <= 1)).all() & (sizes <= attack.threat.radius * (1 + 1e-4) + 1e-6).all()
    )  # NaN fails every comparison
    if not inside:
        raise ConfigError(
            f"{attack} returned images outside {attack.threat}, or [0, 1]; return what its constrain() makes of them"
        )
