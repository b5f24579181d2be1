"""An honest measurement passes; each planted fraud is caught by checks that name it."""

import copy
import json
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from matplotlib.axes import Axes
from torch import nn

from smoothify.attacks import PGD, Attack, AutoAttack, AutoAttackPart, ThreatModel
from smoothify.data import Images, load
from smoothify.errors import ConfigError, DataError, UnsupportedModelError
from smoothify.evaluation import (
    CHECKS,
    Check,
    CheckResult,
    RobustAccuracy,
    Sanity,
    Subject,
    as_robustbench,
    robust_accuracy,
    sanity,
)
from smoothify.evaluation.checks.of_the_model import finite_differences
from smoothify.evaluation.plots import adversarial
from smoothify.models import PixelClassifier
from tests.evaluation import frauds
from tests.evaluation.conftest import EPSILON

LINF = ThreatModel("linf", EPSILON)
HONEST = PGD(LINF, steps=20, step_size=EPSILON / 4)


def itself(model: PixelClassifier) -> nn.Module:
    return model


def leaked() -> tuple[torch.Tensor, torch.Tensor]:
    return Images(load(split="test"), input_size=(1, 28, 28), indices=range(120)).batch(range(120))


def ordered(model: PixelClassifier) -> nn.Module:
    return frauds.Ordered(model, leaked()[1])


def remembering(model: PixelClassifier) -> nn.Module:
    return frauds.Remembering(model, *leaked())


FRAUDS: dict[str, tuple[Callable[[PixelClassifier], nn.Module], Attack, set[str]]] = {
    "quantised input": (frauds.Quantised, HONEST, {"gradients of zero", "white box, black box"}),
    "saturated softmax": (frauds.Saturated, HONEST, {"gradients of zero", "logits rescaled"}),
    "random noise": (frauds.Noisy, HONEST, {"deterministic"}),
    "normalises twice": (frauds.normalises_twice, HONEST, {"normalised once"}),
    "attack returns its input": (itself, frauds.Nothing(LINF), {"attack moves images", "multi-step, one step, noise"}),
    "activation in steps": (frauds.shattered(0.0), HONEST, {"gradients of zero"}),
    "activation with ripples": (frauds.shattered(0.1), HONEST, {"gradients, finite differences"}),
    "detector": (frauds.Detector, HONEST, {"gradients of zero", "accuracy falls with epsilon"}),
    "dropout at evaluation": (frauds.Dropping, HONEST, {"deterministic"}),
    "random augmentation": (frauds.Augmenting, HONEST, {"deterministic"}),
    "statistics of the batch": (frauds.BatchStatistics, HONEST, {"eval mode"}),
    "labels by their order": (ordered, HONEST, {"eval mode"}),
    "another model for attackers": (frauds.Watchful, HONEST, {"deterministic"}),
    "a backward pass of its own": (frauds.Misleading, HONEST, {"gradients, finite differences"}),
    "memory of the test images": (remembering, HONEST, {"gradients, finite differences"}),
    "no gradient at all": (frauds.CutOff, HONEST, {"gradients of zero", "attack moves images"}),
    "logits that are not finite": (frauds.Broken, HONEST, {"finite logits"}),
    "steps too small": (itself, PGD(LINF, steps=20, step_size=EPSILON / 1000), {"multi-step, one step, noise"}),
    "attack on another model": (itself, frauds.Elsewhere(LINF, steps=5), {"multi-step, one step, noise"}),
    "attack that claims": (itself, frauds.Boastful(LINF, steps=5), {"re-measured from saved images"}),
    "attack that goes too far": (itself, frauds.Overreaching(LINF, steps=5), {"within epsilon"}),
}  # fmt: skip


@pytest.mark.parametrize("threat", [LINF, ThreatModel("l2", 0.8)], ids=["linf", "l2"])
def test_an_honest_measurement_fails_nothing(trained: PixelClassifier, test_images: Images, threat) -> None:
    attack = PGD(threat, steps=20, step_size=threat.radius / 4)
    outcomes = sanity(trained, test_images, attack).results
    print(*outcomes, sep="\n")
    assert [outcome.check for outcome in outcomes] == [check.name for check in CHECKS]
    assert [str(outcome) for outcome in outcomes if outcome.verdict == "fail"] == []


