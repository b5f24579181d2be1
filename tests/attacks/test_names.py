"""Attacks by name, one's own among them."""

from dataclasses import dataclass

import pytest
import torch
from torch import nn

from smoothify.attacks import PGD, Attack, ThreatModel, attack, register_attack
from smoothify.attacks.names import attacks_by
from smoothify.errors import ConfigError, SmoothifyError, UnknownNameError
from smoothify.evaluation.sharing import shared_batch_size
from smoothify.training import AttackConfig

THREAT = ThreatModel("linf", 0.1)


@dataclass(frozen=True)
class Brighter(Attack):
    share: float = 1.0

    def run(self, model, images, labels, generator):
        return images + self.share * self.threat.radius


def test_an_attack_of_ones_own_goes_by_its_name() -> None:
    register_attack("Brighter", Brighter)
    register_attack("half-brighter", lambda threat: Brighter(threat, share=0.5))
    model, images = nn.Flatten(), torch.full((2, 1, 2, 2), 0.5)
    moved = [attack(name, THREAT)(model, images, torch.tensor([0, 1])).mean() for name in ("brighter", "half-brighter")]
    assert torch.allclose(torch.stack(moved), torch.tensor([0.6, 0.55]))
    assert str(attack("BRIGHTER", THREAT)) == "Brighter"
    with pytest.raises(UnknownNameError, match="did you mean 'brighter'"):
        attack("brihter", THREAT)
    with pytest.raises(ConfigError, match="chooses its own"):
        attack("brighter", THREAT, step_size=0.1)


def test_a_name_that_begins_like_pgd_takes_no_step_size() -> None:
    register_attack("pgd-mine", Brighter)
    pgd, mine = attacks_by(["PGD-5", "pgd-mine"], THREAT, 0.01)
    assert isinstance(pgd, PGD) and pgd.step == 0.01 and isinstance(mine, Brighter)
    with pytest.raises(ConfigError, match="Brighter, which chooses its own"):
        attacks_by(["pgd-mine"], THREAT, 0.01)


def test_a_step_of_zero_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"step_size=0 would leave every image as pgd-50 starts it; give a positive"):
        attack("pgd-50", THREAT, step_size=0)
    with pytest.raises(ConfigError, match=r"step_size=0\.0 would leave every image"):
        AttackConfig(final_step_size=0.0)
    assert attack("pgd-50", ThreatModel("linf", 0.0)).step == 0, "nothing to move within"


@pytest.mark.parametrize("name", ["mine", "MINE", "pgd-50", "pgd-3x2", "AutoAttack", "square-100"])
def test_names_are_never_overwritten(name: str) -> None:
    register_attack("mine", Brighter)
    with pytest.raises(SmoothifyError, match=f"attack '{name.lower()}' is registered already; choose another name"):
        register_attack(name, Brighter)


@pytest.mark.parametrize("factory", [lambda threat: Brighter(ThreatModel("linf", 0.2)), lambda threat: "pgd"])
def test_an_attack_stays_in_the_threat_model_that_is_reported(factory) -> None:
    register_attack("mine", factory)
    with pytest.raises(
        ConfigError, match=r"attack 'mine': its factory returned .*, no attack within Linf, epsilon 0\.1"
    ):
        attack("mine", THREAT)


def test_what_is_unknown_is_answered_with_all_names() -> None:
    register_attack("mine", PGD)
    with pytest.raises(UnknownNameError, match=r"it is one of 'pgd-1', .*'square' or 'mine'\. If it is your own"):
        attack("xyzzy", THREAT)


@pytest.mark.parametrize(
    ("adversary", "by_image"),
    [
        (attack("pgd-10", THREAT), True),
        (attack("pgd-10x3", THREAT), True),
        (PGD(THREAT, batch_norm="train"), False),
        (attack("apgd-ce", THREAT), False),
        (attack("autoattack", THREAT), False),
        (Brighter(THREAT), False),
    ],
    ids=str,
)
def test_only_what_goes_image_by_image_is_shared_in_smaller_batches(adversary: Attack, by_image: bool) -> None:
    assert adversary.image_by_image is by_image
    sizes = [shared_batch_size(adversary, images, processes) for images, processes in ((500, 8), (501, 2), (500, 1))]
    assert sizes == ([63, 250, 250] if by_image else [250] * 3)
