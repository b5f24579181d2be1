"""Named ways to call a timm architecture: the paper's networks that timm has no name for, and one for small images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True)
class Preset:
    """A timm architecture, the arguments it is built with, and the input it is meant for.

    Args:
        name: what it is called in a config.
        architecture: what timm calls it.
        arguments: of timm's constructor.
        input: fields of timm's ``pretrained_cfg`` that differ from the architecture's own.

    >>> preset = PRESETS["resnet10_28px"]
    >>> preset.architecture, preset.arguments["layers"], preset.input["input_size"]
    ('resnet18', (1, 1, 1, 1), (1, 28, 28))
    """

    name: str
    architecture: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    input: Mapping[str, Any] = field(default_factory=dict)


# Nothing of the ImageNet weights that timm knows for an architecture applies to another shape of it.
_NO_WEIGHTS = dict.fromkeys(
    ("url", "hf_hub_id", "tag", "test_input_size", "test_crop_pct", "origin_url", "paper_ids", "description")
)

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
            **_NO_WEIGHTS,
        }
    ),
)


def _resnext(name: str, layers: tuple[int, int, int, int]) -> Preset:
    """ResNeXt of 32 groups of 8 channels in its first stage (§5.1, Table 3)."""
    normalised = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225), "crop_pct": 0.875}
    return Preset(
        name=name,
        architecture="resnext50_32x4d",
        arguments=MappingProxyType({"layers": layers, "base_width": 8}),
        input=MappingProxyType({"input_size": (3, 224, 224), "num_classes": 1000, **normalised, **_NO_WEIGHTS}),
    )


PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        preset.name: preset
        for preset in (
            _RESNET10_28PX,
            Preset("resnet18_cifar", "smoothify_resnet18_cifar"),
            _resnext("resnext50_32x8d", (3, 4, 6, 3)),
            _resnext("resnext152_32x8d", (3, 8, 36, 3)),
            Preset("efficientnet_l1", "smoothify_efficientnet_l1"),
        )
    }
)
"""Every preset by name."""
