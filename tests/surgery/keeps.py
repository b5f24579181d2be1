"""What models call and do not hold, and what keeps tensors from one call to the next."""

from functools import lru_cache
from typing import ClassVar

import torch
from torch import Tensor

GRIDS: dict[str, Tensor] = {}
NESTED: dict[str, dict[str, tuple[Tensor, int]]] = {"grids": {}}
LAST: list[Tensor] = []
ONES: Tensor | None = None


@lru_cache(None)
def grid(width: int) -> Tensor:
    return torch.linspace(-1, 1, width)


def by_key(x: Tensor) -> Tensor:
    key = str(x.shape)
    if key not in GRIDS:
        GRIDS[key] = torch.linspace(-1, 1, x.shape[-1])
    return x + GRIDS[key]


def nested(x: Tensor) -> Tensor:
    held = NESTED["grids"].setdefault("first", (torch.ones(x.shape[-1]), 1))
    return x + held[0]


def in_a_list(x: Tensor) -> Tensor:
    if not LAST:
        LAST.append(torch.ones(x.shape[-1]))
    return x + LAST[0]


def in_a_variable(x: Tensor) -> Tensor:
    global ONES
    if ONES is None:
        ONES = torch.ones(x.shape[-1])
    return x + ONES


def in_a_default(x: Tensor, held: list[Tensor] = []) -> Tensor:  # noqa: B006  # that is what is to be seen
    if not held:
        held.append(torch.ones(x.shape[-1]))
    return x + held[0]


def in_the_function(x: Tensor) -> Tensor:
    if not hasattr(in_the_function, "ones"):
        in_the_function.ones = torch.ones(x.shape[-1])
    return x + in_the_function.ones


def through_another(x: Tensor) -> Tensor:
    return by_key(x)


class Table:
    """A cache that many models share."""

    shared: ClassVar[dict[str, Tensor]] = {}

    @classmethod
    def ones(cls, x: Tensor) -> Tensor:
        return x + cls.shared.setdefault("ones", torch.ones(x.shape[-1]))
