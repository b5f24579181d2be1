"""transformers as a host: image classifiers of its own mapping, safetensors only, no remote code."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import nn

from smoothify.errors import HubError
from smoothify.hub.checks import Checks, brief, printable
from smoothify.hub.config import HIDDEN_WEIGHTS, NEEDS_SMOOTHIFY, ModelConfig
from smoothify.hub.hosts.bounds import bounded_construction
from smoothify.hub.timm_fields import read_input_of
from smoothify.hub.weights import refuse_disagreements, refuse_larger
from smoothify.models.from_transformers import quiet

NAME = "transformers"
_ACTIVATION_KEYS = ("hidden_act", "hidden_activation", "activation_function")
_ACTIVATION_NAMES = {"gelu_tanh": "gelu_pytorch_tanh"}
# Values of these keys make transformers fetch or run something else: backbones, kernels, quantizers, code.
_REFUSED = {
    *(
        "auto_map",
        "backbone",
        "backbone_config",
        "use_timm_backbone",
        "use_pretrained_backbone",
        "custom_pipelines",
    ),
    *("quantization_config", "trust_remote_code"),
}
_INDEX = re.compile("[0-9]{1,9}")
_ALWAYS_KEPT = {"id2label", "problem_type"}
MAX_LABELS = 100_000


def describes(raw: dict[str, Any]) -> bool:
    """Tell whether a config.json is one of transformers' (and not of timm's or ours).

    >>> describes({"model_type": "resnet"}), describes({"architecture": "resnet18"})
    (True, False)
    """
    return "smoothify" not in raw and "architecture" not in raw and "model_type" in raw


def load(raw: dict[str, Any], stored: dict[str, torch.Tensor], source: str) -> nn.Module:
    """Build the classifier that a transformers config.json describes and fill it; in eval mode, on the CPU.

    ``raw`` is the parsed config, ``stored`` its weights. Raises ``HubError`` when the class is not one of
    transformers' image classifiers, for any key that would fetch or run something, for sizes beyond the bounds or
    the weights', and for weights that do not fit exactly.
    """
    where = f"{source}/config.json"
    model_class, config = _class_and_config(raw, where)
    with bounded_construction(where), _any_error(model_class, where), quiet():
        with torch.device("meta"):
            refuse_larger(model_class(config), stored, where)
        # from_pretrained translates the names of older repositories.
        model, info = model_class.from_pretrained(None, config=config, state_dict=stored, output_loading_info=True)
    found = [f"{key} is {kind.split('_')[0]}" for kind in info for key in sorted(map(str, info[kind]))]
    refuse_disagreements(f"{source}/model.safetensors", found)
    classifier: nn.Module = model
    return classifier.eval()


def owns(model: nn.Module) -> bool:
    """Tell whether transformers' own code defines the class of ``model``.

    >>> owns(nn.Linear(2, 1))
    False
    """
    return any(kind.__module__.startswith("transformers.models.") for kind in type(model).__mro__)


def describe(model: nn.Module, architecture: str | None, overrides: Mapping[str, Any]) -> ModelConfig:
    """Return the class and the checked config of a classifier; ``overrides`` replace values of its config."""
    kinds = [kind.__name__ for kind in type(model).__mro__ if kind.__module__.startswith("transformers.models.")]
    raw = json.loads(model.config.to_json_string(use_diff=False))  # type: ignore[union-attr, operator]  # a HF config
    raw = {**raw, **overrides, "architectures": [architecture or kinds[0]]}
    source = "the model's config"
    _, config_class = _classes(raw, source)
    kept = _kept_values(raw, config_class, source)
    model_args = {**_as_json(kept), "model_type": raw["model_type"]}
    checks = Checks("the model's description")
    pretrained_cfg = read_input_of(model, checks)
    checks.raise_if_any()
    return ModelConfig(raw["architectures"][0], NAME, model_args=model_args, pretrained_cfg=pretrained_cfg)


def build(config: ModelConfig, *, meta: bool = False, source: str = "config.json") -> nn.Module:
    """Build the classifier with random weights, within bounds; see ``Host.build``."""
    model_class, checked = _class_and_config({**config.model_args, "architectures": [config.architecture]}, source)
    device = torch.device("meta") if meta else nullcontext()
    with bounded_construction(source), _any_error(model_class, source), device:
        model: nn.Module = model_class(checked)
    if config.pretrained_cfg:
        model.pretrained_cfg = dict(config.pretrained_cfg)  # type: ignore[assignment]  # as timm describes its own
    return model


def example_size(model: nn.Module) -> tuple[int, int, int]:
    """Return (channels, height, width) of the images that the config names, or 3 channels and 224 pixels."""
    size = getattr(model.config, "image_size", None) or 224
    height, width = size if isinstance(size, list | tuple) else (size, size)
    return int(getattr(model.config, "num_channels", None) or 3), int(height), int(width)


def native_documents(config: ModelConfig) -> list[dict[str, Any]]:
    """Return the configs that might make transformers build the converted model: one activation for all."""
    specs = {spec for conversion in config.conversions for spec in conversion["sites"].values()}
    plain = {**config.model_args, "architectures": [config.architecture]}
    if labels := plain.get("id2label"):
        plain["label2id"] = _indices(labels)
    if not specs:
        return [plain]
    keys = [key for key in _ACTIVATION_KEYS if key in plain]
    if len(specs) != 1 or not keys:
        return []
    spec = specs.pop()
    return [plain | dict.fromkeys(keys, _ACTIVATION_NAMES.get(spec, spec))]


def refusing_document(config: ModelConfig) -> dict[str, Any]:
    """Return a config that no class of transformers takes, and a name for the weights that none looks for."""
    return {
        "architectures": [NEEDS_SMOOTHIFY + config.architecture],
        "model_type": NEEDS_SMOOTHIFY + str(config.model_args["model_type"]),
        "weights_file": HIDDEN_WEIGHTS,
    }


def load_alone(folder: Path) -> nn.Module:
    """Load a saved folder by transformers alone."""
    from transformers import AutoModelForImageClassification

    with quiet():
        model: nn.Module = AutoModelForImageClassification.from_pretrained(folder, local_files_only=True)
    return model


def _class_and_config(raw: dict[str, Any], where: str) -> tuple[Any, Any]:
    model_class, config_class = _classes(raw, where)
    values = _kept_values(raw, config_class, where)
    if labels := values.get("id2label"):
        values["label2id"] = _indices(labels)
    with _any_error(model_class, where):
        return model_class, config_class(**values)


def _indices(labels: dict[Any, str]) -> dict[str, int]:
    """What transformers calls label2id, and does not infer from id2label; JSON makes texts of the indices."""
    return {label: int(index) for index, label in labels.items()}


def _classes(raw: dict[str, Any], where: str) -> tuple[Any, Any]:
    try:
        import transformers
        from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES as CLASSES
    except ImportError as error:
        raise HubError(f"{where}: is a transformers model; install it with `pip install transformers`") from error
    model_type, name = _class_name(raw, CLASSES, where)
    return getattr(transformers, name), transformers.CONFIG_MAPPING[model_type]


@contextmanager
def _any_error(model_class: Any, where: str) -> Iterator[None]:
    """A stranger's config can make a constructor raise anything."""
    try:
        yield
    except HubError:
        raise
    except Exception as error:
        reason = printable(" ".join(str(error).split())[:300])
        raise HubError(f"{where}: transformers cannot build {model_class.__name__} ({reason})") from error


