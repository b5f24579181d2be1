"""A card and the Hub call a measurement the same, and whatever makes it another one stands in the name."""

import json

import pytest
import torch
from torch import nn

from smoothify.attacks import PGD, Ensemble, ThreatModel, attack, restarts
from smoothify.errors import HubError
from smoothify.evaluation import RobustAccuracy, card_results, robust_accuracy
from smoothify.hub import Result, read_evaluation
from smoothify.hub.results import without_repeats
from smoothify.protocol import published_name

THREAT = ThreatModel("linf", 0.1)
USUAL = "robust accuracy under {} (linf, epsilon 0.1)"


def measure(name: str, step_size: str | None = None, **options: object) -> RobustAccuracy:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3))
    pixels = torch.rand(6, 1, 4, 4)
    return robust_accuracy(model, (pixels, torch.arange(6) % 3), attack(name, THREAT, step_size=step_size), **options)


@pytest.mark.parametrize(
    ("measured", "shown"),
    [
        (("pgd-2",), "pgd-2"),
        (("pgd-2", "0.125"), "pgd-2"),
        (("pgd-2", "1/255"), "pgd-2, step 1/255"),
        (("pgd-2x2",), "pgd-2x2"),
        (("pgd-2x2", "1/255"), "pgd-2x2, step 1/255"),
        (("pgd-2x2", "8/255"), "pgd-2x2, step 8/255"),
    ],
)
def test_a_step_that_the_name_does_not_imply_is_published(measured: tuple[str, ...], shown: str) -> None:
    agree(measure(*measured), shown)


def test_so_are_a_surrogate_and_the_protocol() -> None:
    agree(measure("pgd-2", surrogate="silu"), "pgd-2, gradients of silu")
    agree(measure("pgd-2", full_protocol=True), "pgd-2, last step only")


def test_a_source_without_a_name_is_no_white_box() -> None:
    assert published_name("PGD-50", "linf", 0.1, through="").startswith("pgd-50, transferred from")


def test_a_distance_under_l2_is_no_number_of_grey_levels() -> None:
    result = RobustAccuracy("PGD-50", "l2", 1.0, 2.0, 0, (True,) * 4, (True,) * 4)
    assert result.description == "PGD-50, L2, epsilon 1, 4 images, step 2"
    (told,) = (one.name for one in card_results([result]) if one.epsilon is not None)
    assert told == "robust accuracy under pgd-50, step 2 (l2, epsilon 1)"
    assert Result("pgd-50", 0.5, 8 / 255).name.endswith("(linf, epsilon 8/255)")


def agree(result: RobustAccuracy, shown: str) -> None:
    (card,) = (one.name for one in card_results([result]) if one.epsilon is not None)
    (told,) = (one.name for one in read_evaluation(json.loads(json.dumps(result.to_dict()))).results[1:])
    assert card == told == USUAL.format(shown)


def test_an_ensemble_has_the_step_that_its_members_share() -> None:
    same, other = PGD(THREAT, steps=2, step_size=0.01), PGD(THREAT, steps=2, step_size=0.02)
    steps = [
        Ensemble(THREAT, "both", (same, one)).step for one in (same, restarts(same, 2), other, attack("square", THREAT))
    ]
    assert steps == [0.01, 0.01, None, None]


def test_a_card_hides_no_number_behind_another_of_its_name() -> None:
    first, second = (
        RobustAccuracy("Mine", "linf", 0.1, None, 0, (True,) * 4, stands) for stands in ((True,) * 4, (False,) * 4)
    )
    assert len(card_results([first, first])) == 2
    with pytest.raises(HubError, match=r"results: robust accuracy under mine .*: 100.0% .* and also 0.0%"):
        card_results([first, second])


def test_of_two_clean_accuracies_the_lowest_is_published() -> None:
    kept = without_repeats([Result("none", 0.87, images=100), Result("none", 0.86, images=100)])
    assert [result.accuracy for result in kept] == [0.86]
