"""The two parts of a timm config.json that reach timm: creation arguments and ``pretrained_cfg``, checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from smoothify.hub.checks import Checks

# Arguments of timm.create_model and its builder that name files, addresses, devices or other loaders.
_REFUSED = {
    *("cache_dir", "checkpoint_path", "file", "url"),
    *("device", "dtype", "exportable", "no_jit", "scriptable"),
    *("feature_cfg", "feature_cls", "features_only", "kwargs_filter", "out_indices", "pruned"),
    *("model_cfg", "model_cls", "model_name", "variant"),
}
MAX_LABELS = 100_000
INPUT = ("input_size", "mean", "std", "crop_pct", "crop_mode", "interpolation")
"""What of it says how images are to be prepared."""


def read_model_args(value: object, checks: Checks, where: str) -> dict[str, Any]:
    """Return the arguments for ``timm.create_model`` if they are bounded plain JSON under harmless names."""
    arguments = checks.mapping(where, value)
    for name in arguments:
        if name in _REFUSED or name.startswith("pretrained") or not name.isidentifier() or len(name) > 64:
            checks.complain(where, f"may not hold {name[:64]!r}")
    return {name: checks.plain(f"{where}.{name[:64]}", item) for name, item in arguments.items()}


def read_pretrained_cfg(value: object, checks: Checks, where: str = "pretrained_cfg") -> dict[str, Any]:
    """Return the fields of timm's ``pretrained_cfg`` that describe input and labels; others are dropped.

    ``where`` is what complaints call it.
    """

    def size(where: str, item: object) -> Any:
        return checks.sequence(where, item, range(3, 4), lambda w, v: checks.integer(w, v, 1, 4096))

    def channel_values(where: str, item: object) -> Any:
        return checks.sequence(where, item, range(1, 1025), lambda w, v: checks.number(w, v, -1e6, 1e6))

    def names(where: str, item: object) -> Any:
        if isinstance(item, list):
            return checks.sequence(where, item, range(65), lambda w, v: checks.text(w, v, limit=500))
        return checks.text(where, item)

    def labels(where: str, item: object) -> Any:
        if isinstance(item, list):
            return checks.sequence(where, item, range(MAX_LABELS + 1), lambda w, v: checks.text(w, v, limit=500))
        if isinstance(item, dict) and len(item) <= MAX_LABELS:
            return {key[:500]: checks.text(where, text, limit=2000) for key, text in item.items()}
        checks.complain(where, "is neither a list nor an object of labels")
        return None

    readers: dict[str, Callable[[str, Any], Any]] = {
        **dict.fromkeys(("input_size", "test_input_size", "min_input_size"), size),
        **dict.fromkeys(("mean", "std"), channel_values),
        **dict.fromkeys(("crop_pct", "test_crop_pct"), lambda w, v: checks.number(w, v, 0.01, 10.0)),
        **dict.fromkeys(("interpolation", "crop_mode", "tag"), lambda w, v: checks.text(w, v, r"[\w.\-]*", 100)),
        **dict.fromkeys(("license", "description", "origin_url", "paper_name"), checks.text),
        **dict.fromkeys(("first_conv", "classifier", "paper_ids", "notes"), names),
        **dict.fromkeys(("label_names", "label_descriptions"), labels),
        **dict.fromkeys(
            ("pool_size", "test_pool_size"),
            lambda w, v: checks.sequence(w, v, range(1, 4), lambda w, v: checks.integer(w, v, 1, 4096)),
        ),
        "fixed_input_size": checks.flag,
        "num_classes": lambda w, v: checks.integer(w, v, -1, 1_000_000),
    }
    found = checks.mapping(where, value)
    return {name: read(f"{where}.{name}", found[name]) for name, read in readers.items() if found.get(name) is not None}


def read_input_of(model: nn.Module, checks: Checks) -> dict[str, Any]:
    """Return what a model of another library says of its input in the words of timm, as far as it says it."""
    told = getattr(model, "pretrained_cfg", None)
    return read_pretrained_cfg({name: told.get(name) for name in INPUT} if isinstance(told, Mapping) else {}, checks)
