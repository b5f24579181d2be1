"""EfficientNet-L1, the largest network of the paper (§5.2): what its two paddings, timm's and TensorFlow's, share."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from torch import nn

EFFICIENTNET_L1: Mapping[str, Any] = MappingProxyType(
    {
        "input_size": (3, 600, 600),
        "pool_size": (19, 19),
        "crop_pct": 0.949,
        "interpolation": "bicubic",
        "first_conv": "conv_stem",
        "classifier": "classifier",
    }
)


def efficientnet_l1(name: str, pretrained: bool, arguments: Mapping[str, Any]) -> nn.Module:
    """Build it by timm's code under a name that timm knows: width 3.9, depth 3.7, as in the authors' released code."""
    from timm.models.efficientnet import _gen_efficientnet

    scaled = {"channel_multiplier": 3.9, "depth_multiplier": 3.7, **arguments}
    model: nn.Module = _gen_efficientnet(name, pretrained=pretrained, **scaled)
    return model
