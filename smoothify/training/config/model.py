"""What is trained."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from smoothify.activations import parse
from smoothify.activations.sharpness import NEARLY_RELU
from smoothify.data import MODES, CropMode, Interpolation
from smoothify.errors import ConfigError
from smoothify.models.importing import is_import_path
from smoothify.training.config.bounds import at_least


@dataclass(frozen=True)
class ModelConfig:
    """What is trained.

    Args:
        name: architecture: a preset ("resnet10_28px"), "timm/NAME", "torchvision/NAME" or "transformers/ID", with a
            Hub id, a folder or a model type; the import path of a class or function of your own, "my_nets:small_net";
            or a saved model: "hf-hub:owner/name", a run's folder.
        activation: what its non-smooth activations become, such as "silu" or "celu(alpha=1.4)"; "keep" keeps them.
        recalibrate: estimate the statistics of its batch norms anew before the first step, on up to 200 batches; those
            that it comes with belong to the activations that it had.
        anneal: epochs in which activations go from nearly ReLU to what they are to be, so that trained weights are not
            shocked; for those with a sharpness, swish and parametric_softplus. No epoch before is taken for the best.
        pretrained: start from the weights that the architecture's library publishes (needs the network), or from
            those of the saved model.
        architecture: the import path of your own code, where a saved model was built by it.
        arguments: further keyword arguments of the architecture's constructor, such as drop_rate and drop_path_rate.
        input_size: channels, height and width in pixels; the architecture's own if not given.
        crop_pct: share of a resized picture's side that is measured on, in (0, 1]; the architecture's own if not given.
        crop_mode: "center" crops the middle, "squash" gives up the aspect ratio first, "border" pads to a square first;
            the architecture's own if not given.
        interpolation: by which pictures that are measured on are resized, such as "bicubic"; the architecture's own if
            not given.
        mean: subtracted from every channel, in [0, 1] pixel units; the architecture's own if not given.
        std: every channel is divided by it, in [0, 1] pixel units; the architecture's own if not given.

    >>> ModelConfig("timm/resnet50", activation="celu(alpha=1.4)", pretrained=True).activation
    'celu(alpha=1.4)'
    >>> ModelConfig(crop_pct=2)
    Traceback (most recent call last):
    smoothify.errors.ConfigError: model.crop_pct=2: it must be in (0, 1]
    """

    name: str = "resnet10_28px"
    activation: str = "parametric_softplus"
    recalibrate: bool = False
    anneal: float = 0.0
    pretrained: bool = False
    architecture: str | None = None
    arguments: dict[str, Any] = field(default_factory=dict)
    input_size: tuple[int, int, int] | None = None
    crop_pct: float | None = None
    crop_mode: CropMode | None = None
    interpolation: Interpolation | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        for name in ("num_classes", "num_labels"):
            if name in self.arguments:
                raise ConfigError(f"model.arguments.{name}: the data says how many classes there are; leave it out")
        if self.input_size is not None and (self.input_size[0] not in MODES or min(self.input_size) < 1):
            raise ConfigError(
                f"model.input_size={list(self.input_size)}: 1 or 3 channels, then height and width in pixels"
            )
        if self.crop_pct is not None and not 0 < self.crop_pct <= 1:
            raise ConfigError(f"model.crop_pct={self.crop_pct:g}: it must be in (0, 1]")
        if (self.mean is None) != (self.std is None):
            raise ConfigError("model.mean and model.std go together; give both or neither")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if values is not None and not all(0 <= value <= 1 and (value or name == "mean") for value in values):
                raise ConfigError(
                    f"model.{name}={list(values)}: each is in {'[' if name == 'mean' else '('}0, 1], of pixels in "
                    "[0, 1]; divide what was measured in [0, 255] by 255"
                )
        at_least("model.anneal", self.anneal, 0)
        if self.activation != "keep":
            parse(self.activation)
        if self.anneal:
            self._check_annealing()
        if self.architecture is not None and not is_import_path(self.architecture):
            raise ConfigError(
                f"model.architecture={self.architecture!r}: give an import path, such as 'my_nets:small_net'"
            )

    def _check_annealing(self) -> None:
        entry, parameters = parse(self.activation) if self.activation != "keep" else (None, {})
        if entry is None or entry.sharpness is None:
            raise ConfigError(
                f"model.anneal: activation {self.activation!r} has no sharpness that could fall; "
                "set model.activation to swish or parametric_softplus"
            )
        if {**entry.defaults, **parameters}[entry.sharpness] > NEARLY_RELU:
            raise ConfigError(
                f"model.anneal would end with {self.activation}, which is sharper than the {NEARLY_RELU:g} that it "
                "begins with; leave it out"
            )
