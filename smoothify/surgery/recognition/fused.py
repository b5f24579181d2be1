"""The fused path of torch's encoder layer: it runs what a number says, whatever activation stands in the layer."""

from __future__ import annotations

from torch import nn

from smoothify.surgery.recognition.attributes import FunctionSlot, everything
from smoothify.surgery.recognition.modules import recognised

_FUSED = {1: "relu", 2: "gelu"}


def unfuse(root: nn.Module) -> None:
    """Close the fused path of every encoder layer whose activation is no longer the one that the path runs.

    A run shows that path for some inputs only: in eval mode, without gradients, in three dimensions.
    """
    for node in everything(root):
        layer = node.module
        if not isinstance(layer, nn.TransformerEncoderLayer) or not layer.activation_relu_or_gelu:
            continue
        runs = layer.activation.activation if isinstance(layer.activation, FunctionSlot) else layer.activation
        found = recognised(runs) if isinstance(runs, nn.Module) else None
        if isinstance(runs, nn.Module) and (found is None or found.function != _FUSED[layer.activation_relu_or_gelu]):
            layer.activation_relu_or_gelu = 0
