"""The report holds every number, every check and the pictures, and curves that the results really tell."""

import dataclasses
import struct

import pytest
import torch
from torch import nn

from smoothify.attacks import PGD, ThreatModel
from smoothify.data import Images, load
from smoothify.evaluation import CheckResult, RobustAccuracy, Sanity, robust_accuracy
from smoothify.evaluation.report import _against_epsilon, _against_steps, draw, report
from smoothify.evaluation.subject import Subject, long_stepped

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


@pytest.mark.parametrize("threat", [ThreatModel("linf", "0.15"), ThreatModel("l2", 1.5)], ids=["linf", "l2"])
def test_every_number_check_and_picture_is_in_it(model: nn.Module, threat: ThreatModel) -> None:
    results = [robust_accuracy(model, IMAGES, PGD(threat, steps=steps)) for steps in (5, 10)]
    pictures = draw({"mine": model}, IMAGES, threat, results)
    assert len(pictures) == 4 and all(png.startswith(b"\x89PNG") for _, png in pictures)
    checked = Sanity("PGD-5", 40, (CheckResult("deterministic", "fail", "logits differ by 0.1"),))
    results = [checked.attached_to(result) for result in results]
    text = report("mine", results, checked=checked, pictures=pictures, setting={"data": "sample", "sanity": "not here"})
    for result in results:
        (row,) = [line for line in text.splitlines() if f"<td>{result.protocol}</td>" in line]
        assert f">{result.clean}<" in row and f">{result.robust}<" in row
        assert ">WARNING: deterministic: logits differ by 0.1; 40 images leave" in row, "in the number's own row"
    assert f"{threat}; 40 images." in text
    assert '<td class="verdict fail">fail</td><td>logits differ by 0.1</td>' in text
    assert "PGD-5, 40 images: 0 of 1 checks passed; failed: deterministic." in text
    assert text.count("data:image/png") == 4
    assert "<td>data</td><td>sample</td>" in text and "seed 0" in text and "not here" not in text
    assert "sanity checks were not made" in report("mine", results, setting={})


def test_the_curve_against_epsilon_and_the_checks_are_of_one_attack(model: nn.Module) -> None:
    """They stand in one report, and shorter steps under the same name may find 40 points less."""
    threat = ThreatModel("linf", "0.15")
    subject = Subject(model, *IMAGES.batch(range(40)), PGD(threat, steps=5))
    curve = dict(_against_epsilon(model, IMAGES, threat, seed=0))
    assert long_stepped(threat, 20) == subject.pgd(20) != PGD(threat, steps=20)
    assert 100 * curve[threat.radius].value == pytest.approx(subject.share(subject.pgd(20)))
    assert "(PGD-20, steps of epsilon/4)" in draw({"mine": model}, IMAGES, threat, [])[1][0]


def test_labels_without_names_may_lack_the_last_classes(model: nn.Module) -> None:
    """A split whose labels have no names has as many classes as its highest label says; a model predicts the others."""
    threat, trousers = ThreatModel("linf", "0.15"), torch.nonzero(IMAGES.labels < 2).flatten().tolist()
    few = Images(load(split="test"), input_size=(1, 28, 28), indices=trousers)
    few.source = dataclasses.replace(few.source, classes=("0", "1"))
    assert draw({"mine": model}, few, threat, [])[0][1].startswith(b"\x89PNG")


def test_a_second_model_is_drawn_beside_the_first(model: nn.Module) -> None:
    """Both landscapes, of an image that both classify right, and both curves are wider or more than one's."""
    threat = ThreatModel("linf", "0.15")
    other = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    other.load_state_dict({name: 0.5 * value for name, value in model.state_dict().items()})
    alone, both = (draw(models, IMAGES, threat, []) for models in ({"one": model}, {"one": model, "two": other}))
    sizes = [[struct.unpack(">II", png[16:24]) for _, png in pictures] for pictures in (alone, both)]
    (landscape_of_one, landscape_of_both), (grid, same_grid) = (
        (size[-1] for size in sizes),
        (size[0] for size in sizes),
    )
    assert abs(landscape_of_both[0] - 2 * landscape_of_one[0]) <= 1  # a pixel, of matplotlib 3.9
    assert grid == same_grid
    assert alone[1][1] != both[1][1], "two curves against epsilon"


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
