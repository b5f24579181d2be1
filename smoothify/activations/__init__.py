"""What a smooth activation is: the catalogue, the functions, the modules.

``names()`` lists them, ``create("celu(alpha=1.4)")`` builds one, ``describe(module)`` reads one back.
"""

from smoothify.activations.catalogue import (
    Activation,
    create,
    describe,
    get,
    is_smooth,
    learned_parameters,
    names,
    parse,
    register_activation,
    smoothness,
)
from smoothify.activations.entries import ENTRIES as _ENTRIES  # noqa: F401 (fills the catalogue)
from smoothify.activations.learned import Hermite, PSSiLU, SmoothReLU
from smoothify.activations.modules import (
    Logish,
    Mish,
    ParametricSoftplus,
    QuickGELU,
    Serf,
    SmeLU,
    Squareplus,
    Swish,
    TanhExp,
    TanhSoft1,
    TanhSoft2,
    TanhSoft3,
)
from smoothify.activations.paths import kernel_path, kernel_report
from smoothify.activations.recompute import recompute, remember
from smoothify.activations.recompute_hooks import recompute_
from smoothify.activations.sharpness import anneal_, geometric, set_sharpness_, sharpness
from smoothify.activations.surrogate import SurrogateGradients, refuse_without_relu, surrogate_gradients

__all__ = [
    "Activation",
    "Hermite",
    "Logish",
    "Mish",
    "PSSiLU",
    "ParametricSoftplus",
    "QuickGELU",
    "Serf",
    "SmeLU",
    "SmoothReLU",
    "Squareplus",
    "SurrogateGradients",
    "Swish",
    "TanhExp",
    "TanhSoft1",
    "TanhSoft2",
    "TanhSoft3",
    "anneal_",
    "create",
    "describe",
    "geometric",
    "get",
    "is_smooth",
    "kernel_path",
    "kernel_report",
    "learned_parameters",
    "names",
    "parse",
    "recompute",
    "recompute_",
    "refuse_without_relu",
    "register_activation",
    "remember",
    "set_sharpness_",
    "sharpness",
    "smoothness",
    "surrogate_gradients",
]
