"""Noise that belongs to an image: what it depends on, and that it is noise."""

import math

import pytest
import torch
from torch import nn

from smoothify.attacks import PGD, SampleNoise, ThreatModel, sample_keys


def test_numbers_are_splitmix64s() -> None:
    """Its published first output from state 0; the upper 24 bits of each half word make a number."""
    word = 0xE220A8397B1DCDAF
    first, second = SampleNoise(torch.tensor([0])).uniform(torch.empty(1, 2))[0].tolist()
    assert first * 2**24 == (word & 0xFFFFFFFF) >> 8
    assert second * 2**24 == word >> 40


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_an_image_meets_the_same_noise_in_any_batch(norm: str) -> None:
    model, images, labels = nn.Sequential(nn.Flatten(), nn.Linear(75, 3)), torch.rand(6, 3, 5, 5), torch.arange(6) % 3
    keys, attack = sample_keys(1, 2, torch.arange(6)), PGD(ThreatModel(norm, 0.1))
    together = attack(model, images, labels, generator=SampleNoise(keys))
    apart = [
        attack(model, *(t[i : i + 2] for t in (images, labels)), generator=SampleNoise(keys[i : i + 2]))
        for i in (0, 2, 4)
    ]
    torch.testing.assert_close(together, torch.cat(apart))


def test_seed_epoch_sample_and_draw_all_matter() -> None:
    like = torch.empty(1, 8)
    drawn = [
        SampleNoise(sample_keys(seed, epoch, torch.tensor([sample]))).uniform(like)
        for seed in range(3)
        for epoch in range(3)
        for sample in range(3)
    ]
    noise = SampleNoise(sample_keys(0, 0, torch.tensor([0])))
    drawn += [noise.uniform(like), noise.uniform(like)]
    assert torch.equal(drawn[0], drawn[-2]), "the same key, the same numbers"
    assert len({tuple(numbers[0].tolist()) for numbers in drawn}) == 28


def test_it_is_distributed_as_it_says() -> None:
    noise, like = SampleNoise(sample_keys(0, 0, torch.arange(100))), torch.empty(100, 1001)
    uniform, normal = noise.uniform(like, -2.0, 3.0), noise.normal(like)
    assert uniform.min() >= -2 and uniform.max() < 3
    assert uniform.mean().item() == pytest.approx(0.5, abs=0.02)
    assert uniform.std().item() == pytest.approx(5 / math.sqrt(12), abs=0.02)
    assert (normal.mean().item(), normal.std().item()) == pytest.approx((0, 1), abs=0.02)
    assert (normal.abs() < 1).float().mean().item() == pytest.approx(0.6827, abs=0.01)
    neighbours = torch.corrcoef(torch.stack([uniform[:-1].flatten(), uniform[1:].flatten(), normal[1:].flatten()]))
    assert (neighbours - torch.eye(3)).abs().max() < 0.02
