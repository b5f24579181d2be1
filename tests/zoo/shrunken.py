"""Any convolutional network of the zoo, made small enough for a step in a blink; its structure stays what it is."""

import math

import torch
from torch import Tensor, nn

from smoothify.models import build
from smoothify.training.config import ModelConfig

DIVISOR = 8  # of every width


def shrunken(config: ModelConfig, *, num_classes: int) -> nn.Module:
    """Build an architecture without its weights, drop repeated blocks, narrow all that is left, and give it weights."""
    with torch.device("meta"):
        model = build(config.name, num_classes=num_classes, arguments=config.arguments)
    for module in model.modules():
        if isinstance(module, nn.Sequential):
            _drop_repeated(module)
    for module in model.modules():
        _narrow(module)
    model.to_empty(device="cpu")
    for module in model.modules():
        if (reset := getattr(module, "reset_parameters", None)) is not None:
            reset()
    assert not any(parameter.is_meta for parameter in model.parameters())
    return model


def _drop_repeated(blocks: nn.Sequential) -> None:
    """Of neighbours with parameters of the same shapes keep the first."""
    before: list[torch.Size] = []
    for name, block in list(blocks.named_children()):
        shapes = [parameter.shape for parameter in block.parameters()]
        if shapes and shapes == before:
            delattr(blocks, name)
        before = shapes


def _narrow(module: nn.Module) -> None:
    """Put every width through one function, so that what was equal before is equal after."""
    if isinstance(module, nn.Conv2d):
        depthwise = module.groups == module.in_channels
        module.in_channels, module.out_channels = _width(module.in_channels), _width(module.out_channels)
        module.groups = (
            module.in_channels if depthwise else math.gcd(module.groups, module.in_channels, module.out_channels)
        )
        shape = (module.out_channels, module.in_channels // module.groups, *module.kernel_size)
        module.weight = _empty(*shape)
        module.bias = None if module.bias is None else _empty(module.out_channels)
    elif isinstance(module, nn.BatchNorm2d):
        module.num_features = _width(module.num_features)
        module.weight, module.bias = _empty(module.num_features), _empty(module.num_features)
        module.running_mean, module.running_var = _empty(module.num_features).data, _empty(module.num_features).data
    elif isinstance(module, nn.Linear):  # the head: its classes stay
        module.in_features = _width(module.in_features)
        module.weight = _empty(module.out_features, module.in_features)


def _width(channels: int) -> int:
    return channels if channels <= 3 else max(4, channels // DIVISOR)


def _empty(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.empty(shape, device="meta"))


def some_images(config: ModelConfig, size: tuple[int, int, int], *, num_classes: int) -> tuple[Tensor, Tensor]:
    """Four images in [0, 1] of a model's channels and at most 64 pixels a side, and their labels."""
    channels, height, width = config.input_size or size
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(4, channels, min(height, 64), min(width, 64), generator=generator)
    return images, torch.randint(num_classes, (4,), generator=generator)
