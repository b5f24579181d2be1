"""Every test process talks to its own Hub on loopback: no test can reach the network.

huggingface_hub reads its environment when it is first imported, so this stands where pytest looks first.
"""

from __future__ import annotations

import os
import tempfile

import pytest

from tests.hub.server import Hub

SCRATCH = tempfile.TemporaryDirectory(prefix="smoothify-tests-")
HUB = Hub().start()
os.environ.update(
    HF_ENDPOINT=HUB.url,
    HF_HOME=SCRATCH.name,
    HF_HUB_DISABLE_XET="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    HF_HUB_DISABLE_PROGRESS_BARS="1",
    NO_PROXY="127.0.0.1",
)
for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_TOKEN_PATH"):
    os.environ.pop(name, None)


def pytest_configure(config: pytest.Config) -> None:
    """Warnings of others that no code of ours can avoid; every other warning is an error."""
    # huggingface_hub 2.4 uploads large files with an argument that its HTTP client deprecates.
    config.addinivalue_line("filterwarnings", "ignore:Use 'content=:DeprecationWarning:httpx2")
    # torch 2.8 makes an instance of an autograd function where it compiles a call of one.
    config.addinivalue_line("filterwarnings", "ignore:.*should not be instantiated:DeprecationWarning")


def pytest_unconfigure() -> None:
    """Stop the server and remove the cache."""
    HUB.shutdown()
    HUB.server_close()
    SCRATCH.cleanup()
