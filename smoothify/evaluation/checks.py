"""The checks of the sanity suite. A function returns its verdict and, in one line, what it found."""

from __future__ import annotations

import importlib.util
import io
import itertools

import torch
from torch import Tensor, nn

from smoothify.attacks import PGD, AutoAttackPart, restarts
from smoothify.errors import SmoothifyError
from smoothify.evaluation.sanity import Check, Verdict
from smoothify.evaluation.subject import Subject
from smoothify.surgery import inspect

_SLACK = 2.0  # points by which two attacks of equal strength may differ
Answer = tuple[Verdict, str]
_NOTHING_TO_ATTACK: Answer = ("not applicable", "no clean image is classified right")


def _passes(good: bool) -> Verdict:
    return "pass" if good else "fail"


def inputs(subject: Subject) -> Answer:
    """Are the images in [0, 1]?"""
    low, high = float(subject.images.min()), float(subject.images.max())
    return _passes(low >= 0 and high <= 1), f"pixels in [{low:g}, {high:g}]"


def normalised_once(subject: Subject) -> Answer:
    """Does the model do better when its normalisation is undone? Then there is a second one behind it."""
    mean, std = getattr(subject.model, "mean", None), getattr(subject.model, "std", None)
    if not isinstance(mean, Tensor) or not isinstance(std, Tensor) or bool((mean == 0).all() and (std == 1).all()):
        return "not applicable", "the model has no normalisation of its own that could be undone"
    loss = [
        float(nn.functional.cross_entropy(subject.logits(images), subject.labels))
        for images in (subject.images, subject.images * std + mean)
    ]
    return _passes(loss[0] <= loss[1]), f"clean loss {loss[0]:.3g}, with the normalisation undone {loss[1]:.3g}"


def eval_mode(subject: Subject) -> Answer:
    """Does an image's answer depend on its batch, as with batch norm in training mode, or on its place there?"""
    batch = subject.images[: subject.batch_size]
    together = subject.logits(batch)
    alone = torch.cat([subject.logits(image[None]) for image in batch[:8]])
    backwards = subject.logits(batch.flip(0)).flip(0)
    largest = together.abs().max().clamp_min(1e-12)
    apart = max(float((other - together[: len(other)]).abs().max() / largest) for other in (alone, backwards))
    return _passes(
        apart < 1e-3
    ), f"logits alone, in a batch and in its reverse order differ by {apart:.1g} of the largest"


def finite(subject: Subject) -> Answer:
    """Are all logits finite?"""
    broken = int((~torch.isfinite(subject.logits(subject.images)).all(1)).sum())
    return _passes(broken == 0), f"{broken} of {len(subject.images)} images with logits that are not finite"


def deterministic(subject: Subject) -> Answer:
    """Does the model answer the same twice, and the same to one who records gradients?"""
    few = subject.images[: subject.batch_size]
    first, second = subject.logits(subject.images), subject.logits(subject.images)
    with torch.enable_grad():
        recorded = subject.model(few.clone().requires_grad_()).detach()
    largest = first.abs().max().clamp_min(1e-12)
    apart = float((first - second).abs().max() / largest)
    attacked = float((first[: len(few)] - recorded).abs().max() / largest)
    # sums in another order, as some CUDA kernels make them, are not randomness
    return _passes(apart < 1e-5 and attacked < 1e-3), (
        f"logits of two passes differ by {apart:.1g} of the largest, of one that records gradients by {attacked:.1g}"
    )


def within_epsilon(subject: Subject) -> Answer:
    """Are attacked images inside the threat model and [0, 1]?"""
    if not bool(subject.right.any()):
        return _NOTHING_TO_ATTACK
    (attacked, _), clean = subject.attacked, subject.images[subject.right]
    largest = float(subject.threat.ball.size(attacked - clean).max())
    good = largest <= subject.threat.radius * (1 + 1e-5) + 1e-6 and attacked.min() >= 0 and attacked.max() <= 1
    return _passes(bool(good)), f"largest perturbation {largest:.6g}, epsilon {subject.threat.radius:.6g}"


