"""Models of the user's own code as a host: the caller names the class or factory, a repository never does."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from smoothify.errors import HubError, SmoothifyError, UnknownNameError
from smoothify.hub.checks import Checks, printable
from smoothify.hub.config import NEEDS_SMOOTHIFY, ModelConfig
from smoothify.hub.hosts.bounds import bounded_construction
from smoothify.hub.timm_fields import read_model_args, read_pretrained_cfg
from smoothify.models.importing import Factory, imported, is_import_path
from smoothify.surgery.probing.model_copy import copy_of

NAME = "user"
_ARGUMENTS = "_smoothify_model_args"  # what a model that was loaded was built with, for when it is saved again
_NOT_THE_USERS = {
    *sys.stdlib_module_names,
    *(
        "accelerate",
        "datasets",
        "huggingface_hub",
        "numpy",
        "safetensors",
        "timm",
        "torch",
        "torchvision",
        "transformers",
    ),
}
_SHOWN_LOGITS = 64  # of each of two images; enough to tell two computations apart


def is_code(architecture: object) -> bool:
    """Tell whether ``architecture`` is code, or the import path of some, and not a library's name.

    >>> is_code(nn.Linear), is_code("torch.nn:Linear"), is_code("resnet18")
    (True, True, False)
    """
    return callable(architecture) or is_import_path(architecture)


def with_code(config: ModelConfig, architecture: str | Factory | None, source: str) -> ModelConfig:
    """Return ``config`` with the code that the caller gave for it; nothing that the config names is imported.

    Raises ``HubError`` when a model of the user's own comes without code, and a library's model with some.
    """
    if config.host != NAME and architecture is not None:
        raise HubError(f"{source}: is a model of {config.host}, which builds it; leave architecture= out")
    if config.host != NAME:
        return config
    if architecture is None:
        raise HubError(
            f"{source}: was built by code of its author's own, which they called {config.architecture!r}; what a "
            "repository names is never run. If you have that code and trust it, pass the class or function, or its "
            "import path, as architecture="
        )
    return dataclasses.replace(config, factory=_factory(architecture))


def owns(model: nn.Module) -> bool:
    """No class gives away that it is the user's own: the caller says so."""
    return False


def describe(model: nn.Module, architecture: str | Factory | None, overrides: Mapping[str, Any]) -> ModelConfig:
    """Return the description of a model that ``architecture(**overrides)`` builds, with its signature."""
    factory = _factory(architecture)
    name = architecture if isinstance(architecture, str) else f"{factory.__module__}:{factory.__qualname__}"
    size = example_size(model)
    checks = Checks("model_args")
    remembered: Mapping[str, Any] = getattr(model, _ARGUMENTS, {})
    given = {**remembered, **overrides}
    given = {key: list(value) if isinstance(value, tuple) else value for key, value in given.items()}
    model_args = read_model_args(given, checks, "model_args")
    described: Mapping[str, Any] = model.pretrained_cfg  # type: ignore[assignment]  # example_size found it
    cfg = {key: list(value) if isinstance(value, tuple) else value for key, value in described.items()}
    config = ModelConfig(
        name,
        host=NAME,
        model_args=model_args,
        pretrained_cfg=read_pretrained_cfg(cfg | {"input_size": list(size)}, checks),
        num_classes=_fixed_logits(model).shape[1],
        signature=_signature(model),
        factory=factory,
    )
    checks.raise_if_any()
    return config


def build(config: ModelConfig, *, meta: bool = False, source: str = "config.json") -> nn.Module:
    """Build the model with random weights, within bounds; see ``Host.build``. Code that cannot run on the meta device
    runs on the CPU. What comes back is a copy: filling and converting it changes nothing that the code itself holds,
    such as a default argument.
    """
    assert config.factory is not None, "with_code comes first"
    device = torch.device("meta") if meta else nullcontext()
    with bounded_construction(source):
        try:
            with device:
                model = copy_of(config.factory(**config.model_args))
        except HubError:
            raise
        except Exception as error:  # the user's code can raise anything
            if meta:
                return build(config, source=source)
            reason = f"{type(error).__name__}: {printable(error)[:300]}"
            raise HubError(
                f"{source}: {_called(config)} fails ({reason}); pass its arguments as model_args= when saving"
            ) from error
    if not isinstance(model, nn.Module):
        raise HubError(f"{source}: {_called(config)} returns {type(model).__name__}, not a torch module")
    setattr(model, _ARGUMENTS, dict(config.model_args))
    model.pretrained_cfg = dict(config.pretrained_cfg)  # type: ignore[assignment]  # described as timm describes its own
    return model


