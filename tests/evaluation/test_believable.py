"""A number that would be too high, or another one each time, is refused and says why."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from smoothify.attacks import PGD, Attack, Ensemble, SampleNoise, ThreatModel, attack, restarts, sample_keys
from smoothify.data import Images, load
from smoothify.errors import ConfigError, DataError, NonFiniteError
from smoothify.evaluation import Subject, robust_accuracy
from smoothify.evaluation.checks.of_the_model import finite_differences, zero_gradients

LINF, L2 = ThreatModel("linf", 0.05), ThreatModel("l2", 1.0)


class Roots(nn.Module):
    """Its logits are finite everywhere, and its gradient is not where a pixel is 0."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(16, 3)

    def forward(self, images: Tensor) -> Tensor:
        x = images.flatten(1)
        return self.out(torch.where(x > 0, x.sqrt(), 0 * x))


def some_images(count: int = 8, *, black: bool = True) -> tuple[Tensor, Tensor]:
    images = torch.rand(count, 1, 4, 4, generator=torch.Generator().manual_seed(0)) * 0.8 + 0.1
    if black:
        images[:, :, 0] = 0
    torch.manual_seed(1)
    with torch.no_grad():
        labels = Roots()(images).argmax(1)
    return images, labels


def roots() -> nn.Module:
    torch.manual_seed(1)
    return Roots().eval()


@pytest.mark.parametrize("threat", [LINF, L2])
@pytest.mark.parametrize("name", ["pgd-3", "apgd-ce-3", "fab-t-3"])
def test_a_gradient_that_is_not_finite_is_refused(name: str, threat: ThreatModel) -> None:
    if name != "pgd-3":
        pytest.importorskip("pyautoattack", reason="the extra 'autoattack' is not installed")
    images, labels = some_images()
    told = r"NaN or infinite for \d of \d, and .*, which follows it, would find too little.*add a small number inside"
    chosen = attack(name, threat)
    if isinstance(chosen, PGD):  # from the image itself, whose pixels are 0
        chosen = PGD(threat, steps=3, random_start=False)
    with pytest.raises(NonFiniteError, match=told):
        robust_accuracy(roots(), (images, labels), chosen)
    with pytest.raises(NonFiniteError, match=told):
        chosen(roots(), images, labels)
    assert (
        robust_accuracy(roots(), some_images(black=False), attack("pgd-1", ThreatModel("linf", 0.0))).robust.value == 1
    )


def test_the_checks_of_gradients_say_so() -> None:
    images, labels = some_images()
    subject = Subject(roots(), images, labels, PGD(LINF, steps=1))
    answer, told = zero_gradients(subject)
    assert answer == "fail" and told.startswith("8 of 8 images have a gradient of zero, or one that is not finite")
    assert finite_differences(subject) == ("fail", "some gradients are NaN or infinite")


class WritesIntoItsInput(Roots):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images.mul_(0.9))


def test_what_a_model_writes_into_its_input_stays_there() -> None:
    images, _ = some_images(black=False)
    torch.manual_seed(1)
    model = WritesIntoItsInput().eval()
    labels = model(images.clone()).argmax(1)
    before = images.clone()
    assert robust_accuracy(model, (images, labels), PGD(LINF, steps=3)).clean.value == 1
    assert torch.equal(images, before)


class Leaves(Attack):
    def run(self, model: nn.Module, images: Tensor, labels: Tensor, generator: object) -> Tensor:
        return images

    def constrain(self, attacked: Tensor, images: Tensor) -> Tensor:
        return images + 1


def test_an_attack_of_ones_own_that_leaves_its_threat_model_measures_nothing() -> None:
    with pytest.raises(ConfigError, match=r"Leaves returned images outside Linf, epsilon 0\.05, or \[0, 1\]"):
        robust_accuracy(roots(), some_images(), Leaves(LINF))


def test_batch_statistics_and_augmented_images_measure_nothing() -> None:
    by_batch = PGD(LINF, batch_norm="train")
    for adversary in (by_batch, restarts(by_batch, 2), Ensemble(LINF, "one", (by_batch,))):
        with pytest.raises(ConfigError, match=r"batch_norm='train' attacks a model that depends on the batch"):
            robust_accuracy(roots(), some_images(), adversary)
    augmented = Images(load(split="test"), input_size=(1, 28, 28), augmentation="crop", indices=range(4))
    with pytest.raises(ConfigError, match=r"augmentation='crop': every reading .* is another one"):
        robust_accuracy(nn.Sequential(nn.Flatten(), nn.Linear(784, 10)), augmented, PGD(LINF))


def test_an_l2_epsilon_beyond_all_pictures_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"epsilon=1e\+20 is not in"):
        ThreatModel("l2", 1e20)
    images, _ = some_images(black=False)
    linear = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).eval()
    labels = linear(images).argmax(1)
    assert robust_accuracy(linear, (images, labels), PGD(ThreatModel("l2", 1e5), steps=10)).robust.value < 1


def test_what_is_kept_of_a_measurement_belongs_to_a_models_plain_attributes_too(tmp_path: Path) -> None:
    class Flipped(Roots):
        sign = 1

        def forward(self, images: Tensor) -> Tensor:
            return self.sign * super().forward(images)

    data, found = some_images(black=False), []
    for sign in (1, -1):
        torch.manual_seed(1)
        model = Flipped().eval()
        model.sign = sign
        found.append(robust_accuracy(model, data, PGD(LINF, steps=2), state=tmp_path).clean.value)
    assert found[0] == 1 and found[1] < 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_an_l2_start_in_half_precision_is_a_number(dtype: torch.dtype) -> None:
    noise = SampleNoise(sample_keys(0, 0, torch.arange(400)))
    assert bool(noise.normal(torch.zeros(400, 1, 16, 16, dtype=dtype)).isfinite().all())


def test_labels_of_no_class_and_empty_batches() -> None:
    images, labels = some_images(black=False)
    with pytest.raises(DataError, match=r"labels from -100 on; classes are counted from 0"):
        PGD(LINF)(roots(), images, torch.full_like(labels, -100))
    for threat in (LINF, L2):
        assert PGD(threat)(roots(), images[:0], labels[:0]).shape == (0, 1, 4, 4)
