"""The model that the training attack sees, and the precision that it computes in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from smoothify.errors import ConfigError
from smoothify.models import PixelClassifier
from smoothify.training.steps.replica import Replica

Precision = Literal["auto", "replica", "folded", "autocast", "same"]


def attacked_model(
    precision: Precision,
    model: nn.Module,
    classifier: PixelClassifier,
    images: Tensor,
    *,
    compiled: bool,
    mixed: bool = False,
    note: Callable[[str], None] = lambda line: None,
) -> nn.Module:
    """Return what the attack sees.

    Args:
        precision: "replica", "folded", "autocast", "same", or "auto" for the fastest that this device supports well.
        model: the classifier as it is trained, unwrapped; in eval mode, mixed precision and compilation included.
        classifier: the bare classifier with the same weights.
        images: a few images (batch, channels, height, width), on the device.
        compiled: whether models are compiled.
        mixed: whether the model computes in mixed precision.
        note: hears it in a line where "auto" would be a replica and the model cannot have one.

    Raises:
        ConfigError: a replica is asked for of a model that cannot have one.
    """
    chosen = fastest(images.device, mixed=mixed) if precision == "auto" else precision
    if chosen in ("replica", "folded"):
        try:
            replica = Replica(classifier, images, dtype=torch.bfloat16 if chosen == "replica" else torch.float32)
        except RuntimeError as error:
            if precision != "auto":
                raise ConfigError(f"attack.precision={precision}: {error}; choose autocast or same") from error
            note(f"training attacks the model itself, as with attack.precision=same: it has no replica ({error})")
            chosen = "same"
        else:
            if precision == "auto" and chosen == "folded" and not replica.folded:
                return attacked_model("same", model, classifier, images, compiled=compiled)
            if compiled:
                replica.compile()
            return replica
    if compiled:
        model = Frozen(model)
        model.compile()
    return Autocast(model) if chosen == "autocast" else model


def fastest(device: torch.device, *, mixed: bool = False) -> Literal["replica", "folded", "same"]:
    """Return the precision for a device: a replica, in bfloat16 where the hardware multiplies bfloat16.

    Where it does not, the model in mixed precision is faster than a replica in float32.
    """
    if device.type == "cpu":
        supported = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    else:
        supported = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    if supported:
        return "replica"
    return "same" if mixed else "folded"


def precision_of(attacked: nn.Module) -> Precision:
    """Name what `attacked_model` chose."""
    if isinstance(attacked, Replica):
        return "folded" if attacked.dtype == torch.float32 else "replica"
    return "autocast" if isinstance(attacked, Autocast) else "same"


def describe(attacked: nn.Module) -> str | None:
    """Say what attacks are computed on, if it is not what is trained."""
    if isinstance(attacked, Replica):
        folding = f", {attacked.folded} of {attacked.batch_norms} batch norms folded" if attacked.batch_norms else ""
        kind = str(attacked.dtype).removeprefix("torch.")
        return f"training attacks a {kind} replica of the model{folding}; it adds {attacked.bytes / 2**20:.1f} MiB"
    return "training attacks the model under bfloat16 autocast" if isinstance(attacked, Autocast) else None


class Autocast(nn.Module):
    """A model that computes in bfloat16 where autocast thinks it safe, and returns float32."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (batch, classes) of images in [0, 1]."""
        with torch.autocast(images.device.type, torch.bfloat16):
            logits: Tensor = self.model(images)
        return logits.float()


class Frozen(nn.Module):
    """A model whose parameters are constants, so that a compiler computes no gradient of theirs."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (batch, classes) of images in [0, 1]."""
        constants = {name: parameter.detach() for name, parameter in self.model.named_parameters()}
        logits: Tensor = torch.func.functional_call(self.model, constants, (images,))
        return logits
