"""Which variable of the authors' checkpoints each tensor of a timm model is, and how it is laid out.

Read off their released code: ResNets are built by tensorpack (``ResNet/resnet_model.py``), EfficientNets by
TensorFlow's TPU models (``EfficientNet/efficientnet_model.py``), whose layers of one kind are numbered within a block.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

Layout = Literal["same", "convolution", "depthwise", "linear"]


@dataclass(frozen=True)
class Source:
    """Where a tensor comes from: a variable's name and the layout that it is stored in."""

    variable: str
    layout: Layout = "same"

    def read(self, stored: Tensor) -> Tensor:
        """Return a stored variable in torch's layout; TensorFlow stores a kernel as height, width, in, out."""
        if self.layout == "convolution":
            return stored.permute(3, 2, 0, 1).contiguous()
        if self.layout == "depthwise":
            return stored.permute(2, 3, 0, 1).contiguous()
        return stored.t().contiguous() if self.layout == "linear" else stored


_TENSORPACK = {"weight": "gamma", "bias": "beta", "running_mean": "mean/EMA", "running_var": "variance/EMA"}
_KERAS = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}


def resnet_sources(model: nn.Module) -> dict[str, Source]:
    """Return the source of every tensor of a ResNet: ``conv0/W``, ``group0/block0/conv1/bn/gamma``, ``linear/b``.

    A learned activation's ``smoothrelu_beta`` stands in the scope of the convolution before it, the last of a block
    in the block's own.
    """
    found = {"fc.weight": Source("linear/W", "linear"), "fc.bias": Source("linear/b")}
    found |= _convolution("conv1", "bn1", "conv0", _TENSORPACK)
    for name, _ in model.named_parameters():
        parts = name.split(".")
        if parts[-1] == "root":  # SmoothReLU's
            found[name] = Source(_beta(parts))
    for group in range(4):
        for block, module in enumerate(getattr(model, f"layer{group + 1}")):
            ours, theirs = f"layer{group + 1}.{block}", f"group{group}/block{block}"
            for index in (1, 2, 3):
                found |= _convolution(f"{ours}.conv{index}", f"{ours}.bn{index}", f"{theirs}/conv{index}", _TENSORPACK)
            if module.downsample is not None:
                found |= _convolution(
                    f"{ours}.downsample.0", f"{ours}.downsample.1", f"{theirs}/convshortcut", _TENSORPACK
                )
    return found


def efficientnet_sources(model: nn.Module, scope: str) -> dict[str, Source]:
    """Return the source of every tensor of an EfficientNet; ``scope`` is the first part of all names."""
    found = {
        "classifier.weight": Source(f"{scope}/head/dense/kernel", "linear"),
        "classifier.bias": Source(f"{scope}/head/dense/bias"),
    }
    found |= _efficientnet_layers("", f"{scope}/stem", ("conv_stem",), ("bn1",))
    found |= _efficientnet_layers("", f"{scope}/head", ("conv_head",), ("bn2",))
    # timm's stages are sequences of blocks; a module's attribute may be anything to mypy
    blocks = [(f"blocks.{s}.{b}.", block) for s, stage in enumerate(model.blocks) for b, block in enumerate(stage)]  # type: ignore[arg-type]
    for index, (ours, block) in enumerate(blocks):
        theirs = f"{scope}/blocks_{index}"
        expands = hasattr(block, "conv_pwl")
        pointwise = ("conv_pw", "conv_pwl") if expands else ("conv_pw",)
        norms = ("bn1", "bn2", "bn3") if expands else ("bn1", "bn2")
        found |= _efficientnet_layers(ours, theirs, pointwise, norms)
        found[f"{ours}conv_dw.weight"] = Source(f"{theirs}/depthwise_conv2d/depthwise_kernel", "depthwise")
        for name, layer in (("conv_reduce", "conv2d"), ("conv_expand", "conv2d_1")):
            found[f"{ours}se.{name}.weight"] = Source(f"{theirs}/se/{layer}/kernel", "convolution")
            found[f"{ours}se.{name}.bias"] = Source(f"{theirs}/se/{layer}/bias")
    return found


def _convolution(ours: str, norm: str, theirs: str, fields: dict[str, str]) -> dict[str, Source]:
    found = {f"{ours}.weight": Source(f"{theirs}/W", "convolution")}
    return found | {f"{norm}.{name}": Source(f"{theirs}/bn/{field}") for name, field in fields.items()}


def _efficientnet_layers(
    ours: str, theirs: str, convolutions: tuple[str, ...], norms: tuple[str, ...]
) -> dict[str, Source]:
    found = {
        f"{ours}{name}.weight": Source(f"{theirs}/{layer}/kernel", "convolution")
        for name, layer in zip(convolutions, _numbered("conv2d"), strict=False)
    }
    for name, layer in zip(norms, _numbered("tpu_batch_normalization"), strict=False):
        found |= {f"{ours}{name}.{ours_is}": Source(f"{theirs}/{layer}/{field}") for ours_is, field in _KERAS.items()}
    return found


def _numbered(name: str) -> Iterator[str]:
    return iter((name, f"{name}_1", f"{name}_2"))


def _beta(parts: list[str]) -> str:
    """``act1.root`` or ``layer1.0.act3.root``: the third activation of a block follows the sum."""
    if parts[0] == "act1":
        return "conv0/smoothrelu_beta"
    block = f"group{int(parts[0].removeprefix('layer')) - 1}/block{parts[1]}"
    site = parts[2].removeprefix("act")
    return f"{block}/smoothrelu_beta" if site == "3" else f"{block}/conv{site}/smoothrelu_beta"
