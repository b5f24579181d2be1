"""The networks that the authors of the paper released, with TensorFlow's padding, under names for timm.

``tf_`` is timm's prefix for models that pad as TensorFlow does. A padding of "SAME" at stride 2 is one pixel at the
right and bottom where torch pads one on every side, so a network trained with one is another network with the other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from torch import nn

from smoothify.models.efficientnet_l1 import EFFICIENTNET_L1, efficientnet_l1

_INPUT = {"input_size": (3, 224, 224), "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5), "num_classes": 1000}
_RESNET = {**_INPUT, "crop_pct": 0.875, "interpolation": "bicubic", "first_conv": "conv1", "classifier": "fc"}
_BLOCKS_50, _BLOCKS_101, _BLOCKS_152 = (3, 4, 6, 3), (3, 4, 23, 3), (3, 8, 36, 3)
# ResNets whose one max pool is TensorFlow's, as the authors released them; 32x8d is four times wider (paper, Table 3).
_TF_RESNETS: Mapping[str, dict[str, Any]] = MappingProxyType(
    {
        "tf_resnet50": {"layers": _BLOCKS_50},
        "tf_resnet101": {"layers": _BLOCKS_101},
        "tf_resnet152": {"layers": _BLOCKS_152},
        "tf_resnext50_32x4d": {"layers": _BLOCKS_50, "cardinality": 32, "base_width": 4},
        "tf_resnext50_32x8d": {"layers": _BLOCKS_50, "cardinality": 32, "base_width": 8},
        "tf_resnext152_32x8d": {"layers": _BLOCKS_152, "cardinality": 32, "base_width": 8},
    }
)

# What timm's register_model looks for in the module of a function that it registers.
default_cfgs: dict[str, dict[str, Any]] = {name: dict(_RESNET) for name in _TF_RESNETS}
default_cfgs["tf_efficientnet_l1"] = {**_INPUT, **EFFICIENTNET_L1}


def _entry_point(name: str) -> Callable[..., nn.Module]:
    def build(pretrained: bool = False, **arguments: Any) -> nn.Module:
        if name in _TF_RESNETS:
            return _tf_resnet(name, pretrained, {**_TF_RESNETS[name], **arguments})
        return efficientnet_l1(name, pretrained, {"pad_type": "same", "bn_eps": 1e-3, **arguments})

    build.__name__ = build.__qualname__ = name
    return build


def _tf_resnet(name: str, pretrained: bool, arguments: dict[str, Any]) -> nn.Module:
    from timm.layers.pool2d_same import MaxPool2dSame
    from timm.models import build_model_with_cfg
    from timm.models.resnet import Bottleneck, ResNet

    model: nn.Module = build_model_with_cfg(ResNet, name, pretrained, block=Bottleneck, **arguments)
    model.maxpool = MaxPool2dSame(kernel_size=3, stride=2)
    return model


ARCHITECTURES = tuple(_entry_point(name) for name in default_cfgs)
