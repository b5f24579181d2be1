"""From a checkpoint of the authors to a timm model: built, converted, filled, or one error with all that is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from smoothify import surgery
from smoothify.errors import HubError, UnknownNameError
from smoothify.hub.checks import SHOWN
from smoothify.hub.sat.checkpoint import Checkpoint
from smoothify.hub.sat.names import Source, efficientnet_sources, resnet_sources
from smoothify.models.architectures import register

_RESNETS = ("resnet50", "resnet101", "resnet152", "resnext50_32x4d", "resnext50_32x8d", "resnext152_32x8d")
_EFFICIENTNETS = (*(f"efficientnet_b{size}" for size in range(8)), "efficientnet_l1")
MODELS = (*_RESNETS, *_EFFICIENTNETS)
# Their names of activations, and ours; their GELU is the tanh form.
ACTIVATIONS: Mapping[str, str | None] = MappingProxyType(
    {name: name for name in ("silu", "softplus", "elu", "smoothrelu", "mish")} | {"gelu": "gelu_tanh", "relu": None}
)
_AVERAGE = "/ExponentialMovingAverage"
# What training leaves beside a variable of the same name, and its counters.
_SLOTS = (_AVERAGE, "/Momentum", "/RMSProp", "/RMSProp_1", "/Adam", "/Adam_1")
_COUNTERS = ("global_step", "learning_rate", "beta1_power", "beta2_power")


@dataclass(frozen=True)
class Imported:
    """The model, in eval mode, and what of the checkpoint it is made of.

    ``averaged`` tells whether the moving averages of the weights were taken; ``unused`` are the variables that belong
    to training: optimizer state, counters, and what the averages replaced.
    """

    model: nn.Module
    used: int
    averaged: bool
    unused: tuple[str, ...]

    def __str__(self) -> str:
        kind = "averaged weights" if self.averaged else "weights"
        return f"{self.used} variables read ({kind}); {len(self.unused)} left, which belong to training"


def import_sat(
    checkpoint: str | Path,
    *,
    model: str,
    activation: str = "silu",
    input_size: int | None = None,
    averaged: bool | None = None,
    arguments: Mapping[str, Any] | None = None,
) -> Imported:
    """Turn a TensorFlow checkpoint of the authors into a timm model that takes RGB images scaled to [-1, 1].

    Args:
        checkpoint: its prefix, one of its files, or a folder with one checkpoint.
        model: such as "resnet50", "resnext50_32x8d" or "efficientnet_b0".
        activation: "relu", "silu", "softplus", "elu", "gelu", "smoothrelu" or "mish".
        input_size: pixels; the network's own if not given. The authors also released ResNets for 299 and 380.
        averaged: take the moving averages of the weights; if not given, where the checkpoint has one of each.
        arguments: further arguments of the architecture, for networks of other sizes.

    Raises:
        HubError: variables are missing, of another shape, damaged, or belong to another network; all of them are named.
        UnknownNameError: a model or an activation that the authors did not release.
    """
    if model not in MODELS:
        raise UnknownNameError("model of the authors", model, MODELS)
    if activation not in ACTIVATIONS:
        raise UnknownNameError("activation of the authors", activation, ACTIVATIONS)
    variables = Checkpoint(checkpoint)
    built, sources = _built(model, activation, input_size, arguments or {}, variables)
    names = {source.variable for source in sources.values()}
    if averaged is None:
        averaged = all(f"{name}{_AVERAGE}" in variables for name in names)
    suffix = _AVERAGE if averaged else ""
    unused = _leftover(variables, names, {name + suffix for name in names})
    _fill(built, sources, variables, suffix, bgr=model in _RESNETS)
    return Imported(built.eval(), len(names), averaged, unused)


def _built(
    model: str, activation: str, input_size: int | None, arguments: Mapping[str, Any], variables: Checkpoint
) -> tuple[nn.Module, dict[str, Source]]:
    import timm

    register()
    efficient = model in _EFFICIENTNETS
    if efficient and activation != "silu":
        raise HubError(f"{model}: the authors' EfficientNets have silu, not {activation}; leave out the activation")
    chosen = dict(arguments)
    if efficient:
        chosen["bn_eps"] = 1e-5  # their evaluation sets it; TensorFlow's EfficientNets have 1e-3
    overlay: dict[str, Any] = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
    if input_size is not None:
        # Both of their loaders scale the shorter side to 32 pixels more than they then crop.
        overlay |= {"input_size": (3, input_size, input_size), "crop_pct": round(input_size / (input_size + 32), 3)}
    host: nn.Module = timm.create_model(f"tf_{model}", pretrained_cfg_overlay=overlay, **chosen)
    spec = ACTIVATIONS[activation]
    if not efficient and spec is not None:
        surgery.convert_(host, to=spec)
    if not efficient:
        return host, resnet_sources(host)
    scopes = {name.split("/")[0] for name in variables if name.endswith("/stem/conv2d/kernel")}
    if len(scopes) != 1:
        raise HubError(f"{variables.prefix}: holds no NAME/stem/conv2d/kernel, so it is no EfficientNet's checkpoint")
    return host, efficientnet_sources(host, scopes.pop())


def _leftover(variables: Checkpoint, names: set[str], used: set[str]) -> tuple[str, ...]:
    """Return what belongs to training; raise for weights that the model has no place for."""
    left = sorted(set(variables) - used)
    strange = [
        name
        for name in left
        if name not in names
        and not any(name.endswith(slot) and name.removesuffix(slot) in names for slot in _SLOTS)
        and name.split("/")[-1] not in _COUNTERS
        and variables.shape(name) != ()  # a counter or a running mean of a loss
    ]
    missing = sorted(used - set(variables))
    problems = [f"{name} is missing" for name in missing[:SHOWN]] + [
        f"{name} {variables.shape(name)} has no place in the model" for name in strange[:SHOWN]
    ]
    if problems:
        count = len(missing) + len(strange)
        more = f"; and {count - len(problems)} more" if count > len(problems) else ""
        raise HubError(f"{variables.prefix}: {'; '.join(problems)}{more}; is it of this model and activation?")
    return tuple(left)


def _fill(model: nn.Module, sources: Mapping[str, Source], variables: Checkpoint, suffix: str, *, bgr: bool) -> None:
    state = {name: value for name, value in model.state_dict().items() if not name.endswith("num_batches_tracked")}
    assert set(state) == set(sources), sorted(set(state) ^ set(sources))
    problems: list[str] = []
    values: dict[str, Tensor] = {}
    for name, source in sources.items():
        expected, variable = state[name], f"{source.variable}{suffix}"
        if not _fits(variables.shape(variable), source, expected):
            problems.append(f"{variable} is {variables.shape(variable)}, for {name} of {tuple(expected.shape)}")
            continue
        stored = variables[variable]
        if not stored.is_floating_point():
            problems.append(f"{variable} holds {stored.dtype}, no weights")
            continue
        if source.layout == "same":
            stored = stored.reshape(expected.shape)  # theirs are (1, 1, 1, 1, channels) in EfficientNets' norms
        values[name] = source.read(stored).to(expected.dtype)
    if problems:
        more = f"; and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise HubError(f"{variables.prefix}: {'; '.join(problems[:SHOWN])}{more}; is it of this model?")
    if bgr:  # their ResNets are fed by OpenCV, which reads blue first
        values["conv1.weight"] = values["conv1.weight"].flip(1)
    model.load_state_dict(values, strict=False)  # the assertion above left out the counters of batch norms only


def _fits(shape: tuple[int, ...], source: Source, expected: Tensor) -> bool:
    if source.layout == "same":
        return [size for size in shape if size != 1] == [size for size in expected.shape if size != 1]
    return len(shape) == expected.ndim and source.read(torch.empty(shape, device="meta")).shape == expected.shape
