"""The same model, images, budget and seeds through the attacks of others: ours must not be kinder than theirs.

foolbox comes with the `dev` extra. torchattacks pins requests to 2.25, which `datasets` cannot use, so that ``make``
installs it without what it asks for.
"""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import smoothify
from smoothify.attacks import PGD, ThreatModel
from smoothify.data import Images, load
from smoothify.evaluation import RobustAccuracy, robust_accuracy
from smoothify.models import PixelClassifier

Theirs = Callable[[nn.Module, torch.Tensor, torch.Tensor, PGD], torch.Tensor]
BUDGETS = {
    "linf": PGD(ThreatModel("linf", 0.1), steps=40, step_size=0.01),
    "l2": PGD(ThreatModel("l2", 1.5), steps=40, step_size=0.15),
}


@pytest.fixture(scope="module")
def model() -> nn.Module:
    """A small network trained against single-step PGD on the embedded sample: 100 steps, some seconds."""
    torch.manual_seed(0)
    host = nn.Sequential(
        nn.Conv2d(1, 8, 5, stride=2), nn.SiLU(), nn.Conv2d(8, 16, 5, stride=2), nn.SiLU(), nn.Flatten(),
        nn.Linear(256, 10),
    )  # fmt: skip
    classifier = PixelClassifier(host, mean=[0.286], std=[0.353])
    images = Images(load(split="train"), input_size=(1, 28, 28))
    attack = PGD(ThreatModel("linf", 0.1))
    optimizer = torch.optim.Adam(host.parameters(), lr=3e-3)
    for chosen in torch.randperm(len(images)).split(100):
        batch, labels = images.batch(chosen.tolist())
        loss = F.cross_entropy(classifier(attack(classifier, batch, labels)), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return classifier.eval()


@pytest.fixture(scope="module")
def images() -> Images:
    return Images(load(split="test"), input_size=(1, 28, 28), indices=range(300))


@pytest.fixture(scope="module")
def measured(model: nn.Module, images: Images) -> dict[str, RobustAccuracy]:
    return {norm: robust_accuracy(model, images, attack) for norm, attack in BUDGETS.items()}


def foolbox_pgd(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, ours: PGD) -> torch.Tensor:
    foolbox = pytest.importorskip("foolbox", reason="foolbox is not installed: pip install '.[dev]'")
    chosen = foolbox.attacks.LinfPGD if ours.threat.norm == "linf" else foolbox.attacks.L2PGD
    attack = chosen(abs_stepsize=ours.step, steps=ours.steps, random_start=True)
    bounded = foolbox.PyTorchModel(model, bounds=(0, 1), device=images.device)
    attacked: torch.Tensor = attack(bounded, images, labels, epsilons=ours.threat.radius)[1]
    return attacked


def torchattacks_pgd(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, ours: PGD) -> torch.Tensor:
    torchattacks = pytest.importorskip("torchattacks", reason="pip install --no-deps torchattacks (see the Makefile)")
    chosen = torchattacks.PGD if ours.threat.norm == "linf" else torchattacks.PGDL2
    attacked: torch.Tensor = chosen(model, eps=ours.threat.radius, alpha=ours.step, steps=ours.steps)(images, labels)
    return attacked


def apgd_by_its_authors(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, ours: PGD) -> torch.Tensor:
    """APGD-CE through pyautoattack's own entry point; its 100 steps are a larger budget than ours."""
    pyautoattack = pytest.importorskip("pyautoattack", reason="pip install '.[autoattack]'")
    norm, radius = ours.threat.norm.capitalize(), ours.threat.radius
    entry = pyautoattack.AutoAttack(
        smoothify.as_robustbench(model), attacks=["apgd-ce"], eps=radius, norm=norm, seed=0, version="custom"
    )
    entry.apgd.n_restarts = 1
    attacked: torch.Tensor = entry.run_standard_evaluation(images, labels, batch_size=len(images))[0]
    return attacked


@pytest.mark.parametrize("norm", BUDGETS)
@pytest.mark.parametrize("theirs", [foolbox_pgd, torchattacks_pgd, apgd_by_its_authors])
def test_pgd_is_as_strong_as_that_of(
    theirs: Theirs, norm: str, model: nn.Module, images: Images, measured: dict[str, RobustAccuracy]
) -> None:
    ours = measured[norm]
    batch, labels = images.batch(range(len(images)))
    torch.manual_seed(0)
    attacked = theirs(model, batch, labels, BUDGETS[norm])
    threat = BUDGETS[norm].threat
    assert float(threat.ball.size(attacked - batch).max()) <= threat.radius + 1e-5
    with torch.no_grad():
        right = (model(attacked).argmax(1) == labels) & torch.tensor(ours.clean_correct)
    low, high = ours.robust.interval
    assert 0.1 < ours.robust.value < ours.clean.value - 0.1, "the model must tell attacks apart"
    assert ours.robust.value <= float(right.float().mean()) + (high - low) / 2
    print(f"{norm} {theirs.__name__}: clean {ours.clean}, ours {ours.robust}, theirs {right.float().mean():.3f}")
