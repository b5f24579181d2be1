"""Float32 that is float32: neither TF32 nor bfloat16 inside a multiplication, no autocast around it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

# torch 2.9 brought the new interface; before it the old one reaches everything.
_BACKENDS: tuple[Any, ...] = (
    (
        torch.backends.cuda.matmul,
        torch.backends.cudnn.conv,  # type: ignore[attr-defined]  # set on the module when it is imported
        torch.backends.cudnn.rnn,
        torch.backends.mkldnn.matmul,  # type: ignore[attr-defined]  # likewise
        torch.backends.mkldnn.conv,  # type: ignore[attr-defined]  # likewise
        torch.backends.mkldnn.rnn,  # type: ignore[attr-defined]  # likewise
    )
    if hasattr(torch.backends, "fp32_precision")
    else ()
)


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Compute in float32 proper, on GPUs (TF32) as on CPUs (bfloat16 in oneDNN); afterwards all is as it was.

    torch has two interfaces to these settings since 2.9, and reading the old one is an error once the new one was used.
    Both are set where both may be, so that whoever reads either inside finds what is true.

    >>> with torch.autocast("cpu"), full_precision(torch.device("cpu")):
    ...     (torch.ones(2, 2) @ torch.ones(2, 2)).dtype
    torch.float32
    """
    before = [backend.fp32_precision for backend in _BACKENDS]
    old = _old_interface()
    if old is not None:
        _set_old_interface("highest", False)
    for backend in _BACKENDS:
        backend.fp32_precision = "ieee"
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        if old is not None:
            _set_old_interface(*old)
        for backend, precision in zip(_BACKENDS, before, strict=True):
            backend.fp32_precision = precision


def _old_interface() -> tuple[str, bool] | None:
    try:
        return torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    except RuntimeError:  # the new interface was used
        return None


def _set_old_interface(matmul: str, cudnn: bool) -> None:
    torch.set_float32_matmul_precision(matmul)
    torch.backends.cudnn.allow_tf32 = cudnn
