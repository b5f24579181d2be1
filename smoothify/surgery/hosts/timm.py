"""What timm calls its activations. Qualified names only: nothing is imported."""

from __future__ import annotations

import math

MODULES: dict[str, tuple[str, ...]] = {
    "hardswish": ("timm.layers.activations.HardSwish", "timm.layers.activations_me.HardSwishMe"),
    "hardsigmoid": ("timm.layers.activations.HardSigmoid", "timm.layers.activations_me.HardSigmoidMe"),
    "hard_mish": ("timm.layers.activations.HardMish", "timm.layers.activations_me.HardMishMe"),
    "prelu": ("timm.layers.activations.PReLU",),
    "silu": ("timm.layers.activations.Swish", "timm.layers.activations_me.SwishMe"),
    "mish": ("timm.layers.activations.Mish", "timm.layers.activations_me.MishMe"),
    "sigmoid": ("timm.layers.activations.Sigmoid",),
    "tanh": ("timm.layers.activations.Tanh",),
    "gelu": ("timm.layers.activations.GELU",),
    "gelu_tanh": ("timm.layers.activations.GELUTanh",),
    "quick_gelu": ("timm.layers.activations.QuickGELU",),
}

FUNCTIONS: dict[str, tuple[str, ...]] = {
    "hardswish": ("timm.layers.activations.hard_swish", "timm.layers.activations_me.hard_swish_me"),
    "hardsigmoid": ("timm.layers.activations.hard_sigmoid", "timm.layers.activations_me.hard_sigmoid_me"),
    "hard_mish": ("timm.layers.activations.hard_mish", "timm.layers.activations_me.hard_mish_me"),
    "silu": ("timm.layers.activations.swish", "timm.layers.activations_me.swish_me"),
    "mish": ("timm.layers.activations.mish", "timm.layers.activations_me.mish_me"),
    "sigmoid": ("timm.layers.activations.sigmoid",),
    "tanh": ("timm.layers.activations.tanh",),
    "gelu": ("timm.layers.activations.gelu",),
    "gelu_tanh": ("timm.layers.activations.gelu_tanh",),
    "quick_gelu": ("timm.layers.activations.quick_gelu",),
}

# relu(x)² has the continuous derivative 2·relu(x): smooth as a whole, although a ReLU runs inside.
SMOOTH: dict[str, tuple[float, str]] = {
    "timm.models.metaformer.StarReLU": (1, "star_relu"),
    "timm.models.metaformer.SquaredReLU": (1, "squared_relu"),
}

EXTRA_SMOOTH: dict[str, float] = {"gelu_tanh": math.inf, "quick_gelu": math.inf}