def shared_and_converted(config: ModelConfig) -> str:
    """Say which converted modules are the code's own and so the same in every model that it builds; '' if none is."""
    assert config.factory is not None, "with_code comes first"
    try:
        with bounded_construction("the code"):
            models = [config.factory(**config.model_args) for _ in range(2)]
        first, second = (dict(model.named_modules()) for model in models)
    except Exception:  # then the error that led here is the one to tell
        return ""
    converted = {path for conversion in config.conversions for path in conversion["sites"]}
    shared = sorted(path for path in converted if path in first and first[path] is second.get(path))
    if not shared:
        return ""
    return (
        f"{', '.join(shared[:3])} is one object in every model of {_called(config)}, a default argument or a global "
        "variable, and convert_ has changed it for all of them, in this process only. Convert a copy of a fresh model, "
        "smoothify.convert(model), in a new process, or let the code make one for each model: act=None, and nn.ReLU() "
        "where it is None"
    )


def example_size(model: nn.Module) -> tuple[int, int, int]:
    """Return the (channels, height, width) that the model says it takes."""
    described = getattr(model, "pretrained_cfg", None)
    size = described.get("input_size") if isinstance(described, Mapping) else None
    if not isinstance(size, list | tuple) or len(size) != 3:
        raise HubError(
            f"{type(model).__name__}: does not say what images it takes; set its pretrained_cfg = "
            '{"input_size": (3, 32, 32), "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}, with its own numbers'
        )
    return int(size[0]), int(size[1]), int(size[2])


def native_documents(config: ModelConfig) -> list[dict[str, Any]]:
    """No library has this model."""
    return []


def refusing_document(config: ModelConfig) -> dict[str, Any]:
    """Return a config.json content that names no architecture of any library."""
    return {
        "architecture": f"{NEEDS_SMOOTHIFY}{config.architecture.rpartition(':')[2]}",
        "num_classes": config.num_classes,
        "pretrained_cfg": dict(config.pretrained_cfg),
    }


def load_alone(folder: Path) -> nn.Module:
    """No library has this model."""
    raise HubError(f"{folder}: is a model of its author's own code")


def _signature(model: nn.Module) -> tuple[tuple[float, ...], ...]:
    """Return some logits of two fixed images, by which code that computes something else is told; in eval mode."""
    return tuple(tuple(row) for row in _fixed_logits(model)[:, :_SHOWN_LOGITS].double().tolist())


@torch.no_grad()
def _fixed_logits(model: nn.Module) -> Tensor:
    size = example_size(model)
    first = next((p for p in model.parameters() if p.is_floating_point()), torch.zeros(()))
    count = 2 * size[0] * size[1] * size[2]
    images = torch.arange(count, dtype=torch.float64).mul(0.7).sin().view(2, *size).to(first)
    output = model(images)
    logits = getattr(output, "logits", output)
    if not isinstance(logits, Tensor) or logits.ndim != 2:
        raise HubError(
            f"{type(model).__name__}: does not return logits (batch, classes); publish the classifier itself"
        )
    return logits


def refuse_other_code(model: nn.Module, config: ModelConfig, source: str) -> None:
    """Raise ``HubError`` if the code that the caller gave computes something else than what was saved."""
    expected = torch.tensor(config.signature, dtype=torch.float64)
    found = torch.tensor(_signature(model), dtype=torch.float64)
    precision = max((torch.finfo(p.dtype).eps for p in model.parameters() if p.is_floating_point()), default=0.0)
    tolerance = min(0.05, 1e4 * precision) * max(1.0, float(expected.abs().max())) if expected.numel() else 0.0
    if expected.shape != found.shape or not bool(((expected - found).abs() <= tolerance).all()):
        raise HubError(
            f"{source}: {_called(config)} builds a model that takes the same weights and gives other logits than the "
            "one that was saved; pass the code that it was saved with"
        )


def _factory(architecture: str | Factory | None) -> Factory:
    if isinstance(architecture, str):
        try:
            found = imported(architecture)
        except SmoothifyError as error:
            named = ": " if isinstance(error, UnknownNameError) else "="  # all other errors begin with its value
            raise HubError(f"architecture{named}{error}") from error
    else:
        assert architecture is not None
        found = architecture
    if not hasattr(found, "__qualname__"):
        raise HubError(
            f"architecture={found!r}: has no name; pass a class or function, and its arguments as model_args= when "
            "saving"
        )
    # The arguments come from a repository, which may hope that its reader pastes a name such as os:system.
    origin = str(found.__module__).partition(".")[0]
    model = isinstance(found, type) and issubclass(found, nn.Module)
    if isinstance(found, type) != model or (not model and origin in _NOT_THE_USERS):
        raise HubError(
            f"architecture={found.__module__}:{found.__qualname__}: is no model's class or function of yours"
        )
    return found


def _called(config: ModelConfig) -> str:
    given = ", ".join(f"{name}={value!r}" for name, value in config.model_args.items())
    return printable(f"{config.architecture}({given})"[:200])
