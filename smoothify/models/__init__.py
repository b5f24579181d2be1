"""Host models by name, and the wrapper that feeds them pixels."""

from smoothify.models.load import build
from smoothify.models.pixel import PixelClassifier, input_size
from smoothify.models.presets import PRESETS, Preset

__all__ = ["PRESETS", "PixelClassifier", "Preset", "build", "input_size"]
