"""What transformers calls its activations. Qualified names only: nothing is imported."""

from __future__ import annotations

MODULES: dict[str, tuple[str, ...]] = {
    "silu": ("transformers.activations.SiLUActivation",),
    "mish": ("transformers.activations.MishActivation",),
    "gelu": ("transformers.activations.GELUActivation",),
    "gelu_tanh": (
        "transformers.activations.GELUTanh",
        "transformers.activations.NewGELUActivation",
        "transformers.activations.FastGELUActivation",
        "transformers.activations.AccurateGELUActivation",
    ),
    "quick_gelu": ("transformers.activations.QuickGELUActivation",),
}

# relu(x)² has the continuous derivative 2·relu(x): smooth as a whole, although a ReLU runs inside.
SMOOTH: dict[str, tuple[float, str]] = {
    "transformers.activations.ReLUSquaredActivation": (1, "squared_relu"),
}
