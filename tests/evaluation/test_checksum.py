"""What is kept of a measurement is taken for that measurement alone."""

import copy
import functools
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from smoothify.attacks import PGD, Attack, ThreatModel
from smoothify.data import Images, load
from smoothify.evaluation import robust_accuracy, state
from smoothify.evaluation.checksum import checksum

LINF = ThreatModel("linf", 0.02)


def scaled(factor: float) -> Callable[[object], object]:
    return lambda x: x * factor


def holding(value: object) -> nn.Module:
    module = nn.Sequential(nn.Flatten())
    module.held = value
    return module


def hooked(hook: Callable[..., object]) -> nn.Module:
    module = nn.Flatten()
    module.register_forward_hook(hook)
    return module


class Tries(Attack):
    """Its settings are not in its repr."""

    def __init__(self, threat: ThreatModel, tries: int) -> None:
        super().__init__(threat)
        object.__setattr__(self, "tries", tries)

    def run(self, model, images, labels, generator):
        return PGD(self.threat, steps=self.tries).run(model, images, labels, generator)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (holding(torch.tensor([0.5])), holding(torch.tensor([0.4]))),
        (holding(torch.zeros(2, 3)), holding(torch.zeros(3, 2))),
        (holding(torch.zeros(2)), holding(torch.zeros(2, dtype=torch.int32))),
        (holding([torch.zeros(1)]), holding([torch.ones(1)])),
        (holding(np.zeros(2)), holding(np.ones(2))),
        (holding((0.5, 0.5)), holding((0.5, 0.4))),
        (holding({"mean": 0.5}), holding({"mean": 0.4})),
        (holding(1), holding(True)),
        (holding([nn.Linear(2, 2)]), holding([nn.Linear(2, 2)])),
        (holding(torch.relu), holding(torch.sigmoid)),
        (holding(scaled(1.0)), holding(scaled(2.0))),
        (holding(functools.partial(scaled, 1.0)), holding(functools.partial(scaled, 2.0))),
        (holding(SimpleNamespace(eps=1)), holding(SimpleNamespace(eps=2))),
        (hooked(scaled(1.0)), hooked(scaled(2.0))),
        (nn.ReLU(), nn.SiLU()),
        (nn.ModuleDict({"a": (act := nn.SiLU()), "b": nn.SiLU(), "c": act}),
         nn.ModuleDict({"a": nn.SiLU(), "b": (act := nn.SiLU()), "c": act})),
        (Tries(LINF, 1), Tries(LINF, 50)),
        (PGD(LINF), PGD(LINF, random_start=False)),
        ([1, [2]], [[1], 2]),
    ],
)  # fmt: skip
def test_these_are_not_the_same(one: object, other: object) -> None:
    assert checksum(one) != checksum(other)


class Everything(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2)
        self.lock, self.device, self.names = threading.Lock(), torch.device("cpu"), {"a", "b", "c", "d"}
        self.scale, self.act, self.itself = scaled(2.0), torch.nn.functional.silu, [self]
        self.late = self.forward

    def forward(self, images):
        return self.linear(images)


def test_a_copy_in_another_mode_or_process_is_the_same() -> None:
    torch.manual_seed(0)
    module = Everything().eval()
    lock, module.lock = module.lock, None
    copied = copy.deepcopy(module).train()
    module.lock, copied.lock = lock, threading.Lock()
    assert checksum(module) == checksum(copied) == checksum(torch.compile(module))
    code = "import torch, tests.evaluation.test_checksum as t; torch.manual_seed(0); print(t.checksum(t.Everything()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == checksum(module)


class Shifted(nn.Module):
    seen: ClassVar[list[int]] = []  # the sizes of all batches

    def __init__(self, mean: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear, self.mean = nn.Linear(64, 2), torch.full((64,), mean)

    def forward(self, images):
        self.seen.append(len(images))
        return self.linear(images.flatten(1) - self.mean)


def test_a_model_or_an_attack_with_other_settings_begins_anew(tmp_path: Path) -> None:
    pixels = torch.rand(40, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    images = pixels, Shifted(0.5)(pixels).argmax(1)
    for mean, tries in ((0.5, 50), (0.5, 1), (9.0, 50)):
        fresh, kept = (
            robust_accuracy(Shifted(mean), images, Tries(LINF, tries), state=folder) for folder in (None, tmp_path)
        )
        assert kept == fresh
    assert len(list(tmp_path.iterdir())) == 3


def test_pictures_that_were_replaced_in_place_are_measured_again(tmp_path: Path) -> None:
    def fill(seed: int, last: int) -> None:
        noise = np.random.default_rng(seed)
        for name in "ab":
            (tmp_path / "data" / "test" / name).mkdir(parents=True, exist_ok=True)
        for number in range(40):
            values = noise.integers(0, 256, (8, 8), dtype=np.uint8)
            if number < last:
                Image.fromarray(values).save(tmp_path / "data" / "test" / "ab"[number // 20] / f"{number:02}.png")

    def measure(folder: Path | None) -> tuple[tuple[bool, ...], int]:
        Shifted.seen.clear()
        images = Images(load(str(tmp_path / "data"), "test"), input_size=(1, 8, 8))
        found = robust_accuracy(Shifted(0.5), images, PGD(LINF, steps=1), batch_size=20, state=folder)
        return found.clean_correct, Shifted.seen.count(20)

    fill(1, 40)
    first, _ = measure(tmp_path / "state")
    assert measure(tmp_path / "state") == (first, 0)
    fill(2, 20)
    again, batches = measure(tmp_path / "state")
    assert batches == 1, "the second batch is what it was"
    assert again == measure(None)[0] != first


def test_other_libraries_begin_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images, kept = (torch.rand(4, 1, 8, 8), torch.tensor([0, 1, 0, 1])), []
    for version in ("1.0", "1.0", "1.1"):
        monkeypatch.setattr(state, "installed", lambda version=version: {"pyautoattack": version})
        robust_accuracy(Shifted(0.5), images, PGD(LINF), state=tmp_path)
        kept.append(len(list(tmp_path.iterdir())))
    assert kept == [1, 1, 2]


def test_what_another_process_does_not_know_is_done_again(tmp_path: Path) -> None:
    class First:
        process_index, num_processes = 0, 2

        def reduce(self, part: torch.Tensor, reduction: str) -> torch.Tensor:
            return part  # the other one knows nothing, and measures nothing

    images = torch.rand(8, 1, 8, 8), torch.zeros(8, dtype=torch.long)
    for accelerator, clean_passes in ((None, 4), (None, 0), (First(), 2)):
        Shifted.seen.clear()
        robust_accuracy(Shifted(0.5), images, Tries(LINF, 1), batch_size=2, state=tmp_path, accelerator=accelerator)
        assert Shifted.seen.count(2) >= clean_passes and bool(Shifted.seen.count(2)) == bool(clean_passes)
