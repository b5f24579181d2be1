"""Every test that takes ``name`` runs for every entry of the catalogue: registering one enrols it."""

from __future__ import annotations

import pytest
import torch

from smoothify import activations


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "name" in metafunc.fixturenames:
        metafunc.parametrize("name", activations.names())


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)
