"""A small smooth model, trained within seconds, whose robust accuracy is near 40% at the epsilon used here."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from smoothify.attacks import PGD, ThreatModel
from smoothify.data import Images, load
from smoothify.models import PixelClassifier

EPSILON = 0.06


def train_small() -> PixelClassifier:
    torch.manual_seed(0)
    host = nn.Sequential(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(196, 64), nn.SiLU(), nn.Linear(64, 10))
    model = PixelClassifier(host, mean=(0.3,), std=(0.35,))
    images, labels = Images(load(), input_size=(1, 28, 28), indices=range(1000)).batch(range(1000))
    attack, optimizer = PGD(ThreatModel("linf", EPSILON / 2)), torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(40):
        optimizer.zero_grad()
        F.cross_entropy(model(attack(model, images, labels)), labels).backward()
        optimizer.step()
    return model.eval()


@pytest.fixture(scope="session")
def trained() -> PixelClassifier:
    return train_small()


@pytest.fixture(scope="session")
def test_images() -> Images:
    return Images(load(split="test"), input_size=(1, 28, 28), indices=range(120))
