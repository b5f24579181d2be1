"""What an adversarial step keeps in memory, counted in bytes: no more than a standard step of the same model."""

import weakref

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from smoothify.attacks import PGD
from smoothify.models import PixelClassifier
from smoothify.objectives import objective
from smoothify.training.steps.replica import Replica


class Peak(TorchDispatchMode):
    """The highest sum of bytes that were alive at once of what came into being inside."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.highest = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        output = func(*args, **(kwargs or {}))
        for tensor in torch.utils._pytree.tree_leaves(output):
            if isinstance(tensor, Tensor):
                self.see(tensor.untyped_storage())
        return output

    def see(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self.known:
            return
        self.known.add(key)
        self.now += size
        self.highest = max(self.highest, self.now)

        def gone() -> None:
            self.known.discard(key)
            self.now -= size

        weakref.finalize(storage, gone)


def peak(model: nn.Module, attacked: nn.Module, name: str) -> int:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    generator = torch.Generator().manual_seed(0)
    images, labels = torch.rand(8, 3, 64, 64, generator=generator), torch.arange(8)
    with Peak() as seen:
        loss = objective(name).loss(model, attacked, PGD(steps=3), images, labels)
        loss.value.backward()
        optimizer.step()
    return seen.highest


@pytest.fixture
def classifier() -> PixelClassifier:
    torch.manual_seed(0)
    return PixelClassifier.from_host(timm.create_model("resnet18", channels=(16, 32, 64, 64), num_classes=8)).train()


def test_an_adversarial_step_peaks_no_higher_than_a_standard_one(classifier: PixelClassifier) -> None:
    images = 8 * 3 * 64 * 64 * 4
    standard = peak(classifier, classifier, "standard")
    classifier.zero_grad()
    assert standard > 20 * images, "the measure sees activations"
    # the attacked images themselves are what a standard step does not have
    assert peak(classifier, classifier, "pgd_at") <= standard + images


def test_a_replicas_attack_needs_little_more_than_half_of_a_standard_step(classifier: PixelClassifier) -> None:
    images, labels = torch.rand(8, 3, 64, 64), torch.arange(8)
    replica = Replica(classifier, images)
    with Peak() as light:
        PGD(steps=3)(replica, images, labels)
    assert light.highest < 0.6 * peak(classifier, classifier, "standard")
