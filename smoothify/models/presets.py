"""Named ways to call a native timm architecture, for images that its defaults do not fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True)
class Preset:
    """A timm architecture, the arguments it is built with, and the input it is meant for."""

    name: str
    architecture: str
    arguments: Mapping[str, Any]
    input: Mapping[str, Any]


# ResNet with one basic block a stage, for 28×28 grey images: a deep stem without max pooling, total stride 8.
# The mean and standard deviation are those of Fashion-MNIST's 60,000 training images.
_RESNET10_28PX = Preset(
    name="resnet10_28px",
    architecture="resnet18",
    arguments=MappingProxyType(
        {
            "layers": (1, 1, 1, 1),
            "channels": (16, 32, 64, 128),
            "stem_type": "deep",
            "stem_width": 8,
            "replace_stem_pool": True,
            "output_stride": 8,
            "in_chans": 1,
        }
    ),
    input=MappingProxyType(
        {
            "input_size": (1, 28, 28),
            "mean": (0.2860,),
            "std": (0.3530,),
            "crop_pct": 1.0,
            "num_classes": 10,
            # nothing of the ImageNet weights that timm knows for this architecture applies
            **dict.fromkeys(("url", "hf_hub_id", "tag", "test_input_size", "test_crop_pct", "origin_url", "paper_ids")),
        }
    ),
)

PRESETS: Mapping[str, Preset] = MappingProxyType({preset.name: preset for preset in (_RESNET10_28PX,)})