@pytest.mark.parametrize(
    ("part", "steps", "failed"),
    [
        ("apgd-ce", 20, []),
        ("apgd-dlr", 20, []),
        ("apgd-t", 10, []),
        ("fab-t", 20, []),
        ("square", 300, ["multi-step, one step, noise"]),  # alone it finds less than gradients do, and that is said
    ],
)
def test_an_honest_part_of_autoattack(trained, test_images: Images, part: str, steps: int, failed: list[str]) -> None:
    """It gives back the clean image where it does not succeed, so only those that fell can have moved."""
    pytest.importorskip("pyautoattack")
    attack = AutoAttackPart(LINF, part, steps)
    about = [check for check in CHECKS if check.about == "attack"]
    outcomes = sanity(trained, test_images, attack, checks=about).results
    print(*outcomes, sep="\n")
    assert [outcome.check for outcome in outcomes if outcome.verdict == "fail"] == failed
    assert "fallen images differ from the clean ones" in outcomes[0].found
    harmless = AutoAttackPart(ThreatModel("linf", 1e-6), part, 2)
    assert sanity(trained, test_images, harmless, checks=about[:1]).results[0].verdict == "not applicable"


@pytest.mark.parametrize(("attack", "words"), [(AutoAttackPart(LINF, "apgd-ce", 5), True), (HONEST, False)])
def test_a_picture_says_where_an_attack_found_nothing(
    trained, test_images: Images, attack: Attack, words: bool
) -> None:
    pytest.importorskip("pyautoattack")
    images, labels = test_images.batch(range(8))
    drawn: list[str] = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Axes, "set_xlabel", lambda axis, text, **_: drawn.append(text))
        adversarial(trained, images, labels, attack, test_images.source.classes)
    assert ("nothing found" in drawn) == words


@pytest.mark.parametrize("fraud", FRAUDS)
def test_frauds_are_caught(fraud: str, trained: PixelClassifier, test_images: Images) -> None:
    plant, attack, caught_by = FRAUDS[fraud]
    torch.manual_seed(0)
    found = sanity(plant(copy.deepcopy(trained)), test_images, attack)
    print(found)
    assert caught_by <= {outcome.check for outcome in found.results if outcome.verdict == "fail"}
    assert all(name in found.verdict for name in caught_by)


def test_a_failure_is_said_of_what_it_concerns() -> None:
    found = Sanity(
        "PGD-5",
        120,
        (
            CheckResult("deterministic", "fail", "logits differ"),
            CheckResult("steps and restarts converge", "fail", "they do not", about="threat model"),
            CheckResult("within epsilon", "fail", "twice as far", about="attack"),
            CheckResult("eval mode", "pass", "they do not differ"),
            CheckResult("smoothness", "not applicable", "none asked"),
        ),
        threat=ThreatModel("linf", 0.1),
        known_by="pgd-5",
    )

    def result(norm: str = "linf", epsilon: float = 0.1, **values) -> RobustAccuracy:
        stands = (True,) * 900
        return RobustAccuracy("PGD-5", norm, epsilon, None, 0, stands, stands, caveats=("old",), **values)

    own, other = (found.attached_to(result(known_by=name)) for name in ("pgd-5", "pgd-5 with another step"))
    model, threat, attack = ("deterministic: logits differ", "steps and restarts converge: they do not",
                             "within epsilon: twice as far")  # fmt: skip
    assert (
        own.sanity
        == found.verdict
        == "1 of 4 checks passed; failed: "
        + "; ".join(["deterministic", "steps and restarts converge", "within epsilon"])
    )
    assert own.warnings == (model, threat, attack, "old")
    assert other.sanity == "1 of 3 checks passed; failed: deterministic; steps and restarts converge"
    assert other.warnings == (model, threat, "old")
    for elsewhere in (result(epsilon=0.2), result("l2"), result(epsilon=0.2, known_by="another")):
        assert found.attached_to(elsewhere).warnings == (model, "old")
    assert Sanity("PGD-5", 120, found.results).attached_to(result()).warnings == (model, "old"), "of which attack?"
    assert json.loads(json.dumps(found.to_dict()))["checks"][2]["about"] == "attack"
    assert own.to_dict()["sanity"] == own.sanity


@pytest.mark.parametrize(
    "other",
    [
        PGD(LINF, steps=20, step_size=EPSILON / 1000),
        PGD(LINF, steps=20, step_size=EPSILON / 4, random_start=False),
        PGD(ThreatModel("linf", EPSILON / 2), steps=20, step_size=EPSILON / 4),
        PGD(ThreatModel("l2", EPSILON), steps=20, step_size=EPSILON / 4),
    ],
)
def test_an_attack_of_the_same_name_is_another(trained, test_images: Images, other: PGD) -> None:
    checks = [check for check in CHECKS if check.name in ("within epsilon", "gradients of zero", "finite logits")]
    found = sanity(trained, test_images, HONEST, checks=checks)
    own, others = (robust_accuracy(trained, test_images, attack) for attack in (HONEST, other))
    assert own.attack == others.attack and found.attached_to(own).sanity == "3 of 3 checks passed"
    left = 2 if other.threat == LINF else 1
    assert found.attached_to(others).sanity == f"{left} of {left} checks passed"
    assert found.attached_to(replace(own, through="relu")).sanity == "2 of 2 checks passed"