def moves(subject: Subject) -> Answer:
    """Does the attack change the images?"""
    if not bool(subject.right.any()):
        return _NOTHING_TO_ATTACK
    attacked, _ = subject.attacked
    moved = (attacked != subject.images[subject.right]).flatten(1).any(1)
    return _passes(bool(moved.all())), f"{int(moved.sum())} of {len(moved)} attacked images differ from the clean ones"


def remeasured(subject: Subject) -> Answer:
    """Do the saved adversarial images, read back, give the same accuracy?"""
    if not bool(subject.right.any()):
        return _NOTHING_TO_ATTACK
    attacked, fell = subject.attacked
    file = io.BytesIO()
    torch.save(attacked.cpu(), file)
    file.seek(0)
    images = torch.load(file, weights_only=True).to(subject.images.device)
    again = subject.logits(images).argmax(1) != subject.labels[subject.right]
    same = int((again == fell).sum())
    return _passes(same == len(again)), f"{same} of {len(again)} verdicts are the same from the saved images"


def larger_epsilon(subject: Subject) -> Answer:
    """Does accuracy fall with epsilon, and to below chance at a large one (paper §6)?"""
    half_range = 0.5 if subject.threat.norm == "linf" else 0.5 * subject.images[0].numel() ** 0.5
    scales = [0.5, 1.0, 2.0, 4.0, max(8.0, half_range / max(subject.threat.radius, 1e-6))]
    shares = [subject.share(subject.pgd(20, scale)) for scale in scales]
    falls = all(second <= first + _SLACK for first, second in itertools.pairwise(shares))
    chance = 100 / subject.classes
    listed = ", ".join(f"{scale:.2g}ε {share:.1f}%" for scale, share in zip(scales, shares, strict=True))
    return _passes(falls and shares[-1] < chance), f"{listed}; chance {chance:.1f}%"


def doubled_epsilon(subject: Subject) -> Answer:
    """Does twice the paper's epsilon cost more than 25 points on ImageNet, as from 4/255 to 8/255 (paper §6)?"""
    if subject.threat.norm != "linf" or abs(subject.threat.radius - 4 / 255) > 1e-6 or subject.classes != 1000:
        return "not applicable", "the paper says something of ImageNet under Linf, epsilon 4/255 only"
    once, twice = (subject.share(subject.pgd(20, scale)) for scale in (1.0, 2.0))
    found = f"{once:.1f}% at epsilon, {twice:.1f}% at twice that"
    return (
        ("not applicable", f"{found}; there are no 25 points to lose")
        if once < 25
        else (_passes(once - twice > 25), found)
    )


def converges(subject: Subject) -> Answer:
    """Do more steps and more restarts find about nothing more?"""
    attacks = [subject.pgd(20), subject.pgd(50), subject.pgd(100), restarts(subject.pgd(50), 3)]
    shares = [subject.share(attack) for attack in attacks]
    listed = ", ".join(f"{attack} {share:.1f}%" for attack, share in zip(attacks, shares, strict=True))
    return _passes(max(shares[1:]) - min(shares[1:]) <= _SLACK), listed


def stronger_with_steps(subject: Subject) -> Answer:
    """Is the measuring attack at least as strong as many steps, those as one, and that as noise?"""
    one = PGD(subject.threat, steps=1, step_size=subject.threat.radius, random_start=False)
    noise = PGD(subject.threat, steps=1, step_size=0.0)
    own, many = subject.share(subject.attack), subject.share(subject.pgd(20))
    shares = [own, many, subject.share(one), subject.share(noise)]
    good = all(first <= second + _SLACK for first, second in itertools.pairwise(shares))
    names = (str(subject.attack), "PGD-20", "one step", "noise")
    return _passes(good), ", ".join(f"{name} {share:.1f}%" for name, share in zip(names, shares, strict=True))


def white_box(subject: Subject) -> Answer:
    """Does an attack without gradients break images that the measuring attack leaves standing?"""
    if importlib.util.find_spec("pyautoattack") is None:
        return "not applicable", "needs pyautoattack; pip install 'smoothify-torch[autoattack]'"
    square = subject.stands(AutoAttackPart(subject.threat, "square", 200))
    only = 100 * float((subject.stands(subject.attack) & ~square).sum()) / len(subject.labels)
    return _passes(only <= _SLACK), f"Square with 200 queries breaks {only:.1f}% that {subject.attack} does not"


