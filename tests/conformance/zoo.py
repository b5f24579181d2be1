"""Every architecture of the hosts, as a name and a way to build it without weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import nn

Build = Callable[[], nn.Module]


def timm_models() -> Iterator[tuple[str, Build]]:
    import timm

    for name in timm.list_models():
        yield f"timm/{name}", lambda name=name: _on_meta(lambda: timm.create_model(name))


def torchvision_models() -> Iterator[tuple[str, Build]]:
    from torchvision import models

    modules = (models, models.segmentation, models.detection, models.video)
    names = {name for module in modules for name in models.list_models(module=module)}
    for name in sorted(names):
        if name.startswith("quantized_"):
            continue
        options = _torchvision_options(name)
        build = lambda name=name, options=options: models.get_model(name, weights=None, **options)  # noqa: E731
        real = name in models.list_models(module=models.detection)
        yield f"torchvision/{name}", build if real else (lambda build=build: _on_meta(build))


def _torchvision_options(name: str) -> dict[str, object]:
    from torchvision import models

    if name in ("googlenet", "inception_v3"):
        return {"init_weights": False}
    if name in models.list_models(module=models.detection) or name in models.list_models(module=models.segmentation):
        return {"weights_backbone": None}
    return {}


HF_TASKS = (
    "MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING",
    "MODEL_FOR_BACKBONE_MAPPING",
    "MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING",
    "MODEL_FOR_OBJECT_DETECTION_MAPPING",
    "MODEL_FOR_DEPTH_ESTIMATION_MAPPING",
)


# What PP-OCR's text detectors need besides their defaults: pyramids whose stages halve, and the kernels of a block.
_LCNET = {
    "model_type": "pp_lcnet_v4",
    "block_configs": [[[3, 96, 96, stride, True]] for stride in (1, 2, 2, 2)],
    "out_features": ["stage1", "stage2", "stage3", "stage4"],
}
_PP_OCR = {
    "intraclass_block_config": {
        "reduce_channel": [1, 1, 0],
        "return_channel": [1, 1, 0],
        "vertical_long_to_small_conv_longratio": [[7, 1], 1, [3, 0]],
        "vertical_long_to_small_conv_midratio": [[5, 1], 1, [2, 0]],
        "vertical_long_to_small_conv_shortratio": [[3, 1], 1, [1, 0]],
        "horizontal_small_to_long_conv_longratio": [[1, 7], 1, [0, 3]],
        "horizontal_small_to_long_conv_midratio": [[1, 5], 1, [0, 2]],
        "horizontal_small_to_long_conv_shortratio": [[1, 3], 1, [0, 1]],
        "symmetric_conv_long_longratio": [7, 1, 3],
        "symmetric_conv_long_midratio": [5, 1, 2],
        "symmetric_conv_long_shortratio": [3, 1, 1],
    },
    "scale_factor_list": [1, 2, 4, 8],
    "kernel_list": [3, 2, 2],
}
_GEMMA = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2}

# Configurations for those that do not build, or do not run, from their default one, or only in too much memory.
HF_ARGUMENTS: dict[str, dict[str, object]] = {
    "BeitForSemanticSegmentation": {"out_indices": [3, 5, 7, 11]},
    "ConvNextBackbone": {"hidden_sizes": [96, 192, 384, 768], "depths": [3, 3, 9, 3]},
    "ConvNextV2Backbone": {"hidden_sizes": [96, 192, 384, 768], "depths": [3, 3, 9, 3]},
    "FocalNetBackbone": {"hidden_sizes": [192, 384, 768, 768], "depths": [2, 2, 6, 2]},
    "LwDetrForObjectDetection": {"projector_scale_factors": [1.0]},
    "PerceiverForImageClassificationConvProcessing": {"num_cross_attention_heads": 1, "num_frames": 1},
    "PerceiverForImageClassificationFourier": {"num_cross_attention_heads": 1, "num_frames": 1, "image_size": 224},
    "PerceiverForImageClassificationLearned": {"num_frames": 1, "image_size": 224},
    "PPDocLayoutV2ForObjectDetection": {"class_thresholds": [0.5, 0.5], "class_order": [0, 1]},
    "PPOCRV5ServerDetForObjectDetection": _PP_OCR,
    "PPOCRV6MediumDetForObjectDetection": {**_PP_OCR, "backbone_config": _LCNET},
    "PPOCRV6SmallDetForObjectDetection": {"backbone_config": _LCNET, "layer_list_out_channels": [96, 96, 96, 96]},
    "RfDetrForObjectDetection": {
        "num_queries": 100,
        "backbone_config": {"model_type": "rf_detr_dinov2", "num_windows": 2},
    },
    "Sapiens2ForSemanticSegmentation": {"head_config": {"upsample_out_channels": [64], "conv_out_channels": [64]}},
    "ShieldGemma2ForImageClassification": {
        "text_config": {**_GEMMA, "num_key_value_heads": 1, "head_dim": 32},
        "vision_config": {**_GEMMA, "image_size": 56, "patch_size": 14},
        "mm_tokens_per_image": 4,
    },
    "TimmBackbone": {"backbone": "resnet18", "use_pretrained_backbone": False},
}


def transformers_models() -> Iterator[tuple[str, Build]]:
    import transformers
    from transformers.models.auto import modeling_auto

    for task in HF_TASKS:
        mapping = getattr(modeling_auto, f"{task}_NAMES")
        configs = transformers.models.auto.configuration_auto.CONFIG_MAPPING_NAMES
        for model_type, classes in mapping.items():
            for cls in classes if isinstance(classes, (tuple, list)) else (classes,):
                config = configs.get(model_type)
                if config is not None:
                    yield (
                        f"transformers/{cls}",
                        lambda cls=cls, config=config: _on_meta(
                            lambda: getattr(transformers, cls)(
                                getattr(transformers, config)(**HF_ARGUMENTS.get(cls, {}))
                            )
                        ),
                    )


ON_CPU = False


def _on_meta(build: Build) -> nn.Module:
    if ON_CPU:
        return build()
    with torch.device("meta"):
        return build()


def every_model() -> dict[str, Build]:
    found = dict(timm_models())
    found.update(torchvision_models())
    found.update(transformers_models())
    return found
