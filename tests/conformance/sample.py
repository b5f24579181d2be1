"""The fixed sample that CI runs: one small member of every family of every host."""

from __future__ import annotations

from .zoo import Build, timm_models, torchvision_models, transformers_models

SMALL = (
    "test_",
    "atto",
    "femto",
    "pico",
    "nano",
    "xxt",
    "tiny",
    "xxs",
    "_xs",
    "_050",
    "18",
    "small",
    "_s",
    "_b0",
)

# Run on real tensors, or large in the smallest size: minutes each, left to the whole sweep.
COSTLY = (
    "gemma4",
    "sequencer",
    "keypointrcnn",
    "maskrcnn",
    "retinanet",
    "ShieldGemma",
    "Sapiens",
    "DepthPro",
)


def sample() -> dict[str, Build]:
    """Return one model for each timm module, torchvision module and transformers model folder."""
    import timm

    every = dict(timm_models())
    chosen: dict[str, Build] = {}
    for module in timm.list_modules():
        names = [name for name in timm.list_models(module=module) if f"timm/{name}" in every]
        if names:
            name = min(names, key=_size)
            if any(word in name for word in COSTLY):
                continue
            chosen[f"timm/{name}"] = every[f"timm/{name}"]
    for models in (torchvision_models(), transformers_models()):
        families: dict[str, list[str]] = {}
        found = dict(models)
        for name in found:
            families.setdefault(_family(name), []).append(name)
        for names in families.values():
            name = min(names, key=_size)
            if not any(word in name for word in COSTLY):
                chosen[name] = found[name]
    return chosen


def _size(name: str) -> tuple[int, int, str]:
    rank = next((index for index, word in enumerate(SMALL) if word in name), len(SMALL))
    if name.startswith("transformers/"):  # several backbones do not build from their default configuration
        rank = 0 if name.endswith("ForImageClassification") else 1
    return rank, len(name), name


def _family(name: str) -> str:
    host, _, model = name.partition("/")
    if host == "torchvision":
        return model.split("_")[0].rstrip("0123456789")
    return model.partition("For")[0].partition("Backbone")[0].partition("Model")[0]
