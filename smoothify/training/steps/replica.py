"""A lighter copy of a classifier for the attack: an attack needs the signs of a gradient, not its digits."""

from __future__ import annotations

import copy
from collections import Counter, OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from smoothify.attacks import forget_caches, inference_mode_of
from smoothify.models import PixelClassifier


class Replica(nn.Module):
    """A classifier's twin, channels last, batch norms folded into convolutions where they pair.

    It computes what the classifier computes in eval mode, to its own precision, and holds no parameter that a
    gradient could reach. `refresh` copies the classifier's weights and batch statistics anew.

    Args:
        classifier: what it follows.
        images: a few images (batch, channels, height, width), to see which batch norm follows which convolution.
        dtype: that it computes in, bfloat16 or float32.

    Raises:
        RuntimeError: the host cannot compute in bfloat16, not even under autocast.

    >>> from smoothify.models import build
    >>> classifier = PixelClassifier.from_host(build("resnet10_28px", num_classes=10)).eval()
    >>> images = torch.rand(2, 1, 28, 28)
    >>> replica = Replica(classifier, images)
    >>> replica.folded, replica.batch_norms, bool((replica(images) - classifier(images)).abs().max() < 0.1)
    (15, 15, True)
    """

    mean: Tensor
    std: Tensor

    def __init__(self, classifier: PixelClassifier, images: Tensor, *, dtype: torch.dtype = torch.bfloat16) -> None:
        super().__init__()
        images, self.dtype, self.autocast = images[:2], dtype, False
        pairs = find_pairs(classifier.model, (images - classifier.mean) / classifier.std)
        self.batch_norms = sum(isinstance(module, nn.BatchNorm2d) for module in classifier.modules())
        self.register_buffer("mean", classifier.mean, persistent=False)
        self.register_buffer("std", classifier.std, persistent=False)
        self._build(classifier.model, pairs, torch.float32)
        if not self._agrees(classifier, images):
            pairs = []
        self.folded = len(pairs)
        self._build(classifier.model, pairs, dtype)
        self.autocast = dtype != torch.float32 and not self._runs(images)
        if self.autocast and not self._runs(images):
            raise RuntimeError(f"{type(classifier.model).__name__} does not compute in bfloat16")

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (batch, classes), float32, of images (batch, channels, height, width) in [0, 1]."""
        own = next(self.host.parameters()).dtype
        normalised = ((images - self.mean) / self.std).to(own, memory_format=torch.channels_last)
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.autocast):
            output = self.host(normalised)
        logits: Tensor = getattr(output, "logits", output)
        return logits.float()

    @torch.no_grad()
    def refresh(self) -> None:
        """Take over the classifier's weights and batch statistics."""
        forget_caches(self.host)
        if self._targets:
            torch._foreach_copy_(self._targets, self._sources)
        for pair, weight, bias in self._pairs:
            scale, shift = pair.scale_and_shift()
            weight.copy_(pair.convolution.weight * scale.view(-1, 1, 1, 1))
            bias.copy_(shift)

    @property
    def bytes(self) -> int:
        """What it adds to memory, activations apart."""
        held = [*self.host.parameters(), *self.host.buffers()]
        return sum(tensor.numel() * tensor.element_size() for tensor in held)

    def _build(self, host: nn.Module, pairs: list[Pair], dtype: torch.dtype) -> None:
        copies: dict[int, Any] = {}
        with torch.no_grad():
            self.host = copy.deepcopy(host, copies)
        convolutions = [copies[id(pair.convolution)] for pair in pairs]
        for convolution in convolutions:
            convolution.bias = nn.Parameter(convolution.weight.new_zeros(convolution.out_channels))
        norms = {id(copies[id(pair.norm)]): _without_norm(copies[id(pair.norm)]) for pair in pairs}
        for module in list(self.host.modules()):
            for name, child in module.named_children():
                if id(child) in norms:
                    setattr(module, name, norms[id(child)])
        self.host.requires_grad_(False).eval().to(dtype).to(memory_format=torch.channels_last)
        self._pairs = [
            (pair, convolution.weight, convolution.bias) for pair, convolution in zip(pairs, convolutions, strict=True)
        ]
        fused = {id(tensor) for _, *targets in self._pairs for tensor in targets}
        sources, targets = _tensors(host), _tensors(self.host)
        followed = [name for name, tensor in targets.items() if tensor.is_floating_point() and id(tensor) not in fused]
        self._sources, self._targets = [sources[name] for name in followed], [targets[name] for name in followed]
        self.refresh()

    @torch.no_grad()
    def _agrees(self, classifier: PixelClassifier, images: Tensor) -> bool:
        """Whether folding left the function alone, in float32."""
        with inference_mode_of(classifier):
            expected = classifier(images)
        try:
            found = self(images)
        except (AttributeError, RuntimeError, TypeError):  # the host's own code looks into what was folded
            return False
        return bool((found - expected).abs().max() <= 1e-3 * expected.abs().max())

    def _runs(self, images: Tensor) -> bool:
        tried = images.detach().requires_grad_()
        try:
            torch.autograd.grad(self(tried).sum(), tried)
        except (RuntimeError, NotImplementedError):  # float32 tables meet bfloat16 images somewhere
            return False
        return True


