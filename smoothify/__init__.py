"""Make every activation of a vision model smooth, train it adversarially, measure it, publish it."""

from smoothify.activations import anneal_
from smoothify.errors import SmoothifyError
from smoothify.evaluation import as_robustbench
from smoothify.hub import from_pretrained, push_to_hub, save_pretrained
from smoothify.models import PixelClassifier
from smoothify.surgery import (
    Report,
    Rule,
    Site,
    convert,
    convert_,
    find_kink,
    inspect,
    recalibrate_batch_norm_,
    register_rule,
)

__version__ = "0.1.0"

__all__ = [
    "PixelClassifier",
    "Report",
    "Rule",
    "Site",
    "SmoothifyError",
    "anneal_",
    "as_robustbench",
    "convert",
    "convert_",
    "find_kink",
    "from_pretrained",
    "inspect",
    "push_to_hub",
    "recalibrate_batch_norm_",
    "register_rule",
    "save_pretrained",
]
