"""Image classifiers of transformers: a repository, a folder, or a model type with its default sizes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn

from smoothify.errors import ConfigError, UnknownNameError
from smoothify.models.constructing import construct


def build_transformers(name: str, pretrained: bool, arguments: dict[str, Any]) -> nn.Module:
    """Build a classifier; ``arguments`` are fields of its config, ``num_classes`` its number of labels.

    Only safetensors are read, and no code of a repository is run.
    """
    try:
        from transformers import AutoModelForImageClassification
    except ImportError as error:
        raise ConfigError(f"'transformers/{name}' needs transformers; pip install transformers") from error
    changed = {("num_labels" if key == "num_classes" else key): value for key, value in arguments.items()}
    is_type = "/" not in name and not Path(name).is_dir()
    if is_type and pretrained:
        raise ConfigError(f"'transformers/{name}' is a model type and has no weights; name a repository 'owner/name'")
    config = _config_of_type(name, changed) if is_type else _config_of_repository(name, changed)
    with quiet():
        if pretrained:
            model = construct(
                AutoModelForImageClassification.from_pretrained,
                name,
                {},
                config=config,
                use_safetensors=True,
                ignore_mismatched_sizes=True,  # a head for other classes starts anew
            ).float()  # whatever the repository keeps its weights in
        else:
            model = construct(lambda _: AutoModelForImageClassification.from_config(config), name, {})
    model.pretrained_cfg = _input(config, {} if is_type else _preprocessing(name))  # type: ignore[assignment]
    return model


def _config_of_type(name: str, changed: Mapping[str, Any]) -> Any:
    from transformers import AutoConfig
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES as TYPES

    if name not in TYPES:
        raise UnknownNameError("transformers image classifier", name, TYPES)
    _refuse_unknown(name, AutoConfig.for_model(name), changed)
    return AutoConfig.for_model(name, **changed)


def _config_of_repository(name: str, changed: Mapping[str, Any]) -> Any:
    from transformers import AutoConfig

    try:
        _refuse_unknown(name, AutoConfig.from_pretrained(name), changed)
        return AutoConfig.from_pretrained(name, **changed)
    except (OSError, ValueError, KeyError) as error:
        if isinstance(error, ConfigError):
            raise
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise ConfigError(
            f"'transformers/{name}': {reason}; check the name, or load it once with a connection"
        ) from error


def _refuse_unknown(name: str, config: Any, changed: Mapping[str, Any]) -> None:
    """A config of transformers keeps whatever it is given, misspelt or not."""
    for key in changed:
        if not hasattr(config, key):
            raise UnknownNameError("argument", key, vars(config), of=f"'transformers/{name}'")


def _preprocessing(name: str) -> Mapping[str, Any]:
    from transformers.image_processing_base import ImageProcessingMixin

    try:
        found: Mapping[str, Any] = ImageProcessingMixin.get_image_processor_dict(name)[0]
    except (OSError, ValueError):  # the repository does not say how its images were prepared
        return {}
    return found


def _input(config: Any, preprocessing: Mapping[str, Any]) -> dict[str, Any]:
    """Describe what the model takes as timm describes its own; what is not known is left out."""
    described = _resizing(preprocessing)
    if preprocessing.get("do_normalize", True) and "image_mean" in preprocessing and "image_std" in preprocessing:
        described |= {"mean": tuple(preprocessing["image_mean"]), "std": tuple(preprocessing["image_std"])}
    resized = preprocessing.get("crop_size") or preprocessing.get("size") or {}
    if isinstance(resized, Mapping):
        edge = resized.get("shortest_edge")
        resized = (resized.get("height", edge), resized.get("width", edge))
    size = getattr(config, "image_size", None) or resized
    height, width = size if isinstance(size, list | tuple) else (size, size)
    if height and width:
        described["input_size"] = (int(getattr(config, "num_channels", None) or 3), int(height), int(width))
    return described


def _resizing(preprocessing: Mapping[str, Any]) -> dict[str, Any]:
    """Describe resizing and cropping as timm does, for the three forms that image processors know."""
    names = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}  # Pillow's numbers
    found: dict[str, Any] = {"interpolation": names.get(preprocessing.get("resample", -1))}
    size, crop = (preprocessing.get(name) or {} for name in ("size", "crop_size"))
    if isinstance(size, Mapping) and isinstance(crop, Mapping):
        edge, cropped = size.get("shortest_edge"), crop.get("height", crop.get("shortest_edge"))
        if "crop_pct" in preprocessing:
            found["crop_pct"] = preprocessing["crop_pct"]
        elif edge and cropped and preprocessing.get("do_center_crop", True):
            found["crop_pct"] = min(1.0, cropped / edge)
        elif "height" in size:
            found |= {"crop_pct": 1.0, "crop_mode": "squash"}
    return {name: value for name, value in found.items() if value is not None}


@contextmanager
def quiet() -> Iterator[None]:
    """transformers draws a bar for every load and warns of every head that starts anew; its settings are put back."""
    from transformers.utils import logging

    verbosity, drawn = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if drawn:
            logging.enable_progress_bar()
