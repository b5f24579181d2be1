"""What a probe has seen: operations that are not simply smooth, and the code that ran them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import Literal

from torch import nn

from smoothify.surgery.sites import Found

Category = Literal["activation", "nonsmooth", "unverified"]
KEPT = "kept: "
"""What begins the entry of a trace for what is to stay, and may be spelled like an activation: a clamp, a weight's."""


@dataclass(frozen=True, slots=True)
class Event:
    """An operation that ran and is not simply smooth, and the code that ran it."""

    category: Category
    name: str
    found: Found | None
    module: nn.Module
    """The original of the module whose method holds the call."""
    method: str
    code: CodeType | None
    """The code that holds the call itself: the method, or a helper that it calls."""
    file: str
    line: int
    own_backward: bool = False
    """Whether it ran inside an ``autograd.Function``, whose backward would stay what it is."""
    run_again: bool = False
    """Whether ``checkpoint`` will run it again in the backward pass, and not the whole method."""
    of_weight: bool = False
    """Whether it is an activation of a parameter itself, which the input does not reach."""

    @property
    def source(self) -> str:
        """``file:line``, the file without its folders."""
        return f"{Path(self.file).name}:{self.line}"
