"""Accuracies against what is known: fixed models, intervals, sharing, and what must not be touched."""

import math
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

from smoothify.attacks import PGD, Attack, ThreatModel
from smoothify.data import Images, TensorImages, load
from smoothify.errors import ConfigError, DataError, NonFiniteError, UnsupportedModelError
from smoothify.evaluation import RobustAccuracy, Share, card_results, robust_accuracy
from smoothify.evaluation.plots import adversarial
from smoothify.models import PixelClassifier, build
from tests.evaluation.frauds import CutOff


class Constant(nn.Module):
    """Answers one class, whatever it sees."""

    def __init__(self, answer: int = 3, classes: int = 10) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(classes))
        self.answer = answer

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits = self.bias + images.mean() * 0
        return (logits + torch.eye(len(self.bias))[self.answer]).expand(len(images), -1)


class Brightness(nn.Module):
    """Class 1 where the mean pixel is above a threshold: whether an attack can cross it is known exactly."""

    def __init__(self, threshold: float) -> None:
        super().__init__()
        self.threshold = nn.Parameter(torch.tensor(threshold))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        above = images.flatten(1).mean(1) - self.threshold
        return torch.stack([-above, above], dim=1)


def sample(count: int = 60) -> Images:
    return Images(load(split="test"), input_size=(1, 28, 28), indices=range(count))


def brightness_data(threshold: float) -> Images:
    images = sample(200)
    images.labels = (torch.stack([images[i][0].mean() for i in range(200)]) > threshold).long()
    return images


def test_constant_model_has_the_share_of_its_class() -> None:
    images = sample(200)
    result = robust_accuracy(Constant(), images, PGD(steps=2))
    expected = [label == 3 for label in images.labels.tolist()]
    assert list(result.clean_correct) == list(result.robust_correct) == expected
    assert result.clean.value == sum(expected) / 200


def test_verdicts_match_what_can_be_computed_by_hand() -> None:
    """An Linf attack on the mean moves every pixel by epsilon, as far as [0, 1] lets it."""
    threshold, epsilon = 0.3, 0.1
    images = brightness_data(threshold)
    result = robust_accuracy(Brightness(threshold), images, PGD(ThreatModel("linf", epsilon), steps=10))
    assert all(result.clean_correct)
    for index, robust in enumerate(result.robust_correct):
        image, label = images[index]
        sign = -1 if label else 1
        worst = (image + sign * epsilon).clamp(0, 1).mean().item()
        if abs(worst - threshold) > 1e-4:
            assert robust == ((worst > threshold) == bool(label))
    assert 0 < result.robust.value < 1


def test_images_that_are_wrong_already_are_not_attacked() -> None:
    seen: list[int] = []

    class Counting(Attack):
        def run(self, model, images, labels, generator):
            seen.append(len(images))
            return images

    images = sample(60)
    result = robust_accuracy(Constant(), images, Counting(), batch_size=20)
    assert sum(seen) == result.clean.hits
    assert result.clean_correct == result.robust_correct


def test_an_image_wrong_when_clean_is_never_robust() -> None:
    class Helpful(Attack):
        """Moves every image across the threshold, to where the model is right."""

        def run(self, model, images, labels, generator):
            return images + 1

    images = brightness_data(0.3)
    images.labels = 1 - images.labels
    result = robust_accuracy(Brightness(0.3), images, Helpful(ThreatModel("linf", 1.0)))
    assert result.robust.hits == 0


def test_any_number_of_processes_gives_the_same_verdicts() -> None:
    """Each process fills in its batches and zeros elsewhere; their sum must be the single-process result."""

    class Part:
        num_processes = 3

        def __init__(self, index: int) -> None:
            self.process_index = index

        def wait_for_everyone(self) -> None:
            pass

        def reduce(self, verdicts: torch.Tensor, reduction: str) -> torch.Tensor:
            parts.append(verdicts)
            return verdicts

    torch.manual_seed(0)
    model = PixelClassifier.from_host(build("resnet10_28px", num_classes=10))
    model.eval()
    images, attack = sample(60), PGD(ThreatModel("linf", "2/255"), steps=2)
    images.labels = torch.cat([model(images.batch([index])[0]).argmax(1) for index in range(60)])
    single = robust_accuracy(model, images, attack, batch_size=8)
    parts: list[torch.Tensor] = []
    for index in range(3):
        robust_accuracy(model, images, attack, batch_size=8, accelerator=Part(index))
    total = sum(parts)
    assert total[0].tolist() == [int(verdict) for verdict in single.clean_correct]
    assert total[1].tolist() == [int(verdict) for verdict in single.robust_correct]
    assert 0 < single.robust.hits < 60


def test_model_is_left_in_its_mode_and_measured_in_eval_mode() -> None:
    modes = []

    class Watching(Constant):
        def forward(self, images):
            modes.append(self.training)
            return super().forward(images)

    model = Watching().train()
    robust_accuracy(model, sample(10), PGD())
    assert modes
    assert not any(modes)
    assert model.training


def test_measured_in_float32_whatever_surrounds_it() -> None:
    dtypes = set()

    class Watching(Constant):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(784, 10)

        def forward(self, images):
            logits = self.layer(images.flatten(1))
            dtypes.add(logits.dtype)
            return logits

    with torch.autocast("cpu", dtype=torch.bfloat16):
        robust_accuracy(Watching(), sample(10), PGD())
    assert dtypes == {torch.float32}


@pytest.mark.parametrize(("hits", "images"), [(0, 10), (10, 10), (74, 100), (1, 3)])
def test_interval_is_wilsons(hits: int, images: int) -> None:
    """The interval's ends are the shares p for which the observed share lies 1.96 standard errors of p away."""
    low, high = Share(hits, images).interval
    for end in (low, high):
        if 0 < end < 1:
            error = math.sqrt(end * (1 - end) / images)
            assert abs(abs(hits / images - end) - 1.959964 * error) < 1e-6
    assert 0 <= low <= hits / images <= high <= 1


