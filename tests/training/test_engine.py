"""What `engine` says reaches the run: the layout in memory, the tracker."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import accelerate.tracking
import pytest
import torch
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker
from accelerate.utils import LoggerType
from torch import Tensor, nn

from smoothify import from_pretrained
from smoothify.training import AttackConfig, Config, EngineConfig, train


def test_channels_last_is_how_it_computes_and_not_what(
    tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images and weights have their channels last in memory; what is trained differs by rounding."""
    seen: set[tuple[bool, bool]] = set()
    forward = nn.Conv2d.forward

    def watched(self: nn.Conv2d, images: Tensor) -> Tensor:
        if min(*images.shape[1:], self.kernel_size[0]) > 1:  # of one channel or one pixel both layouts are the same
            seen.update((tensor is images, is_last(tensor)) for tensor in (images, self.weight))
        return forward(self, images)

    monkeypatch.setattr(nn.Conv2d, "forward", watched)
    attack = AttackConfig(norm="l2", epsilon=0.5, precision="same", check="pgd-1", final="pgd-1")
    states = []
    for last in (False, True):
        config = replace(tiny, epochs=1, attack=attack, engine=EngineConfig(channels_last=last))
        seen.clear()
        outcome = train(replace(config, output=str(tmp_path / str(last))))
        assert ((True, True) in seen, (False, True) in seen) == (last, last)
        states.append(from_pretrained(outcome.folder.last).state_dict())
    apart = max((states[0][name].float() - states[1][name].float()).abs().max().item() for name in states[0])
    assert apart < 1e-4


def is_last(tensor: Tensor) -> bool:
    return tensor.is_contiguous(memory_format=torch.channels_last) and not tensor.is_contiguous()


class Notebook(GeneralTracker):
    """A tracker that keeps what it is told."""

    name = "tensorboard"
    requires_logging_directory = False
    told: ClassVar[list[tuple[str, Any]]] = []

    def __init__(self, run_name: str) -> None:
        super().__init__()
        self.told.append(("run", run_name))

    @property
    def tracker(self) -> list[tuple[str, Any]]:
        return self.told

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        self.told.append(("settings", values))

    def log(self, values: dict[str, Any], step: int | None = None) -> None:
        self.told.append(("figures", (step, values)))

    def finish(self) -> None:
        self.told.append(("end", None))


def test_a_tracker_hears_of_every_epoch(tiny: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LOGGER_TYPE_TO_CLASS, "tensorboard", Notebook)
    monkeypatch.setattr(accelerate.tracking, "_available_trackers", [LoggerType.TENSORBOARD])
    monkeypatch.setattr(Notebook, "told", [])
    outcome = train(replace(tiny, epochs=2, engine=EngineConfig(log_with="tensorboard")))
    (run, settings), (*heard, end) = Notebook.told[:2], Notebook.told[2:]
    assert run == ("run", "smoothify") and end == ("end", None)
    assert settings[1]["lr"] == "0.05" and settings[1]["attack.epsilon"] == "0.03"
    rows = [json.loads(line) for line in outcome.folder.metrics.read_text(encoding="utf-8").splitlines()]
    for row in rows:
        del row["check"]  # the attack's name, which is no figure
    assert heard == [("figures", (5 * row["epoch"], row)) for row in rows] and len(rows) == 2
