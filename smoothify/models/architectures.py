"""Two architectures of the paper that timm lacks, built by timm's own code and known to timm by name."""

from __future__ import annotations

from typing import Any

from torch import nn

from smoothify.models import tensorflow_architectures
from smoothify.models.efficientnet_l1 import EFFICIENTNET_L1, efficientnet_l1

_IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225), "num_classes": 1000, "url": ""}
# The mean and standard deviation are those of CIFAR-10's 50,000 training images.
_CIFAR = {"mean": (0.4914, 0.4822, 0.4465), "std": (0.2470, 0.2435, 0.2616), "num_classes": 10, "url": ""}

# timm looks for this name in the module of an architecture that is registered with it.
default_cfgs: dict[str, dict[str, Any]] = {
    "smoothify_efficientnet_l1": {**_IMAGENET, **EFFICIENTNET_L1},
    "smoothify_resnet18_cifar": {
        **_CIFAR,
        "input_size": (3, 32, 32),
        "pool_size": (4, 4),
        "crop_pct": 1.0,
        "interpolation": "bilinear",
        "first_conv": "conv1",
        "classifier": "fc",
    },
}


def smoothify_efficientnet_l1(pretrained: bool = False, **arguments: Any) -> nn.Module:
    """EfficientNet-L1 as timm pads (§5.2); it is trained with ``drop_rate=0.5``."""
    return efficientnet_l1("smoothify_efficientnet_l1", pretrained, arguments)


def smoothify_resnet18_cifar(pretrained: bool = False, **arguments: Any) -> nn.Module:
    """ResNet-18 for 32×32 images (§7): a 3×3 stem of stride 1 and no max pooling, so a total stride of 8."""
    from timm.models import build_model_with_cfg
    from timm.models.resnet import BasicBlock, ResNet

    chosen = {"block": BasicBlock, "layers": (2, 2, 2, 2), **arguments}
    model: nn.Module = build_model_with_cfg(ResNet, "smoothify_resnet18_cifar", pretrained, **chosen)
    large = model.conv1
    assert isinstance(large, nn.Conv2d)
    model.conv1 = nn.Conv2d(large.in_channels, large.out_channels, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
    model.maxpool = nn.Identity()
    for info in model.feature_info:  # type: ignore[union-attr]  # timm's list of what each stage gives
        info["reduction"] = max(1, info["reduction"] // 4)
    return model


ARCHITECTURES = (smoothify_efficientnet_l1, smoothify_resnet18_cifar)


def register() -> None:
    """Make timm know these architectures; what timm itself has is never overwritten.

    >>> import timm
    >>> register()
    >>> timm.is_model("smoothify_efficientnet_l1")
    True
    """
    from timm.models import is_model, register_model

    for architecture in (*ARCHITECTURES, *tensorflow_architectures.ARCHITECTURES):
        if not is_model(architecture.__name__):
            register_model(architecture)