def test_a_check_of_ones_own(trained: PixelClassifier, test_images: Images) -> None:
    grey = Check("grey", lambda subject: ("pass", f"{subject.images.shape[1]} channel"))
    found = sanity(trained, test_images, HONEST, checks=[grey])
    assert str(found).splitlines() == [
        "pass            grey: 1 channel",
        "sanity of PGD-20 on 120 images: 1 of 1 checks passed",
    ]


def test_nothing_to_attack_is_no_crash(trained: PixelClassifier, test_images: Images) -> None:
    """On images that are all wrong already most questions do not arise."""
    wrong = Images(test_images.source, input_size=(1, 28, 28), indices=range(6))
    wrong.labels = (trained(wrong.batch(range(6))[0]).argmax(1) + 1) % 10
    outcomes = {one.check: one for one in sanity(trained, wrong, HONEST).results}
    asked = [check.name for check in CHECKS if check.ask.__module__.endswith("of_the_attack")]
    assert len(asked) == 10
    for name in asked:
        assert (outcomes[name].verdict, outcomes[name].found) == (
            "not applicable",
            "no clean image is classified right",
        )


def test_a_single_logit_is_refused(test_images: Images) -> None:
    one = nn.Sequential(nn.Flatten(), nn.Linear(784, 1))
    images = test_images.batch(range(4))[0], torch.zeros(4, dtype=torch.long)
    for measure in (robust_accuracy, sanity):
        for attack in (HONEST, AutoAttack(LINF)):
            with pytest.raises(UnsupportedModelError, match=r"gives 1 logit\(s\).* give two, \(-z, z\)"):
                measure(one, images, attack)
    with pytest.raises(ConfigError, match=r"the model has 1; give it two logits, \(-z, z\)"):
        AutoAttack(LINF)(one, *images)


def test_where_square_does_not_fit_its_check_does_not_apply() -> None:
    pytest.importorskip("pyautoattack")
    pixels = torch.rand(6, 1, 12, 8, generator=torch.Generator().manual_seed(0))
    model = nn.Sequential(nn.Flatten(), nn.Linear(96, 3)).eval()
    images, black_box = (pixels, model(pixels).argmax(1)), [check for check in CHECKS if "black box" in check.name]
    for norm, verdict in (("l2", "not applicable"), ("linf", "pass")):
        (found,) = sanity(model, images, PGD(ThreatModel(norm, 1e-4), steps=2), checks=black_box).results
        assert found.verdict == verdict, found
    with pytest.raises(ConfigError, match=r"Square under L2 does not take images of shape \(1, 12, 8\)"):
        robust_accuracy(model, images, AutoAttack(ThreatModel("l2", 0.1)))


def test_finite_differences_stay_where_images_are(trained: PixelClassifier, test_images: Images) -> None:
    """RobustBench's form of a model refuses others, and images have black and white pixels."""
    pixels, labels = test_images.batch(range(20))
    pixels = (2 * pixels - 0.5).clamp(0, 1)
    found = finite_differences(Subject(as_robustbench(trained), pixels, labels, HONEST))
    assert found[0] == "pass" and (pixels == 0).any() and (pixels == 1).any()


@pytest.mark.parametrize("label", [11, -1])
def test_a_label_without_a_class_is_refused_first(trained: PixelClassifier, test_images: Images, label: int) -> None:
    wrong = Images(test_images.source, input_size=(1, 28, 28), indices=range(6))
    wrong.labels = torch.tensor([0, 1, 2, 3, label, 5])
    with pytest.raises(DataError, match=f"label {label} is outside the model's 10 classes"):
        sanity(trained, wrong, HONEST)


@pytest.mark.parametrize(("images", "slack"), [(10, 20.0), (20, 10.0), (100, 2.0), (120, 2.0)])
def test_one_image_of_a_few_decides_nothing(
    trained: PixelClassifier, test_images: Images, images: int, slack: float
) -> None:
    batch, labels = test_images.batch(range(images))
    assert Subject(trained, batch, labels, HONEST).slack == pytest.approx(slack)


@pytest.mark.parametrize("first", [120, 260, 620])
def test_twenty_images_of_an_honest_model_fail_nothing(trained, test_images: Images, first: int) -> None:
    few = Images(test_images.source, input_size=(1, 28, 28), indices=range(first, first + 20))
    assert [str(one) for one in sanity(trained, few, HONEST).results if one.verdict == "fail"] == []


def test_two_images_without_a_gradient_are_not_a_few(trained: PixelClassifier, test_images: Images) -> None:
    two = Images(test_images.source, input_size=(1, 28, 28), indices=range(2))
    failed = [one.check for one in sanity(frauds.CutOff(trained), two, HONEST).results if one.verdict == "fail"]
    assert "gradients of zero" in failed
