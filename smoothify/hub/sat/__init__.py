"""The checkpoints that the paper's authors released, read without TensorFlow and turned into timm models."""

from smoothify.hub.sat.checkpoint import Checkpoint
from smoothify.hub.sat.importer import ACTIVATIONS, MODELS, Imported, import_sat

__all__ = ["ACTIVATIONS", "MODELS", "Checkpoint", "Imported", "import_sat"]
