"""Images in, tensors in [0, 1] out."""

from smoothify.data.images import Augmentation, Images, hold_out, labels_of
from smoothify.data.sources import SAMPLE, Source, load

__all__ = ["SAMPLE", "Augmentation", "Images", "Source", "hold_out", "labels_of", "load"]