def test_bad_input() -> None:
    with pytest.raises(DataError, match="no images"):
        robust_accuracy(Constant(), sample(0), PGD())
    with pytest.raises(DataError, match="outside the model's 5 classes"):
        robust_accuracy(Constant(classes=5), sample(20), PGD())
    negative = sample(5)
    negative.labels = torch.tensor([0, 1, -1, 2, 3])
    with pytest.raises(DataError, match="label -1 is outside"):
        robust_accuracy(Constant(), negative, PGD())
    with pytest.raises(UnsupportedModelError, match=r"returned shape \(1, 1, 28, 28\) for 1 image\(s\)"):
        robust_accuracy(nn.Identity(), sample(20), PGD())
    normalised = sample(5)
    normalised.batch = lambda positions: (torch.full((5, 1, 28, 28), -0.4), normalised.labels)
    with pytest.raises(DataError, match=r"images in \[-0.4, -0.4\]; give them in \[0, 1\]"):
        robust_accuracy(Constant(), normalised, PGD())
    with pytest.raises(ConfigError, match="batch_size=0: at least 1"):
        robust_accuracy(Constant(), sample(5), PGD(), batch_size=0)
    with pytest.raises(UnsupportedModelError, match=r"bias is torch.bfloat16; accuracy is measured in float32"):
        robust_accuracy(Constant().bfloat16(), sample(5), PGD())
    with pytest.raises(UnsupportedModelError, match="no gradient with respect to the images, which PGD-1 follows"):
        robust_accuracy(CutOff(Constant(9)), sample(20), PGD())
    broken = Constant()
    broken.bias.data.fill_(float("nan"))
    with pytest.raises(NonFiniteError, match="not finite"):
        robust_accuracy(broken, sample(5), PGD())


def test_result_prints_and_serialises() -> None:
    import json

    result = RobustAccuracy("PGD-5", "linf", 8 / 255, 0.01, 0, (True, True, False, True), (True, False, False, True))
    assert str(result).splitlines()[1].startswith("robust accuracy  50.0% [15.0, 85.0]  (PGD-5, Linf, epsilon 8/255, 4")
    restored = json.loads(json.dumps(result.to_dict()))
    assert restored["clean_accuracy"] == 0.75
    assert restored["robust_correct"] == [1, 0, 0, 1]


def test_a_number_is_never_without_its_warning() -> None:
    few = robust_accuracy(Constant(), sample(10), PGD())
    assert "WARNING: 10 images leave" in str(few).splitlines()[1]
    doubted = RobustAccuracy("PGD-5", "linf", 0.1, None, 0, (True,) * 900, (True,) * 900, caveats=("fails a check",))
    assert str(doubted).splitlines()[1].endswith("WARNING: fails a check")
    assert doubted.to_dict()["warnings"] == ["fails a check"]
    assert "WARNING" not in str(RobustAccuracy("PGD-5", "linf", 0.1, None, 0, (True,) * 900, (True,) * 900))


def test_a_card_tells_clean_accuracy_once_and_each_verdict() -> None:
    pgd, square = (
        RobustAccuracy(attack, norm, 0.1, None, 0, (True,) * 900, (True, False) * 450, sanity=verdict)
        for attack, norm, verdict in (("PGD-5", "linf", "2 of 2 checks passed"), ("Square", "l2", None))
    )
    clean, first, second = card_results([pgd, square])
    assert (clean.attack, clean.accuracy, clean.verdict) == ("none", 1.0, None)
    assert (first.attack, first.accuracy, first.verdict) == ("pgd-5", 0.5, "2 of 2 checks passed")
    assert (second.norm, second.images, second.verdict) == ("l2", 900, None)


@pytest.mark.parametrize("channels", [1, 3])
def test_picture_shows_what_was_predicted(channels: int) -> None:
    import io

    from PIL import Image

    images = torch.rand(4, channels, 28, 28, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 1, 0, 1])
    png = adversarial(Brightness(0.5), images, labels, PGD(steps=2), ["dark", "bright"])
    with Image.open(io.BytesIO(png)) as picture:
        colours = {colour for _, colour in picture.convert("RGB").getcolors(1 << 24)}
    assert any(red > 150 and green < 80 for red, green, _ in colours), "a wrong prediction is written in red"
    assert any(green > 100 and red < 80 for red, green, _ in colours), "a right one in green"


@pytest.mark.parametrize(
    ("classes", "warned"),
    [("abc", True), ("abcdefghijkl", True), ("abcdefghij", False), ((), False), (tuple(map(str, range(3))), False)],
)
def test_a_data_set_of_other_classes_is_said_beside_the_number(trained, test_images, classes, warned: bool) -> None:
    pixels, labels = test_images.batch(range(6))
    found = robust_accuracy(trained, TensorImages(pixels, labels % 3, classes=classes), PGD(ThreatModel("linf", 0.1)))
    words = f"the data set names {len(classes)} classes, the model tells 10 apart: their numbers may mean others"
    assert found.caveats == ((words,) if warned else ())
    assert (words in str(found)) == warned


def test_names_that_are_numbers_are_names(trained, tmp_path: Path) -> None:
    for name in "012":
        (tmp_path / "test" / name).mkdir(parents=True)
        Image.new("L", (28, 28)).save(tmp_path / "test" / name / "0.png")
    images = Images(load(str(tmp_path), "test"), input_size=(1, 28, 28))
    assert "names 3 classes" in robust_accuracy(trained, images, PGD(ThreatModel("linf", 0.1))).caveats[0]
