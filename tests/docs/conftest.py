from __future__ import annotations

from tests.hub.conftest import hub

__all__ = ["hub"]
