"""RobustBench (Croce et al., arXiv:2010.09670): the model that it measures, and the entry that its leaderboard takes.

Its package cannot be depended on (it pins versions of timm), so this follows the interface that it documents.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from torch import Tensor, nn

from smoothify.attacks import show
from smoothify.attacks.base import refuse_outside_pixels
from smoothify.errors import ConfigError, UnknownNameError
from smoothify.evaluation.results import RobustAccuracy
from smoothify.models import PixelClassifier

# What a leaderboard is about: epsilon in [0, 1] pixel units, and the images that it is measured on.
_LEADERBOARDS: Mapping[tuple[str, str], tuple[float, int]] = MappingProxyType(
    {
        ("cifar10", "linf"): (8 / 255, 10_000),
        ("cifar10", "l2"): (0.5, 10_000),
        ("cifar100", "linf"): (8 / 255, 10_000),
        ("imagenet", "linf"): (4 / 255, 5_000),
    }
)


def as_robustbench(model: nn.Module) -> nn.Module:
    """Return the module that RobustBench's ``benchmark`` and the authors' AutoAttack take.

    It takes images (batch, channels, height, width) in [0, 1], normalises inside and returns a tensor of logits (batch,
    classes) that a caller may write into, as the Square attack does. It is a copy in eval mode whose parameters ask for
    no gradient, and gradients come back contiguous, which the DLR loss of AutoAttack needs where a model computes
    channels last.

    Args:
        model: a `PixelClassifier`, or a host that describes its own normalisation.

    Raises:
        UnsupportedModelError: a host that says nothing about its normalisation.
        DataError: on use, for images outside [0, 1], NaN among them.

    >>> from smoothify.models import build
    >>> measured = as_robustbench(build("resnet10_28px", num_classes=10))
    >>> import torch
    >>> measured.training, tuple(measured(torch.rand(2, 1, 28, 28)).shape)
    (False, (2, 10))
    """
    copied = copy.deepcopy(model)
    classifier = copied if isinstance(copied, PixelClassifier) else PixelClassifier.from_host(copied)
    return _Measured(classifier).requires_grad_(False).eval()


class _Measured(nn.Module):
    def __init__(self, classifier: PixelClassifier) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, images: Tensor) -> Tensor:
        refuse_outside_pixels(images)
        # flattening makes the gradient contiguous on its way back
        logits: Tensor = self.classifier(images.flatten(1).view(images.shape))
        return logits.clone()


def leaderboard_entry(
    result: RobustAccuracy,
    *,
    dataset: str,
    name: str,
    authors: str,
    link: str,
    venue: str,
    architecture: str,
    additional_data: bool,
) -> dict[str, Any]:
    """Return the content of ``model_info/DATASET/NORM/MODEL.json``, the file that RobustBench's leaderboard takes.

    Args:
        result: of standard AutoAttack, on a data set of the leaderboard's images alone and at its epsilon.
        dataset: ``"cifar10"``, ``"cifar100"`` or ``"imagenet"``.
        name: the paper's title.
        authors: separated by commas.
        link: to the paper.
        venue: ``"ICML 2020"``; ``"N/A"`` if unpublished.
        architecture: as the leaderboard writes it, ``"WideResNet-28-10"``.
        additional_data: whether more than the data set's training images were learned from.

    Raises:
        UnknownNameError: no such leaderboard.
        ConfigError: the result is not what the leaderboard is about; the message lists every difference.

    >>> stands = (True,) * 2000 + (False,) * 3000
    >>> result = RobustAccuracy("AutoAttack", "linf", 4 / 255, None, 0, (True,) * 5000, stands)
    >>> paper = {"name": "T", "authors": "A, B", "link": "https://arxiv.org/abs/1", "venue": "N/A"}
    >>> entry = leaderboard_entry(
    ...     result, dataset="imagenet", architecture="ResNet-50", additional_data=False, **paper
    ... )
    >>> entry["eps"], entry["clean_acc"], entry["autoattack_acc"]
    ('4/255', '100.0', '40.0')
    """
    if (dataset, result.norm) not in _LEADERBOARDS:
        known = [f"{data} {norm}" for data, norm in _LEADERBOARDS]
        raise UnknownNameError("leaderboard", f"{dataset} {result.norm}", known)
    epsilon, images = _LEADERBOARDS[dataset, result.norm]
    unmet = [
        f"{what} is {found}, not {wanted}"
        for what, found, wanted in (
            ("the attack", result.attack, "AutoAttack"),
            ("epsilon", show(result.epsilon, result.norm), show(epsilon, result.norm)),
            ("the number of images", result.robust.images, images),
        )
        if found != wanted
    ]
    if result.split_images not in (None, images):  # whichever are chosen of more images are not the leaderboard's
        unmet.append(f"the images are from a split of {result.split_images}; measure the leaderboard's {images} alone")
    unmet += [f"the attack saw gradients of {result.surrogate}, not the model's"] if result.surrogate else []
    unmet += (
        []
        if result.through is None
        else [f"the images were found on {result.through or 'another model'}, not on the model"]
    )
    unmet += list(result.caveats)  # an entry has no place for a warning
    if unmet:
        raise ConfigError(f"no entry for the {dataset} {result.norm} leaderboard: {'; '.join(unmet)}")
    return {
        "link": link,
        "name": name,
        "authors": authors,
        "additional_data": additional_data,
        "number_forward_passes": 1,
        "dataset": dataset,
        "venue": venue,
        "architecture": architecture,
        "eps": show(epsilon, result.norm),
        "clean_acc": str(round(100 * result.clean.value, 2)),
        "reported": str(round(100 * result.robust.value, 2)),
        "autoattack_acc": str(round(100 * result.robust.value, 2)),
        "unreliable": False,
    }
