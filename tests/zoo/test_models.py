"""The trained models in the repository load, and are what their cards say."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard

import smoothify
from smoothify.attacks import PGD, ThreatModel
from smoothify.data import Images, load
from smoothify.evaluation import robust_accuracy
from smoothify.reproduction import read_records, read_table

MODELS = sorted((Path(__file__).parents[2] / "zoo" / "fashion_mnist" / "models").iterdir())


@pytest.mark.parametrize("folder", MODELS, ids=lambda folder: folder.name)
def test_a_model_is_what_its_card_says(folder: Path) -> None:
    assert sum(file.stat().st_size for file in folder.iterdir()) < 2_000_000
    model = smoothify.from_pretrained(folder)
    assert smoothify.inspect(model).smooth is (folder.name != "relu")
    classifier = smoothify.PixelClassifier.from_host(model)
    images = Images(load(split="test"), input_size=(1, 28, 28))
    pixels = torch.stack([images[index][0] for index in range(len(images))])
    labels = torch.tensor([images[index][1] for index in range(len(images))])
    with torch.no_grad():
        correct = torch.cat([classifier(part).argmax(1) for part in pixels.split(500)]) == labels
    clean, robust, _ = ModelCard.load(folder / "README.md").data.eval_results
    assert correct.float().mean().item() == pytest.approx(clean.metric_value, abs=0.002), "another machine rounds else"
    table = read_table(folder.parents[1] / "figure_3" / "table.yaml")
    (row,) = (row for row in table.rows if row.name == folder.name)
    recorded = read_records(table, row)[0].measured[0]
    assert recorded.robust.value == robust.metric_value, "the card's run is the table's, seed 0"
    few = Images(load(split="test"), input_size=(1, 28, 28), indices=range(100))
    measured = robust_accuracy(classifier, few, PGD(ThreatModel("linf", 0.1), steps=50))
    unlike = sum(one is not other for one, other in zip(measured.robust_correct, recorded.robust_correct, strict=False))
    assert unlike <= 1, "another machine rounds else"
