"""Images in, tensors in [0, 1] out."""

from smoothify.data.fashion_mnist import NAME as FASHION_MNIST
from smoothify.data.images import Images, labels_of
from smoothify.data.modes import MODES
from smoothify.data.rows import hold_out, name_rows, representative
from smoothify.data.sources import SAMPLE, Source, load
from smoothify.data.streams import Row, Stream, StreamedImages, open_stream
from smoothify.data.tensors import TensorImages, as_images
from smoothify.data.transforms import Augmentation, CropMode, Interpolation, Resizing, refuse_unknown_policy

__all__ = [
    "FASHION_MNIST",
    "MODES",
    "SAMPLE",
    "Augmentation",
    "CropMode",
    "Images",
    "Interpolation",
    "Resizing",
    "Row",
    "Source",
    "Stream",
    "StreamedImages",
    "TensorImages",
    "as_images",
    "hold_out",
    "labels_of",
    "load",
    "name_rows",
    "open_stream",
    "refuse_unknown_policy",
    "representative",
]