@dataclass(frozen=True)
class Pair:
    """A convolution and the batch norm that alone reads its output."""

    convolution: nn.Conv2d
    norm: nn.BatchNorm2d

    def scale_and_shift(self) -> tuple[Tensor, Tensor]:
        """Return what multiplies the convolution's weight, and the bias that both come to, each (channels,)."""
        mean, variance = self.norm.running_mean, self.norm.running_var
        assert mean is not None and variance is not None
        scale = (variance + self.norm.eps).rsqrt_()
        if self.norm.weight is not None:
            scale *= self.norm.weight
        shift = (self.convolution.bias - mean if self.convolution.bias is not None else -mean) * scale
        return scale, shift if self.norm.bias is None else shift + self.norm.bias


def find_pairs(host: nn.Module, normalised: Tensor) -> list[Pair]:
    """Find the convolutions whose output goes into one batch norm and nowhere else, by watching a forward.

    Args:
        host: a model of normalised images; it is watched in eval mode and left in the mode it was in.
        normalised: what it takes.
    """
    convolutions = {id(module.weight): module for module in host.modules() if isinstance(module, nn.Conv2d)}
    norms = {
        id(module.running_mean): module
        for module in host.modules()
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None
    }
    with torch.no_grad(), inference_mode_of(host), _Watch(convolutions, norms) as seen:
        host(normalised)
    return list(seen.pairs())


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call] # torch leaves its __init_subclass__ untyped
    """Sees which tensor comes out of which convolution, and everything that reads it."""

    def __init__(self, convolutions: dict[int, nn.Conv2d], norms: dict[int, nn.BatchNorm2d]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._convolutions, self._norms = convolutions, norms
        self._outputs: list[tuple[Tensor, nn.Conv2d]] = []  # kept, so that no tensor after it gets the same id
        self._read_by: dict[int, nn.BatchNorm2d] = {}
        self._reads: Counter[int] = Counter()
        self._calls: Counter[int] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        self._reads.update(id(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor))
        if func is torch.ops.aten.convolution.default and id(args[1]) in self._convolutions:
            convolution = self._convolutions[id(args[1])]
            self._calls[id(convolution)] += 1
            self._outputs.append((output, convolution))
            self._reads[id(output)] = 0  # whatever was seen of it belongs to a tensor that had this id before
            self._read_by.pop(id(output), None)
        elif "batch_norm" in func.__name__ and id(args[3]) in self._norms:
            norm = self._norms[id(args[3])]
            self._calls[id(norm)] += 1
            self._read_by[id(args[0])] = norm
        return output

    def pairs(self) -> Iterator[Pair]:
        for output, convolution in self._outputs:
            norm = self._read_by.get(id(output))
            if norm is None or self._reads[id(output)] != 1:
                continue
            if self._calls[id(convolution)] == self._calls[id(norm)] == 1:
                yield Pair(convolution, norm)


def _without_norm(norm: nn.BatchNorm2d) -> nn.Module:
    """What a batch norm does besides normalising, under the same names: timm's have an activation of their own."""
    rest = OrderedDict((name, getattr(norm, name)) for name in ("drop", "act") if hasattr(norm, name))
    return nn.Sequential(rest) if rest else nn.Identity()


def _tensors(host: nn.Module) -> dict[str, Tensor]:
    return {**dict(host.named_parameters()), **dict(host.named_buffers())}
