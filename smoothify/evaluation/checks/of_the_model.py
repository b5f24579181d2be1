"""Checks of the model: whether it answers as a classifier should, and with gradients that tell what it does."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from smoothify.errors import SmoothifyError
from smoothify.evaluation.checks.check import Answer, passes
from smoothify.evaluation.subject import Subject
from smoothify.surgery import inspect

_STEP = 0.01  # of finite differences, in [0, 1] pixel units under L2


def inputs(subject: Subject) -> Answer:
    """Are the images in [0, 1]?"""
    low, high = float(subject.images.min()), float(subject.images.max())
    return passes(low >= 0 and high <= 1), f"pixels in [{low:g}, {high:g}]"


def normalised_once(subject: Subject) -> Answer:
    """Does the model do better when its normalisation is undone? Then there is a second one behind it."""
    mean, std = getattr(subject.model, "mean", None), getattr(subject.model, "std", None)
    if not isinstance(mean, Tensor) or not isinstance(std, Tensor) or bool((mean == 0).all() and (std == 1).all()):
        return "not applicable", "the model has no normalisation of its own that could be undone"
    loss = [
        float(nn.functional.cross_entropy(subject.logits(images), subject.labels))
        for images in (subject.images, subject.images * std + mean)
    ]
    return passes(loss[0] <= loss[1]), f"clean loss {loss[0]:.3g}, with the normalisation undone {loss[1]:.3g}"


def eval_mode(subject: Subject) -> Answer:
    """Does an image's answer depend on its batch, as with batch norm in training mode, or on its place there?"""
    batch = subject.images[: subject.batch_size]
    together = subject.logits(batch)
    alone = torch.cat([subject.logits(image[None]) for image in batch[:8]])
    backwards = subject.logits(batch.flip(0)).flip(0)
    largest = together.abs().max().clamp_min(1e-12)
    apart = max(float((other - together[: len(other)]).abs().max() / largest) for other in (alone, backwards))
    return passes(
        apart < 1e-3
    ), f"logits alone, in a batch and in its reverse order differ by {apart:.1g} of the largest"


def finite(subject: Subject) -> Answer:
    """Are all logits finite?"""
    broken = int((~torch.isfinite(subject.logits(subject.images)).all(1)).sum())
    return passes(broken == 0), f"{broken} of {len(subject.images)} images with logits that are not finite"


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
    return passes(apart < 1e-5 and attacked < 1e-3), (
        f"logits of two passes differ by {apart:.1g} of the largest, of one that records gradients by {attacked:.1g}"
    )


def _loss(logits: Tensor, labels: Tensor) -> Tensor:
    return nn.functional.cross_entropy(logits, labels, reduction="none")


def _leads_nowhere(gradient: Tensor) -> Tensor:
    """Say of each image whether its gradient is zero everywhere, or NaN or infinite anywhere."""
    flat = gradient.flatten(1)
    return (flat == 0).all(1) | ~flat.isfinite().all(1)


def zero_gradients(subject: Subject) -> Answer:
    """On how many images, clean or after noise within epsilon, is the gradient of the loss zero, or not finite?"""
    clean, noisy = (
        int(_leads_nowhere(subject.gradient(images, _loss)).sum()) for images in (subject.images, subject.noisy())
    )
    most = max(clean, noisy)
    few = most < len(subject.images) and 100 * most <= subject.slack * len(subject.images)
    return passes(few), (
        f"{clean} of {len(subject.images)} images have a gradient of zero, or one that is not finite, "
        f"{noisy} after noise within epsilon"
    )


def _own_logit(logits: Tensor, labels: Tensor) -> Tensor:
    return logits.gather(1, labels[:, None])


def finite_differences(subject: Subject) -> Answer:
    """Is the gradient the slope that a step along it meets?"""
    if not bool(subject.gradient(subject.images, _own_logit).isfinite().all()):
        return "fail", "some gradients are NaN or infinite"
    # a step is _STEP long, so that no pixel moves further: both its ends are images then, which a model may insist on
    images = subject.images.clamp(1.1 * _STEP, 1 - 1.1 * _STEP)
    gradient = subject.gradient(images, _own_logit)
    length = gradient.flatten(1).norm(dim=1)
    if not bool(length.isfinite().all()):
        return "fail", "some gradients are NaN or infinite"
    if not bool(length.median() > 0):
        return "not applicable", "most gradients are zero"
    step = _STEP * gradient / length.clamp_min(1e-30).view(-1, 1, 1, 1)
    ahead, behind = (_own_logit(subject.logits(images + sign * step), subject.labels).flatten() for sign in (1, -1))
    slope = (ahead - behind) / (2 * _STEP)
    error = float(((slope - length).abs() / length.clamp_min(1e-30)).median())
    return passes(error < 0.1), f"median relative difference {error:.2g} from the slope over {2 * _STEP:g}"


def smoothness(subject: Subject) -> Answer:
    """Is every activation smooth?"""
    try:
        report = inspect(getattr(subject.model, "model", subject.model), example_input=subject.images[:2])
    except SmoothifyError as error:
        return "not applicable", str(error)
    if report.smooth:
        return "pass", f"{len(report.sites)} activation sites, all smooth"
    return "not applicable", f"{len(report.remaining)} of {len(report.sites)} activation sites are not smooth"
