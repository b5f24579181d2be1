"""Averages of weights against the same averages computed by hand, and in a run that is interrupted."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from smoothify import from_pretrained
from smoothify.errors import ConfigError
from smoothify.models import PixelClassifier
from smoothify.training import AveragingConfig, Config, OptimizerConfig, Silent, train
from smoothify.training.saving import state
from smoothify.training.setup import assemble
from smoothify.training.steps.averaging import Averaging


def small() -> PixelClassifier:
    torch.manual_seed(0)
    host = nn.Sequential(nn.Conv2d(1, 2, 3, bias=False), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))
    return PixelClassifier(host, mean=(0.5,), std=(0.5,))


def wander(classifier: PixelClassifier) -> None:
    with torch.no_grad():
        for value in classifier.state_dict().values():
            if value.is_floating_point():
                value.add_(torch.rand_like(value))


def test_moving_average_is_the_recursion() -> None:
    classifier = small()
    averaging = Averaging(AveragingConfig("ema", decay=0.6), classifier)
    expected = {}
    for step in range(6):
        wander(classifier)
        averaging.after_step(step)
        # timm's warm-up: 1 - (1 + step)^(-2/3), at most the decay
        decay = min(0.6, 1 - (1 + step) ** (-2 / 3))
        for name, value in classifier.state_dict().items():
            before = expected.get(name, torch.zeros(()))
            expected[name] = decay * before + (1 - decay) * value if value.is_floating_point() else value
    found = averaging.classifier.state_dict()
    assert all(torch.allclose(found[name], value, atol=1e-6) for name, value in expected.items())


def test_mean_over_epochs_starts_where_it_should_and_measures_batch_norm_anew() -> None:
    classifier = small().train()
    averaging = Averaging(AveragingConfig("swa", start=2, batch_norm_images=12), classifier)
    batches = [torch.rand(8, 1, 4, 4) for _ in range(3)]
    weights = []
    for epoch in range(4):
        wander(classifier)
        weights.append(classifier.model[0].weight.detach().clone())
        averaging.after_epoch(epoch, iter(batches))
        if epoch < 2:
            assert torch.equal(averaging.classifier.model[0].weight, weights[epoch])
    averaged = averaging.classifier
    assert not averaged.training
    assert torch.allclose(averaged.model[0].weight, torch.stack(weights[1:]).mean(0), atol=1e-6)
    activations = [averaged.model[0]((images - 0.5) / 0.5) for images in batches[:2]]  # 16 images reach the 12
    mean = torch.stack([activation.mean((0, 2, 3)) for activation in activations]).mean(0)
    assert torch.allclose(averaged.model[1].running_mean, mean, atol=1e-5)


def test_state_is_whole() -> None:
    classifier = small()
    first = Averaging(AveragingConfig("swa"), classifier)
    for epoch in range(2):
        wander(classifier)
        first.after_epoch(epoch, [torch.rand(4, 1, 4, 4)])
    second = Averaging(AveragingConfig("swa"), classifier)
    second.load_state_dict(first.state_dict())
    wander(classifier)
    images = torch.rand(4, 1, 4, 4)
    first.after_epoch(2, [images])
    second.after_epoch(2, [images])
    assert all(torch.equal(value, second.state_dict()[name]) for name, value in first.state_dict().items())


class Stopped(Silent):
    def begin(self, title: str, total: int) -> None:
        if title == "epoch 2/2":
            raise KeyboardInterrupt


@pytest.mark.parametrize("kind", ["ema", "swa"])
def test_a_run_measures_saves_and_resumes_the_average(kind: str, tiny: Config) -> None:
    config = replace(
        tiny,
        epochs=2,
        attack=replace(tiny.attack, check="pgd-1", final="pgd-1"),
        averaging=AveragingConfig(kind, batch_norm_images=32, **({"decay": 0.9} if kind == "ema" else {})),
    )
    whole = train(config)
    assert whole.reloaded_identical
    again = replace(config, output=config.output + "-again")
    with pytest.raises(KeyboardInterrupt):
        train(again, reporter=Stopped())
    resumed = train(again, resume=True)
    expected, found = (from_pretrained(outcome.folder.last).state_dict() for outcome in (whole, resumed))
    assert all(torch.equal(value, found[name]) for name, value in expected.items())
    trained = state.load(whole.folder.checkpoints, print).states["model"]["model.fc.weight"]
    assert not torch.equal(from_pretrained(whole.folder.last).fc.weight, trained)


def test_clipping_bounds_the_step(tiny: Config) -> None:
    free = replace(tiny, epochs=1, lr=1.0, optimizer=OptimizerConfig(schedule="constant", momentum=0, nesterov=False))
    bound = replace(free, optimizer=replace(free.optimizer, clip_norm=1e-6, weight_decay=0.0))
    before = assemble(bound).host.fc.weight
    after = from_pretrained(train(bound).folder.last).fc.weight
    assert 0 < (after - before).abs().max() <= 5.1e-6, "five steps of lr 1 and length at most 1e-6"


@pytest.mark.parametrize("values", [{"decay": 1.0}, {"start": 0}, {"batch_norm_images": 0}])
def test_impossible_settings_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=r"averaging\."):
        AveragingConfig(**values)


def test_batch_statistics_of_the_mean_do_not_depend_on_who_read_the_images(tiny: Config) -> None:
    """Mixing draws from NumPy's generator, dropout from torch's; a loader without workers seeds both for each image."""
    tiny = replace(
        tiny,
        epochs=2,
        data=replace(tiny.data, mixup=0.4),
        attack=replace(tiny.attack, check="pgd-1", final="pgd-1"),
        averaging=AveragingConfig("swa", batch_norm_images=32),
    )
    found = [
        from_pretrained(
            train(
                replace(tiny, output=f"{tiny.output}-{workers}", data=replace(tiny.data, workers=workers))
            ).folder.last
        ).state_dict()
        for workers in (0, 1)
    ]
    assert all(torch.equal(value, found[1][name]) for name, value in found[0].items())
