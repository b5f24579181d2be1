"""The report holds every number, every check and the pictures, and curves that the results really tell."""

import pytest
import torch
from torch import nn

from smoothify.attacks import PGD, ThreatModel
from smoothify.data import Images, load
from smoothify.evaluation import Outcome, RobustAccuracy, Sanity, robust_accuracy
from smoothify.evaluation.report import _against_steps, draw, report

IMAGES = Images(load(split="test"), input_size=(1, 28, 28), indices=range(40))


@pytest.fixture(scope="module")
def model() -> nn.Module:
    """A linear classifier: enough for every picture."""
    torch.manual_seed(0)
    linear = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    images, labels = IMAGES.batch(range(40))
    sgd = torch.optim.SGD(linear.parameters(), 0.1)
    for _ in range(60):
        sgd.zero_grad()
        nn.functional.cross_entropy(linear(images), labels).backward()
        sgd.step()
    return linear.eval()


def test_every_number_check_and_picture_is_in_it(model: nn.Module) -> None:
    threat = ThreatModel("linf", "0.15")
    results = [robust_accuracy(model, IMAGES, PGD(threat, steps=steps)) for steps in (5, 10)]
    pictures = draw(model, IMAGES, threat, results)
    assert len(pictures) == 4 and all(png.startswith(b"\x89PNG") for _, png in pictures)
    checked = Sanity("PGD-5", 40, (Outcome("deterministic", "fail", "logits differ by 0.1"),))
    text = report("mine", results, checked=checked, pictures=pictures, setting={"random starts": "seed 0"})
    for result in results:
        assert f"<td>{result.description}</td><td>{result.clean}</td><td>{result.robust}</td>" in text
    assert '<td class="fail">fail</td><td>logits differ by 0.1</td>' in text
    assert "PGD-5, 40 images: 0 of 1 checks passed; failed: deterministic." in text
    assert text.count("data:image/png") == 4
    assert "Warning: 40 images leave" in text and "seed 0" in text
    assert "sanity checks were not made" in report("mine", results, setting={})


def test_one_search_tells_the_accuracy_at_every_number_of_steps(model: nn.Module) -> None:
    step = 0.03
    threat = ThreatModel("linf", "0.15")
    searched = robust_accuracy(model, IMAGES, PGD(threat, steps=10, step_size=step))
    told = dict(_against_steps(searched))
    assert sorted(told) == [0, 1, 2, 5, 10]
    for steps in (1, 2, 5, 10):
        alone: RobustAccuracy = robust_accuracy(model, IMAGES, PGD(threat, steps=steps, step_size=step))
        assert told[steps] == alone.robust
    assert told[10].hits < told[0].hits <= searched.clean.hits
