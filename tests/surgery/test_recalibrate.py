"""Batch-norm statistics are estimated anew, and nothing else of the model moves."""

from typing import Any

import pytest
import torch
from torch import nn

import smoothify
from smoothify.errors import DataError, UnsupportedModelError


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Dropout(0.9),
        nn.Conv2d(4, 4, 3),
        nn.BatchNorm2d(4, momentum=0.3),
    )


BATCHES = [torch.randn(8, 1, 9, 9, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]


@pytest.mark.parametrize(
    "as_batch", [lambda x: x, lambda x: (x, torch.zeros(8)), lambda x: [x], lambda x: {"input": x}], ids=range(4)
)
def test_statistics_are_the_average_over_batches(as_batch: Any) -> None:
    model = network()
    model[3].train()
    model[1].eval()
    weights = {name: value.clone() for name, value in model.named_parameters()}
    modes = [module.training for module in model.modules()]
    assert smoothify.recalibrate_batch_norm_(model, map(as_batch, BATCHES)) == 2

    features = [model[0](batch) for batch in BATCHES]
    mean = torch.stack([feature.mean((0, 2, 3)) for feature in features]).mean(0)
    variance = torch.stack([feature.var((0, 2, 3)) for feature in features]).mean(0)
    torch.testing.assert_close(model[1].running_mean, mean)
    torch.testing.assert_close(model[1].running_var, variance)
    # Each batch is normalised by its own statistics on the way, as in training; dropout is off.
    second = [model[4](torch.relu(nn.functional.batch_norm(x, None, None, training=True))) for x in features]
    torch.testing.assert_close(model[5].running_mean, torch.stack([x.mean((0, 2, 3)) for x in second]).mean(0))

    assert [module.training for module in model.modules()] == modes
    assert (model[1].momentum, model[5].momentum) == (0.1, 0.3)
    for name, value in model.named_parameters():
        assert torch.equal(value, weights[name]) and value.grad is None


def test_no_more_batches_are_read_than_asked_for() -> None:
    model = network()
    smoothify.recalibrate_batch_norm_(model, iter([BATCHES[0], None]), batches=1)
    torch.testing.assert_close(model[1].running_mean, model[0](BATCHES[0]).mean((0, 2, 3)))


def test_batch_norms_that_count_no_batches_are_estimated_all_the_same() -> None:
    counting, model = network(), network()
    for norm in (model[1], model[5]):
        norm.num_batches_tracked = None
    smoothify.recalibrate_batch_norm_(counting, BATCHES)
    assert smoothify.recalibrate_batch_norm_(model, BATCHES) == 2
    for index in (1, 5):
        assert torch.equal(model[index].running_mean, counting[index].running_mean)
        assert torch.equal(model[index].running_var, counting[index].running_var)
        assert model[index].num_batches_tracked is None and "num_batches_tracked" in model[index]._buffers
    before = model[1].running_mean.clone()
    with pytest.raises(DataError, match="yields no batch"):
        smoothify.recalibrate_batch_norm_(model, [])
    assert torch.equal(model[1].running_mean, before) and model[1].num_batches_tracked is None


def test_bad_input_is_refused_and_changes_nothing() -> None:
    with pytest.raises(UnsupportedModelError, match="Linear has no batch norm with running statistics"):
        smoothify.recalibrate_batch_norm_(nn.Linear(2, 2), [torch.zeros(1, 2)])
    with pytest.raises(UnsupportedModelError, match="no batch norm"):
        smoothify.recalibrate_batch_norm_(nn.BatchNorm1d(2, track_running_stats=False), [torch.zeros(1, 2)])
    model = network()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for loader, message in (([], "yields no batch"), ([BATCHES[0], "image"], "a batch of str")):
        with pytest.raises(DataError, match=message):
            smoothify.recalibrate_batch_norm_(model, loader)
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
        assert model.training and model[1].momentum == 0.1
