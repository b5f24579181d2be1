"""Example inputs from what a host says about its model: shapes only, on the meta device."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from smoothify.surgery.probing.probe import Example
from smoothify.surgery.recognition.edges import walk

_BATCH = 2  # batch norm in train mode needs more than one value per channel
_GUESSED_SIZES = (224, 32, 28, 64, 8)


def from_input(example_input: Any) -> Example:
    """Read a caller's ``example_input``: a tensor, a tuple of arguments, a mapping of keyword ones."""
    if isinstance(example_input, Mapping):
        return Example((), dict(example_input))
    if isinstance(example_input, Tensor):
        return Example((example_input,))
    return Example(tuple(example_input))


def examples(model: nn.Module) -> Iterator[Example]:
    """Yield the inputs worth trying, the host's own description first; guesses for a model without one."""
    dtype = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
    described = next(_described(model, dtype), None)
    if described is not None:
        module, found = described
        if module is model:
            yield found
            return
        yield found if found.args else Example(tuple((found.kwargs or {}).values())[:1])
    yield from _guesses(model, dtype)


def _described(model: nn.Module, dtype: torch.dtype) -> Iterator[tuple[nn.Module, Example]]:
    for node in walk(model):
        for describe in (_timm, _transformers, _torchvision, _by_itself):
            found = describe(node.module, dtype)
            if found is not None:
                yield node.module, found


def _of(module: nn.Module, host: str) -> bool:
    return any(base.__module__.partition(".")[0] == host for base in type(module).__mro__)


def _image(channels: int, size: Sequence[int], dtype: torch.dtype, *between: int) -> Tensor:
    return torch.empty(_BATCH, *between, channels, *size, dtype=dtype, device="meta")


def _timm(module: nn.Module, dtype: torch.dtype) -> Example | None:
    cfg = getattr(module, "pretrained_cfg", None) or getattr(module, "default_cfg", None)
    if not _of(module, "timm") or not isinstance(cfg, Mapping) or "input_size" not in cfg:
        return None
    channels, *size = cfg["input_size"]
    patches = getattr(module, "patch_embed", None)
    own_size = getattr(patches, "img_size", None)
    if own_size is not None and getattr(patches, "strict_img_size", True):
        size = list(own_size)
    first = next((child for child in module.modules() if isinstance(child, nn.Conv2d)), None)
    if first is not None and first.groups == 1 and first.in_channels in (1, 2, 3, 4):
        channels = first.in_channels
    else:  # of more channels, the first convolution may see an image that was rearranged, as in TResNet
        channels = image_channels(module) or channels
    return Example((_image(channels, size, dtype),))


def image_channels(model: nn.Module) -> int | None:
    """Return how many channels the images of a timm model have, or None where it does not say.

    >>> image_channels(nn.Conv2d(5, 2, 1)) is None
    True
    """
    found = getattr(model, "in_chans", None)
    if isinstance(found, int):
        return found
    cfg = getattr(model, "pretrained_cfg", None) or {}
    first = cfg.get("first_conv")
    name = first[0] if isinstance(first, list | tuple) and first else first
    layer = dict(model.named_modules()).get(name) if isinstance(name, str) else None
    return layer.in_channels if isinstance(layer, nn.Conv2d) else None


def _pair(size: Any) -> list[int]:
    if isinstance(size, Mapping):
        return [int(size.get("height", 224)), int(size.get("width", 224))]
    return [int(size), int(size)] if isinstance(size, int) else [int(side) for side in size][-2:]


def _transformers(module: nn.Module, dtype: torch.dtype) -> Example | None:
    config = getattr(module, "config", None)
    if config is None or not _of(module, "transformers") or not hasattr(module, "main_input_name"):
        return None
    takes = inspect.signature(type(module).forward).parameters
    vision = getattr(config, "vision_config", None) or config
    text = getattr(config, "text_config", None) or config
    cfg = getattr(config, "pretrained_cfg", None)
    size = _pair(cfg["input_size"][1:] if cfg else _side(vision))
    channels = getattr(vision, "num_channels", None) or 3
    channels = channels if isinstance(channels, int) else 3
    inputs: dict[str, Tensor] = {}
    if "pixel_values" in takes:
        frames = getattr(vision, "num_frames", None)
        between = (int(frames),) if isinstance(frames, int) and frames > 1 else ()
        inputs["pixel_values"] = _image(channels, size, dtype, *between)
        if "spatial_shapes" in takes:
            inputs.update(_patches(vision, channels, dtype))
    if "input_ids" in takes:
        inputs["input_ids"] = _tokens(config, text)
    if not inputs and "inputs" in takes:
        inputs["inputs"] = _image(channels, size, dtype)
    return Example((), inputs) if inputs else None


