"""Checks of the attack: whether it does what it says, and whether another one finds more."""

from __future__ import annotations

import functools
import importlib.util
import io
import itertools
from collections.abc import Callable

import torch
from torch import Tensor, nn

from smoothify.attacks import PGD, AutoAttackPart, restarts
from smoothify.errors import ConfigError
from smoothify.evaluation.checks.check import NOTHING_TO_ATTACK, Answer, passes
from smoothify.evaluation.subject import Subject


def _of_right_images(ask: Callable[[Subject], Answer]) -> Callable[[Subject], Answer]:
    """Have a question answered only where there is a clean image that is classified right."""

    @functools.wraps(ask)
    def asked(subject: Subject) -> Answer:
        return ask(subject) if bool(subject.right.any()) else NOTHING_TO_ATTACK

    return asked


@_of_right_images
def within_epsilon(subject: Subject) -> Answer:
    """Are attacked images inside the threat model and [0, 1]?"""
    attacked, clean = subject.attacked.images, subject.images[subject.right]
    largest = float(subject.threat.ball.size(attacked - clean).max())
    good = largest <= subject.threat.radius * (1 + 1e-5) + 1e-6 and attacked.min() >= 0 and attacked.max() <= 1
    return passes(bool(good)), f"largest perturbation {largest:.6g}, epsilon {subject.threat.radius:.6g}"


@_of_right_images
def moves(subject: Subject) -> Answer:
    """Does the attack change the images, all of them or, if it gives back only what succeeded, those that fell?"""
    attacked = subject.attacked
    moved = (attacked.images != subject.images[subject.right]).flatten(1).any(1)
    which = "attacked"
    if not subject.attack.keeps_attempts:
        if not bool(attacked.fell.any()):
            return "not applicable", f"{subject.attack} gives back clean images where it does not succeed: everywhere"
        moved, which = moved[attacked.fell], "fallen"
    return passes(bool(moved.all())), f"{int(moved.sum())} of {len(moved)} {which} images differ from the clean ones"


@_of_right_images
def remeasured(subject: Subject) -> Answer:
    """Do the saved adversarial images, read back, give the same accuracy?"""
    file = io.BytesIO()
    torch.save(subject.attacked.images.cpu(), file)
    file.seek(0)
    images = torch.load(file, weights_only=True).to(subject.images.device)
    again = subject.logits(images).argmax(1) != subject.labels[subject.right]
    same = int((again == subject.attacked.fell).sum())
    return passes(same == len(again)), f"{same} of {len(again)} verdicts are the same from the saved images"


@_of_right_images
def larger_epsilon(subject: Subject) -> Answer:
    """Does accuracy fall with epsilon, and to below chance at a large one (paper §6)?"""
    half_range = 0.5 if subject.threat.norm == "linf" else 0.5 * subject.images[0].numel() ** 0.5
    scales = [0.5, 1.0, 2.0, 4.0, max(8.0, half_range / max(subject.threat.radius, 1e-6))]
    shares = [subject.share(subject.pgd(20, scale)) for scale in scales]
    falls = all(second <= first + subject.slack for first, second in itertools.pairwise(shares))
    chance = 100 / subject.classes
    listed = ", ".join(f"{scale:.2g}ε {share:.1f}%" for scale, share in zip(scales, shares, strict=True))
    return passes(falls and shares[-1] < chance), f"{listed}; chance {chance:.1f}%"


@_of_right_images
def doubled_epsilon(subject: Subject) -> Answer:
    """Does twice the paper's epsilon cost more than 25 points on ImageNet, as from 4/255 to 8/255 (paper §6)?"""
    if subject.threat.norm != "linf" or abs(subject.threat.radius - 4 / 255) > 1e-6 or subject.classes != 1000:
        return "not applicable", "the paper says something of ImageNet under Linf, epsilon 4/255 only"
    once, twice = (subject.share(subject.pgd(20, scale)) for scale in (1.0, 2.0))
    found = f"{once:.1f}% at epsilon, {twice:.1f}% at twice that"
    return (
        ("not applicable", f"{found}; there are no 25 points to lose")
        if once < 25
        else (passes(once - twice > 25), found)
    )


@_of_right_images
def converges(subject: Subject) -> Answer:
    """Do more steps and more restarts find about nothing more?"""
    attacks = [subject.pgd(20), subject.pgd(50), subject.pgd(100), restarts(subject.pgd(50), 3)]
    shares = [subject.share(attack) for attack in attacks]
    listed = ", ".join(f"{attack} {share:.1f}%" for attack, share in zip(attacks, shares, strict=True))
    return passes(max(shares[1:]) - min(shares[1:]) <= subject.slack), listed


@_of_right_images
def stronger_with_steps(subject: Subject) -> Answer:
    """Is the measuring attack at least as strong as many steps, those as one, and that as noise?"""
    one = PGD(subject.threat, steps=1, step_size=subject.threat.radius, random_start=False)
    noise = PGD(subject.threat, steps=1, step_size=0.0)
    own, many = subject.share(subject.attack), subject.share(subject.pgd(20))
    shares = [own, many, subject.share(one), subject.share(noise)]
    good = all(first <= second + subject.slack for first, second in itertools.pairwise(shares))
    names = (str(subject.attack), "PGD-20", "one step", "noise")
    return passes(good), ", ".join(f"{name} {share:.1f}%" for name, share in zip(names, shares, strict=True))


@_of_right_images
def white_box(subject: Subject) -> Answer:
    """Does an attack without gradients break images that the measuring attack leaves standing?"""
    if importlib.util.find_spec("pyautoattack") is None:
        return "not applicable", "needs pyautoattack; pip install pyautoattack"
    square = AutoAttackPart(subject.threat, "square", 200)
    try:
        square.require_shape(subject.images.shape[1:])
    except ConfigError as error:
        return "not applicable", str(error)
    only = 100 * float((subject.stands(subject.attack) & ~subject.stands(square)).sum()) / len(subject.labels)
    return passes(only <= subject.slack), f"Square with 200 queries breaks {only:.1f}% that {subject.attack} does not"


class _Rescaled(nn.Module):
    """The same answers with logits of another size: neither so large that softmax saturates nor so small."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.model(images)
        return logits * (5 / (logits.amax(1, True) - logits.amin(1, True)).clamp_min(1e-30)).detach()


@_of_right_images
def rescaled_logits(subject: Subject) -> Answer:
    """Does the attack break more when the logits are of ordinary size?"""
    own = subject.share(subject.pgd(20))
    rescaled = subject.share(subject.pgd(20), _Rescaled(subject.model))
    return passes(own - rescaled <= subject.slack), f"PGD-20 {own:.1f}%, on logits of ordinary size {rescaled:.1f}%"


@_of_right_images
def other_loss(subject: Subject) -> Answer:
    """Does the DLR loss, which ignores the logits' size, break more than cross-entropy?

    Twice the usual slack, since these are two losses and not two runs of one.
    """
    if importlib.util.find_spec("pyautoattack") is None or subject.classes < 3:
        return "not applicable", "needs pyautoattack and 3 classes"
    shares = [subject.share(AutoAttackPart(subject.threat, part, 20)) for part in ("apgd-ce", "apgd-dlr")]
    return passes(shares[0] - shares[1] <= 2 * subject.slack), f"APGD-CE {shares[0]:.1f}%, APGD-DLR {shares[1]:.1f}%"
