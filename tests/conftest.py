"""Fixtures that several rooms share: a tiny data set and a config that trains on it in a second."""

import io
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from smoothify.activations import catalogue
from smoothify.attacks import names as attacks
from smoothify.objectives import names as objectives
from smoothify.surgery.rules import base as rules
from smoothify.training import AttackConfig, Config, DataConfig

datasets.disable_progress_bars()
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def stripes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 96 training and 48 test images of two classes: horizontal and vertical stripes, with noise."""
    folder = tmp_path_factory.mktemp("stripes")
    generator = np.random.default_rng(0)
    for split, count in (("train", 96), ("test", 48)):
        rows = {"image": [], "label": []}
        for index in range(count):
            label = index % 2
            wave = 0.5 + 0.4 * np.sin(np.arange(28) * 0.8 + generator.uniform(0, 6))
            pixels = np.broadcast_to(wave if label else wave[:, None], (28, 28)) + generator.normal(0, 0.05, (28, 28))
            buffer = io.BytesIO()
            Image.fromarray((pixels.clip(0, 1) * 255).astype(np.uint8)).save(buffer, format="PNG")
            rows["image"].append({"bytes": buffer.getvalue(), "path": None})
            rows["label"].append(label)
        pq.write_table(pa.table(rows), folder / f"{split}-0.parquet")
    return folder


@pytest.fixture(autouse=True)
def forgotten_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a test registers is unknown after it."""
    for module, registry in (
        (catalogue, "_ENTRIES"),
        (catalogue, "_READERS"),
        (attacks, "_OWN"),
        (objectives, "_KINDS"),
        (rules, "_RULES"),
        (rules, "_MODULES"),
        (rules, "_FUNCTIONS"),
    ):
        monkeypatch.setattr(module, registry, {**getattr(module, registry)})
    monkeypatch.setattr(objectives, "OBJECTIVES", objectives._KINDS)


@pytest.fixture
def tiny(stripes: Path, tmp_path: Path) -> Config:
    """Three epochs on the stripes."""
    return Config(
        output=str(tmp_path / "run"),
        epochs=3,
        batch_size=16,
        lr=0.05,
        data=DataConfig(path=str(stripes), held_out=16),
        attack=AttackConfig(epsilon=0.03, check="pgd-2", final="pgd-3"),
    )
