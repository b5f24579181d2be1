"""Images of any mode as the 8-bit grey or RGB that a model takes; what has no one meaning there is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

MODES = {1: "L", 3: "RGB"}
"""Pillow's name for images of one channel and of three."""
_GREY = ("1", "L", "LA")


class ModeError(ValueError):
    """An image that the model does not take as it is; the message says what to do."""


def to_mode(image: Image, channels: int) -> Image:
    """Return the image with 8 bits a channel: grey for 1 channel, RGB for 3.

    16-bit grey is scaled (Pillow's own ``convert`` clips it, so that half brightness becomes white); palettes and CMYK
    become RGB, RGB whose three channels are equal becomes grey, losing nothing; transparency is dropped, and the
    colour beneath it stays.

    Raises:
        ModeError: colour for a model that takes grey; 32-bit pixels, whose range no file states and which can be NaN.

    >>> from PIL import Image
    >>> to_mode(Image.new("I;16", (1, 1), 32896), 1).getpixel((0, 0))
    128
    """
    if image.mode in ("F", "I"):
        raise ModeError(f"an image of mode {image.mode!r}, 32 bits a pixel in no known range; store it in 8 or 16 bits")
    if image.mode.startswith("I;16"):
        image = _from_16_bits(image)
    if channels == 1 and image.mode not in _GREY:
        return _without_colour(image)
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image if image.mode == MODES[channels] else image.convert(MODES[channels])


def _without_colour(image: Image) -> Image:
    from PIL import ImageChops

    red, green, blue = image.convert("RGBA").split()[:3]
    if ImageChops.difference(red, green).getbbox() or ImageChops.difference(red, blue).getbbox():
        raise ModeError(
            f"an image of mode {image.mode!r}, but the model takes one grey channel; choose a model that takes RGB, "
            "such as model.name=resnet18_cifar, or store the images in grey"
        )
    return red


def _from_16_bits(image: Image) -> Image:
    import numpy as np
    from PIL import Image as Pillow

    pixels = np.asarray(image).astype(np.uint32)
    return Pillow.fromarray(((pixels + 128) // 257).astype(np.uint8))
