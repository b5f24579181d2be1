"""From a picture of any size to the model's input: resizing for measurement, random crops and policies for training."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

import torch
from torch import Tensor, nn

from smoothify.errors import ConfigError, UnknownNameError

if TYPE_CHECKING:
    from PIL.Image import Image

Augmentation = Literal["none", "flip", "crop", "imagenet"]
"""How training images are augmented."""
CropMode = Literal["center", "squash", "border"]
"""How a picture that is not square is fitted to a square input."""
Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]
"""By which pictures are resized."""

# What timm reads; it passes over a section that it cannot read, and the run is another than was asked for.
_NUMBER = r"\d+(?:\.\d+)?"
_POLICY = re.compile(
    rf"(?:v0r?|originalr?|3a)(?:-mstd{_NUMBER})?"
    rf"|rand(?:-(?:m\d+|n\d+|p{_NUMBER}|mstd(?:{_NUMBER}|inf)|mmax\d+|inc[01]|t(?:weights|3aw|3a)))*"
    rf"|augmix(?:-(?:m\d+|w\d+|d\d+|a{_NUMBER}|b[01]|mstd{_NUMBER}))*"
)


@dataclass(frozen=True)
class Resizing:
    """How a whole picture becomes the model's input where nothing is random, in timm's terms.

    Args:
        crop_pct: share of the resized picture's side that is kept, in (0, 1].
        crop_mode: "center" crops the middle; "squash" gives up the aspect ratio first; "border" pads to a square first.
        interpolation: "bilinear", "bicubic", "lanczos" or "nearest".

    Raises:
        UnknownNameError: an unknown mode or interpolation.
        ConfigError: a share outside (0, 1].

    >>> Resizing(crop_pct=95)
    Traceback (most recent call last):
    smoothify.errors.ConfigError: crop_pct=95: it must be a number in (0, 1]
    """

    crop_pct: float = 0.875
    crop_mode: CropMode = "center"
    interpolation: Interpolation = "bilinear"

    def __post_init__(self) -> None:
        for kind, name, known in (
            ("crop mode", self.crop_mode, get_args(CropMode)),
            ("interpolation", self.interpolation, get_args(Interpolation)),
        ):
            if name not in known:
                raise UnknownNameError(kind, str(name), known)
        if not isinstance(self.crop_pct, int | float) or not 0 < self.crop_pct <= 1:
            raise ConfigError(f"crop_pct={self.crop_pct!r}: it must be a number in (0, 1]")

    @classmethod
    def from_host(cls, model: nn.Module) -> Self:
        """Take over what a host says of itself (timm's ``pretrained_cfg``); what it does not say stays as above.

        >>> from smoothify.models import build
        >>> Resizing.from_host(build("timm/test_vit"))
        Resizing(crop_pct=0.95, crop_mode='center', interpolation='bicubic')
        """
        described = getattr(model, "pretrained_cfg", None) or {}
        return cls(**{name: described[name] for name in cls.__dataclass_fields__ if described.get(name)})


def refuse_unknown_policy(spec: str) -> None:
    """Refuse what timm does not read as a policy of augmentation, or reads only in part.

    Raises:
        ConfigError: the message shows what can be read.

    >>> refuse_unknown_policy("rand-m9-mstd0.5-inc1")
    """
    if _POLICY.fullmatch(spec) is None:
        raise ConfigError(
            f"data.auto_augment={spec!r} is no policy of timm; write for example 'v0', 'original-mstd0.5', "
            "'rand-m9-mstd0.5' or 'augmix-m3-w3'"
        )


@functools.lru_cache(maxsize=8)
def measuring(input_size: tuple[int, int, int], resizing: Resizing) -> Callable[[Image], Tensor]:
    """Return what makes bytes (channels, height, width) of a picture, the same every time.

    A picture that has the input's size already is not touched.
    """
    from timm.data import create_transform

    fit = _of_pictures(create_transform(input_size, separate=False, **vars(resizing)))
    return lambda image: _bytes(image if image.size == (input_size[2], input_size[1]) else fit(image))


@functools.lru_cache(maxsize=8)
def training(input_size: tuple[int, int, int], policy: str | None) -> Callable[[Image], Tensor]:
    """Return what makes bytes (channels, height, width) of a random crop, changed as an automatic policy says."""
    from timm.data import IMAGENET_DEFAULT_MEAN, create_transform

    transform = create_transform(
        input_size,
        is_training=True,
        hflip=0.0,
        color_jitter=None,
        auto_augment=policy,
        mean=IMAGENET_DEFAULT_MEAN[: input_size[0]],  # what policies fill edges with
    )
    for operation in _operations(transform.transforms):
        if operation.name.startswith("Posterize"):
            operation.aug_fn = _posterize
    crop = _of_pictures(transform)
    return lambda image: _bytes(crop(image))


def augment(image: Tensor, augmentation: Augmentation) -> Tensor:
    """Return an image (channels, height, width) shifted and flipped at random, as the augmentation's name says."""
    if augmentation == "none":
        return image
    if augmentation == "crop":
        _, height, width = image.shape
        pad = max(1, height // 8)
        top, left = torch.randint(0, 2 * pad + 1, (2,)).tolist()
        image = torch.nn.functional.pad(image, (pad, pad, pad, pad))[:, top : top + height, left : left + width]
    return image.flip(-1) if torch.rand(()) < 0.5 else image


def _of_pictures(transform: Any) -> Callable[[Image], Image]:
    """Leave out the steps that make tensors and normalise."""
    steps = [step for step in transform.transforms if type(step).__name__ not in _TENSOR_STEPS]

    def apply(image: Image) -> Image:
        for step in steps:
            image = step(image)
        return image

    return apply


_TENSOR_STEPS = ("MaybeToTensor", "ToTensor", "Normalize")


def _bytes(image: Image) -> Tensor:
    from torchvision.transforms.functional import pil_to_tensor

    tensor: Tensor = pil_to_tensor(image)
    return tensor


def _operations(steps: list[Any]) -> Iterator[Any]:
    """Yield the operations of timm's policies among some steps."""
    for step in steps:
        yield from getattr(step, "ops", ())
        for sub_policy in getattr(step, "policy", ()):
            yield from sub_policy


def _posterize(image: Image, bits: int, **_: object) -> Image:
    """Keep so many bits of each channel. timm's policies ask for none at times, which Pillow has come to refuse."""
    from PIL import Image as Pillow
    from PIL import ImageOps

    if bits < 1:
        return Pillow.new(image.mode, image.size)
    return image if bits >= 8 else ImageOps.posterize(image, bits)