def _as_json(values: dict[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(values))
    return {key: value for key, value in plain.items() if value is not None}


def _class_name(raw: dict[str, Any], classes: Any, where: str) -> tuple[str, str]:
    model_type, named = raw.get("model_type"), raw.get("architectures")
    if model_type == "timm_wrapper":  # its architecture and model_args go to timm unchecked, files' names among them
        raise HubError(
            f"{where}: is a timm model inside one of transformers, which is refused; use the timm model itself"
        )
    allowed = classes.get(model_type, ()) if isinstance(model_type, str) else ()
    allowed = (allowed,) if isinstance(allowed, str) else tuple(allowed)
    if not isinstance(named, list) or len(named) != 1 or named[0] not in allowed:
        raise HubError(
            f"{where}: model_type {brief(model_type)} with architectures {brief(named)} is no image "
            f"classifier of this version of transformers"
        )
    return str(model_type), str(named[0])


def _kept_values(raw: dict[str, Any], config_class: Any, where: str) -> dict[str, Any]:
    """The checked values of the keys that this class of config knows; all others are dropped unread."""
    checks = Checks(where)
    for key in sorted(_REFUSED & set(raw)):
        if raw[key]:
            checks.complain(key, "would make transformers fetch or run something else; that is refused")
    known = (set(inspect.signature(config_class).parameters) | _ALWAYS_KEPT) - _REFUSED - {"label2id"}
    kept: dict[str, Any] = {}
    for key in sorted(known & set(raw)):
        if key == "id2label":
            kept[key] = _labels(raw[key], checks)
        else:
            value = _without_code(key, checks.plain(key, raw[key]), checks)
            kept[key] = list(value) if isinstance(value, tuple) else value
    checks.raise_if_any()
    return kept


def _without_code(where: str, value: Any, checks: Checks) -> Any:
    """Treat the configs inside a config as the config itself: what would fetch or run something has no place."""
    if isinstance(value, tuple):
        return tuple(_without_code(where, item, checks) for item in value)
    if not isinstance(value, dict):
        return value
    for key in sorted(_REFUSED & set(value)):
        if value[key]:
            checks.complain(f"{where}.{key}", "would make transformers fetch or run something else; that is refused")
    if str(value.get("model_type")).startswith("timm"):  # timm would be given what stands there unchecked
        checks.complain(f"{where}.model_type", f"is {brief(value['model_type'])}: a timm model inside is refused")
    return {
        key: _without_code(f"{where}.{key}", item, checks)
        for key, item in value.items()
        if key and not key.startswith("_") and "implementation" not in key  # a key that was refused is None
    }


def _labels(value: object, checks: Checks) -> dict[int, str]:
    if not isinstance(value, dict) or len(value) > MAX_LABELS or not all(_INDEX.fullmatch(key) for key in value):
        checks.complain("id2label", f"is {brief(value)}, not an object from at most {MAX_LABELS} indices to labels")
        return {}
    return {int(index): checks.text("id2label", label, limit=500) or "" for index, label in value.items()}
