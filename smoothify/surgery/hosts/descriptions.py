"""The host's own description of a model follows a conversion, where that provably builds the same model."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from smoothify.surgery.recognition.attributes import held, held_function
from smoothify.surgery.recognition.edges import walk
from smoothify.surgery.recognition.modules import described, recognised
from smoothify.surgery.sites import Site

FIELDS = ("hidden_act", "activation_function", "hidden_activation")

# transformers' name for a spec of ours, where the two differ.
NAMES = {"gelu_tanh": "gelu_pytorch_tanh"}


def follow(root: nn.Module, sites: Iterable[Site]) -> str:
    """Update ``config.hidden_act`` after a conversion and say so; '' where nothing can be said truthfully.

    The proof is a second model, built on the meta device from the changed config: only if every activation in
    it is what stands in the converted model is the config changed.
    """
    config = getattr(root, "config", None)
    changed = [site for site in sites if site.becomes is not None]
    if config is None or not type(config).__module__.startswith("transformers.") or not changed:
        return ""
    field = next((name for name in FIELDS if isinstance(getattr(config, name, None), str)), None)
    specs = {site.becomes for site in changed}
    if field is None or len(specs) != 1 or any(site.kind not in ("module", "attribute") for site in changed):
        return ""
    spec = str(specs.pop())
    name = NAMES.get(spec, spec)
    candidate = copy.deepcopy(config)
    setattr(candidate, field, name)
    if not _builds_the_same(root, candidate):
        return ""
    setattr(config, field, name)
    return f"config.{field} now says {name!r}, and builds this model without smoothify"


def _builds_the_same(root: nn.Module, config: Any) -> bool:
    try:
        with torch.device("meta"):
            rebuilt = type(root)(config)
    except Exception:  # whatever a host's __init__ raises: it does not build from this config, so nothing follows
        return False
    return _activations(rebuilt) == _activations(root)


def _activations(model: nn.Module) -> dict[str, str]:
    found = {
        path: described(node.module)[0]
        for node in walk(model)
        for path in node.paths
        if recognised(node.module) is not None
    }
    for thing in held(model):
        if isinstance(thing.value, nn.Module):
            found[thing.path] = described(thing.value)[0]
        elif (function := held_function(thing.value)) is not None:
            found[thing.path] = function.function
    return found
