"""Mixed images and their labels, alone and in a run."""

from dataclasses import replace

import pytest
import torch

from smoothify.errors import ConfigError
from smoothify.training import Config, DataConfig, train
from smoothify.training.refusals import refuse_before_data
from smoothify.training.steps.mixing import mixing


def test_labels_are_blended_as_the_images_are() -> None:
    mix = mixing(Config(data=DataConfig(mixup=1.0)), classes=3)
    labels = torch.tensor([0, 1, 2, 0])
    images = torch.nn.functional.one_hot(labels, 3).float().view(4, 3, 1, 1).expand(4, 3, 2, 2)
    blended, probabilities = mix(images, labels)
    assert torch.allclose(blended[:, :, 0, 0], probabilities, atol=1e-6)
    assert torch.allclose(probabilities.sum(1), torch.ones(4))
    assert (probabilities.amax(1) < 1).any()


def test_nothing_is_mixed_by_default() -> None:
    images, labels = torch.rand(3, 1, 2, 2), torch.tensor([0, 1, 0])
    same = mixing(Config(), classes=2)(images, labels)
    assert same[0] is images
    assert same[1] is labels


def test_odd_batches_are_refused() -> None:
    config = Config(data=DataConfig(cutmix=1.0, path="no_such"), batch_size=6)
    with pytest.raises(ConfigError, match="mix pairs, but 3 images"):
        refuse_before_data(config, processes=2)


def test_a_run_with_everything(tiny: Config) -> None:
    """Soft labels go through the attack, TRADES and the weight perturbation."""
    data = replace(tiny.data, mixup=0.2, cutmix=1.0)
    attack = replace(tiny.attack, check="pgd-1", final="pgd-1")
    run = replace(tiny, epochs=1, objective="trades(beta=2) + awp(gamma=0.01)", data=data, attack=attack)
    assert train(run).reloaded_identical


def test_whole_labels_are_asked_for_before_anything_is_loaded() -> None:
    with pytest.raises(ConfigError, match="needs whole labels"):
        Config(objective="mart + awp", data=DataConfig(mixup=0.2))
