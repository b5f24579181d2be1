"""What surgery finds: the function that runs, the site where it runs, other operations worth knowing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["module", "attribute", "call", "fused"]
How = Literal["module", "attribute", "graph", "source", "runtime"]


@dataclass(frozen=True, slots=True)
class Found:
    """A recognised activation function with the arguments it was found with (all of them, defaults too).

    >>> Found("leaky_relu", {"negative_slope": 0.2}, inplace=True).arguments["negative_slope"]
    0.2
    """

    function: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    inplace: bool = False
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """Learned tensors of the original that its replacement keeps, by their state_dict key."""


@dataclass(frozen=True, slots=True)
class Site:
    """One place where a model executes an activation.

    ``smooth`` is None where nothing could prove or refute it. ``becomes`` describes what the site runs
    after a conversion and is None where it was left alone; ``how`` says by which means it was, or would
    be, rewritten.

    >>> print(Site("layer1.act1", "module", "relu", smooth=False, owner="torch.nn.modules.activation.ReLU"))
    layer1.act1: relu (torch.nn.modules.activation.ReLU)
    """

    path: str
    kind: Kind
    function: str
    smooth: bool | None
    owner: str
    """Qualified name of the class whose instance stands at ``path``."""
    aliases: tuple[str, ...] = ()
    """Further module paths under which the very same instance is reachable."""
    source: str | None = None
    """``file:line`` of the call, for sites that are calls."""
    becomes: str | None = None
    becomes_smooth: bool | None = None
    how: How | None = None
    note: str = ""

    @property
    def now_smooth(self) -> bool | None:
        """Whether what stands at this site now is smooth."""
        return self.becomes_smooth if self.becomes is not None else self.smooth

    def __str__(self) -> str:
        where = self.path or "(the model itself)"
        place = f"{where} at {self.source}" if self.source else where
        return f"{place}: {self.function} ({self.owner})" + (f"; {self.note}" if self.note else "")

    def to_dict(self) -> dict[str, Any]:
        """Return the site as JSON-able values."""
        return {
            "path": self.path,
            "aliases": list(self.aliases),
            "kind": self.kind,
            "function": self.function,
            "owner": self.owner,
            "source": self.source,
            "smooth": self.smooth,
            "becomes": self.becomes,
            "becomes_smooth": self.becomes_smooth,
            "how": self.how,
            "note": self.note,
        }


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation on the input's path that is no activation site: non-smooth, or of unknown smoothness.

    >>> print(Operation("stem.pool", "max_pool2d", count=2))
    stem.pool: max_pool2d ×2
    """

    path: str
    name: str
    source: str | None = None
    count: int = 1
    note: str = ""

    def __str__(self) -> str:
        place = f" at {self.source}" if self.source else ""
        times = f" ×{self.count}" if self.count > 1 else ""
        return f"{self.path or '(the model itself)'}{place}: {self.name}{times}" + (
            f"; {self.note}" if self.note else ""
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the operation as JSON-able values."""
        return {
            "path": self.path,
            "name": self.name,
            "source": self.source,
            "count": self.count,
            "note": self.note,
        }
