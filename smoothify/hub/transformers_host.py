"""transformers as a host: image classifiers of its own mapping, safetensors only, no remote code."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import nn

from smoothify.errors import HubError
from smoothify.hub.bounds import bounded_construction
from smoothify.hub.checks import Checks, brief
from smoothify.hub.weights import read_weights, refuse_disagreements

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
_ALWAYS_KEPT = {"id2label", "problem_type"}
MAX_LABELS = 100_000


def describes(raw: dict[str, Any]) -> bool:
    """Tell whether a config.json is one of transformers' (and not of timm's or ours).

    >>> describes({"model_type": "resnet"}), describes({"architecture": "resnet18"})
    (True, False)
    """
    return "smoothify" not in raw and "architecture" not in raw and "model_type" in raw


def load(raw: dict[str, Any], weights: bytes, source: str) -> nn.Module:
    """Build the classifier that a transformers config.json describes and fill it; in eval mode, on the CPU.

    ``raw`` is the parsed config, ``weights`` the content of model.safetensors. Raises ``HubError`` when the
    class is not one of transformers' image classifiers, for any key that would fetch or run something, for
    sizes beyond the bounds, and for weights that do not fit exactly.
    """
    try:
        import transformers
        from transformers.models.auto.modeling_auto import (
            MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES as CLASSES,
        )
    except ImportError as error:
        raise HubError(
            f"{source}: is a transformers model; install it with `pip install smoothify-torch[transformers]`"
        ) from error
    where = f"{source}/config.json"
    model_type, name = _class_name(raw, CLASSES, where)
    config_class, model_class = transformers.CONFIG_MAPPING[model_type], getattr(transformers, name)
    values = _kept_values(raw, config_class, where)
    stored = read_weights(weights, f"{source}/model.safetensors")
    with bounded_construction(where):
        try:
            config = config_class(**values)
            with torch.device("meta"):
                model_class(config)
            model, info = model_class.from_pretrained(None, config=config, state_dict=stored, output_loading_info=True)
        except HubError:
            raise
        except Exception as error:  # a stranger's config can make a constructor raise anything
            reason = " ".join(str(error).split())[:300]
            raise HubError(f"{where}: transformers cannot build {name} ({reason})") from error
    found = [f"{key} is {kind.split('_')[0]}" for kind in info for key in sorted(map(str, info[kind]))]
    refuse_disagreements(f"{source}/model.safetensors", found)
    classifier: nn.Module = model
    return classifier.eval()


def _class_name(raw: dict[str, Any], classes: Any, where: str) -> tuple[str, str]:
    model_type, named = raw.get("model_type"), raw.get("architectures")
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
            value = checks.plain(key, raw[key])
            kept[key] = list(value) if isinstance(value, tuple) else value
    checks.raise_if_any()
    return kept


def _labels(value: object, checks: Checks) -> dict[int, str]:
    if not isinstance(value, dict) or len(value) > MAX_LABELS or not all(key.isdecimal() for key in value):
        checks.complain("id2label", f"is {brief(value)}, not an object from at most {MAX_LABELS} indices to labels")
        return {}
    return {int(index): checks.text("id2label", label, limit=500) or "" for index, label in value.items()}