class _Rescaled(nn.Module):
    """The same answers with logits of another size: neither so large that softmax saturates nor so small."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.model(images)
        return logits * (5 / (logits.amax(1, True) - logits.amin(1, True)).clamp_min(1e-30)).detach()


def rescaled_logits(subject: Subject) -> Answer:
    """Does the attack break more when the logits are of ordinary size?"""
    own = subject.share(subject.pgd(20))
    rescaled = subject.share(subject.pgd(20), _Rescaled(subject.model))
    return _passes(own - rescaled <= _SLACK), f"PGD-20 {own:.1f}%, on logits of ordinary size {rescaled:.1f}%"


def other_loss(subject: Subject) -> Answer:
    """Does the DLR loss, which ignores the logits' size, break more than cross-entropy?"""
    if importlib.util.find_spec("pyautoattack") is None or subject.classes < 3:
        return "not applicable", "needs pyautoattack and 3 classes"
    shares = [subject.share(AutoAttackPart(subject.threat, part, 20)) for part in ("apgd-ce", "apgd-dlr")]
    return _passes(shares[0] - shares[1] <= 2 * _SLACK), f"APGD-CE {shares[0]:.1f}%, APGD-DLR {shares[1]:.1f}%"


def _loss(logits: Tensor, labels: Tensor) -> Tensor:
    return nn.functional.cross_entropy(logits, labels, reduction="none")


def zero_gradients(subject: Subject) -> Answer:
    """On how many images, clean or after noise within epsilon, is the gradient of the loss zero everywhere?"""
    clean, noisy = (
        int((subject.gradient(images, _loss) == 0).flatten(1).all(1).sum())
        for images in (subject.images, subject.noisy())
    )
    few = max(clean, noisy) <= len(subject.images) * _SLACK / 100
    return _passes(few), (
        f"{clean} of {len(subject.images)} images have a gradient of zero, {noisy} after noise within epsilon"
    )


def _own_logit(logits: Tensor, labels: Tensor) -> Tensor:
    return logits.gather(1, labels[:, None])


def finite_differences(subject: Subject) -> Answer:
    """Is the gradient the slope that a step along it meets?"""
    gradient = subject.gradient(subject.images, _own_logit)
    length = gradient.flatten(1).norm(dim=1)
    if not bool(length.median() > 0):
        return "not applicable", "most gradients are zero"
    step = 0.01 * gradient / length.clamp_min(1e-30).view(-1, 1, 1, 1)
    ahead, behind = (
        _own_logit(subject.logits(subject.images + sign * step), subject.labels).flatten() for sign in (1, -1)
    )
    slope = (ahead - behind) / 0.02
    error = float(((slope - length).abs() / length.clamp_min(1e-30)).median())
    return _passes(error < 0.1), f"median relative difference {error:.2g} from the slope over 0.02"


def smoothness(subject: Subject) -> Answer:
    """Is every activation smooth?"""
    try:
        report = inspect(getattr(subject.model, "model", subject.model), example_input=subject.images[:1])
    except SmoothifyError as error:
        return "not applicable", str(error)
    if report.smooth:
        return "pass", f"{len(report.sites)} activation sites, all smooth"
    return "not applicable", f"{len(report.remaining)} of {len(report.sites)} activation sites are not smooth"


CHECKS: tuple[Check, ...] = (
    Check("inputs in [0, 1]", inputs),
    Check("normalised once", normalised_once),
    Check("eval mode", eval_mode),
    Check("finite logits", finite),
    Check("deterministic", deterministic),
    Check("attack moves images", moves, about="attack"),
    Check("within epsilon", within_epsilon, about="attack"),
    Check("re-measured from saved images", remeasured, about="attack"),
    Check("accuracy falls with epsilon", larger_epsilon),
    Check("twice the paper's epsilon", doubled_epsilon),
    Check("steps and restarts converge", converges),
    Check("multi-step, one step, noise", stronger_with_steps, about="attack"),
    Check("white box, black box", white_box, about="attack"),
    Check("logits rescaled", rescaled_logits),
    Check("cross-entropy, DLR", other_loss),
    Check("gradients of zero", zero_gradients),
    Check("gradients, finite differences", finite_differences),
    Check("smoothness", smoothness),
)