def _tokens(config: Any, text: Any) -> Tensor:
    image, many = getattr(config, "image_token_id", None), getattr(config, "mm_tokens_per_image", None)
    if image is not None and many:  # as many as an image stands for, or its features have no place to go
        return torch.full((_BATCH, int(many)), int(image))
    length = min(8, int(getattr(text, "max_position_embeddings", 8) or 8))
    return torch.empty(_BATCH, length, dtype=torch.int64, device="meta")


def _side(config: Any) -> Any:
    if ratios := getattr(config, "scaled_images_ratios", None):  # DepthPro cuts every scale into patches
        return int(config.patch_size / min(ratios))
    backbone = getattr(config, "backbone_config", None)
    return getattr(config, "image_size", None) or getattr(backbone, "image_size", None) or 224


def _patches(config: Any, channels: int, dtype: torch.dtype) -> dict[str, Tensor]:
    side, patch = 4, int(getattr(config, "patch_size", 16))
    return {
        "pixel_values": torch.empty(_BATCH, side * side, channels * patch * patch, dtype=dtype, device="meta"),
        "pixel_attention_mask": torch.ones(_BATCH, side * side, dtype=torch.int64),
        "spatial_shapes": torch.full((_BATCH, 2), side, dtype=torch.int64),
    }


def _torchvision(module: nn.Module, dtype: torch.dtype) -> Example | None:
    origin = next((b.__module__ for b in type(module).__mro__ if b.__module__.startswith("torchvision.models")), "")
    if not origin:
        return None
    if ".detection." in origin:
        return _detection(module, dtype)
    if ".optical_flow." in origin:
        return Example((_image(3, (128, 128), dtype), _image(3, (128, 128), dtype)))
    if ".video." in origin:
        side = 112 if origin.endswith(".resnet") else 224
        return Example((torch.empty(_BATCH, 3, 16, side, side, dtype=dtype, device="meta"),))
    if origin.endswith(".inception"):
        return Example((_image(3, (299, 299), dtype),))
    size = getattr(module, "image_size", None)
    if isinstance(size, int):
        return Example((_image(3, (size, size), dtype),))
    return Example((_image(3, (224, 224), dtype),))


def _by_itself(module: nn.Module, dtype: torch.dtype) -> Example | None:
    """A user's own model may describe its images as timm's models do."""
    cfg = getattr(module, "pretrained_cfg", None)
    size = cfg.get("input_size") if isinstance(cfg, Mapping) else None
    if size is None or any(_of(module, host) for host in ("timm", "transformers", "torchvision")):
        return None
    return Example((_image(size[0], size[1:], dtype),))


def _detection(module: nn.Module, dtype: torch.dtype) -> Example | None:
    """Return small real images with targets: torchvision's detectors do not run on fake tensors."""
    if not hasattr(module, "transform"):
        return None
    side = 128
    images = [torch.rand(3, side, side, dtype=dtype) for _ in range(_BATCH)]
    target = {
        "boxes": torch.tensor([[8.0, 8.0, 96.0, 96.0]], dtype=dtype),
        "labels": torch.ones(1, dtype=torch.int64),
        "masks": torch.ones(1, side, side, dtype=torch.uint8),
        "keypoints": torch.full((1, 17, 3), 32.0, dtype=dtype),
    }
    return Example((images, [dict(target) for _ in images]), real=True, prepare=_keep_images_small)


def _keep_images_small(detector: Any) -> None:
    if not getattr(detector.transform, "fixed_size", None):
        detector.transform.min_size, detector.transform.max_size = (128,), 128
    proposals = getattr(detector, "rpn", None)
    if proposals is not None:
        proposals._pre_nms_top_n = proposals._post_nms_top_n = {"training": 16, "testing": 16}


def _guesses(model: nn.Module, dtype: torch.dtype) -> Iterator[Example]:
    first = next((m for m in model.modules() if isinstance(m, (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear))), None)
    if first is None:
        yield Example((_image(3, (8, 8), dtype),))
    elif isinstance(first, nn.Linear):
        yield Example((torch.empty(_BATCH, first.in_features, dtype=dtype, device="meta"),))
        yield Example((torch.empty(_BATCH, 4, first.in_features, dtype=dtype, device="meta"),))
    else:
        dimensions = len(first.kernel_size)
        for side in _GUESSED_SIZES:
            yield Example((_image(first.in_channels, [side] * dimensions, dtype),))
