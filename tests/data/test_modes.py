"""Every mode that image files come in: the right 8-bit pixel, or one line that says what is wrong."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from smoothify.data import Images, Source
from smoothify.data.modes import to_mode
from smoothify.errors import DataError


def stored(image: Image.Image, file_format: str = "PNG", **options: Any) -> Image.Image:
    """The image as it comes back from a file."""
    buffer = io.BytesIO()
    image.save(buffer, format=file_format, **options)
    return Image.open(io.BytesIO(buffer.getvalue()))


def filled(value: float, kind: type) -> Image.Image:
    return Image.fromarray(np.full((2, 2), value, kind))


def palette() -> Image.Image:
    return Image.new("RGB", (2, 2), (10, 200, 30)).convert("P", palette=Image.Palette.ADAPTIVE)


@pytest.mark.parametrize(
    ("image", "grey", "colour"),
    [
        (stored(Image.new("L", (2, 2), 100)), 100, (100, 100, 100)),
        (stored(Image.new("1", (2, 2), 1)), 255, (255, 255, 255)),
        (stored(Image.new("LA", (2, 2), (100, 128))), 100, (100, 100, 100)),
        (stored(filled(32896, np.uint16)), 128, (128, 128, 128)),
        (stored(filled(65535, np.uint16), "TIFF"), 255, (255, 255, 255)),
        (stored(filled(128, np.uint16)), 0, (0, 0, 0)),
        (stored(Image.new("RGBA", (2, 2), (255, 10, 0, 0))), None, (255, 10, 0)),
        (stored(Image.new("CMYK", (2, 2), (0, 255, 255, 0)), "TIFF"), None, (255, 0, 0)),
        (stored(Image.new("RGB", (2, 2), (100, 100, 100))), 100, (100, 100, 100)),
        (stored(Image.new("RGB", (16, 16), (77, 77, 77)), "JPEG"), 77, (77, 77, 77)),
        (stored(Image.new("RGBA", (2, 2), (100, 100, 100, 3))), 100, (100, 100, 100)),
        (stored(Image.new("RGB", (2, 2), (100, 100, 101))), None, (100, 100, 101)),
        (stored(palette()), None, (10, 200, 30)),
        (stored(palette(), transparency=b"\x80\x00"), None, (10, 200, 30)),
    ],
    ids=[
        "L",
        "1",
        "LA",
        "16 bits",
        "16 bits TIFF",
        "16 bits dark",
        "RGBA",
        "CMYK",
        "RGB all grey",
        "JPEG all grey",
        "RGBA all grey",
        "RGB nearly grey",
        "P",
        "P transparent",
    ],
)
def test_mode(image: Image.Image, grey: int | None, colour: tuple[int, int, int]) -> None:
    assert to_mode(image, 3).getpixel((0, 0)) == colour
    if grey is None:
        with pytest.raises(ValueError, match=r"one grey channel; choose a model that takes RGB, such as model\.name="):
            to_mode(image, 1)
    else:
        assert to_mode(image, 1).getpixel((0, 0)) == grey


@pytest.mark.parametrize("value", [0.5, float("nan")])
def test_pixels_without_a_known_range_are_refused_by_row(value: float) -> None:
    import datasets

    buffer = io.BytesIO()
    filled(value, np.float32).save(buffer, format="TIFF")
    rows = datasets.Dataset.from_dict({"image": [{"bytes": buffer.getvalue(), "path": None}], "label": [0]})
    rows = rows.cast_column("image", datasets.Image())
    with pytest.raises(DataError, match=r"'mine', split 'train', row 0: an image of mode 'F', 32 bits"):
        Images(Source("mine", "train", rows, "image", "label", ("only",)), input_size=(3, 2, 2))


def test_a_truncated_jpeg_is_named_by_row() -> None:
    import datasets

    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(buffer, format="JPEG")
    rows = datasets.Dataset.from_dict({"image": [{"bytes": buffer.getvalue()[:900], "path": None}], "label": [0]})
    rows = rows.cast_column("image", datasets.Image())
    with pytest.raises(DataError, match="row 0"):
        Images(Source("mine", "train", rows, "image", "label", ("only",)), input_size=(3, 8, 8))
