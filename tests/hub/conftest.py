from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import timm
import torch
from huggingface_hub import repocard
from huggingface_hub.utils import get_session
from torch import nn

import conftest
from smoothify import surgery
from tests.hub.server import Hub

TOKEN = "hf_loopbacktokenofme1234567890123456"
STRANGER = "hf_loopbacktokenofsomebodyelse12345678"

Make = Callable[..., nn.Module]


def small_model(to: str | None = None, **options: object) -> nn.Module:
    """A native timm ResNet for 28×28 grey images with 0.3 million parameters, its batch norms no longer
    fresh.
    """
    torch.manual_seed(0)
    model: nn.Module = timm.create_model(
        "resnet18",
        layers=(1, 1, 1, 1),
        channels=(16, 32, 64, 128),
        stem_type="deep",
        stem_width=8,
        replace_stem_pool=True,
        output_stride=8,
        in_chans=1,
        num_classes=10,
        pretrained_cfg_overlay={"input_size": (1, 28, 28), "mean": (0.2860,), "std": (0.3530,)},
        **options,
    )
    if to is not None:
        surgery.convert_(model, to=to)
    model(images(8))
    return model.eval()


def images(count: int = 3) -> torch.Tensor:
    return torch.rand(count, 1, 28, 28, generator=torch.Generator().manual_seed(1))


def same_logits(first: nn.Module, second: nn.Module) -> bool:
    with torch.no_grad():
        return torch.equal(first(images()), second(images()))


def _check_card(url: str, body: object = None, *, json: object = None, headers: dict[str, str]) -> object:
    """Ask the loopback Hub; older versions of huggingface_hub ask another, whatever HF_ENDPOINT says."""
    return get_session().post(f"{conftest.HUB.url}/api/validate-yaml", json=json or body, headers=headers)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The loopback Hub, empty, with a logged-in user ``me`` and another one, ``they``."""
    conftest.HUB.clear()
    conftest.HUB.tokens |= {TOKEN: "me", STRANGER: "they"}
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(repocard, "get_session", lambda: SimpleNamespace(post=_check_card))
    yield conftest.HUB
    conftest.HUB.clear()


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"
