"""Images in, tensors in [0, 1] out."""

from smoothify.data.images import Images, hold_out, labels_of
from smoothify.data.modes import MODES
from smoothify.data.sources import SAMPLE, Source, load
from smoothify.data.transforms import Augmentation, CropMode, Interpolation, Resizing, refuse_unknown_policy

__all__ = [
    "MODES",
    "SAMPLE",
    "Augmentation",
    "CropMode",
    "Images",
    "Interpolation",
    "Resizing",
    "Source",
    "hold_out",
    "labels_of",
    "load",
    "refuse_unknown_policy",
]
