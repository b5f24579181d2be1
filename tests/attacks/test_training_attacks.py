"""What only training does: clean starts, batch statistics, targets, single steps that leave the ball, warm-up."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from smoothify.attacks import (
    PGD,
    Attack,
    AutoAttack,
    Ensemble,
    NoiseFGSM,
    SampleNoise,
    ThreatModel,
    fgsm_rs,
    restarts,
    sample_keys,
)
from smoothify.errors import ConfigError, UnsupportedModelError
from smoothify.training import AttackConfig


def setting(batch: int = 64) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.SiLU(), nn.Flatten(), nn.Linear(16, 5))
    return model, torch.rand(batch, 3, 4, 4), torch.arange(batch) % 5


def test_some_images_start_from_themselves() -> None:
    _, images, labels = setting(400)
    flat = nn.Sequential(nn.Flatten(), nn.Linear(48, 5)).requires_grad_(False)
    flat[1].weight.zero_()  # without a gradient an image stays where it starts
    attack = PGD(ThreatModel("linf", 0.1), clean_start=0.25)
    attacked = attack(flat, images, labels, generator=torch.Generator().manual_seed(0))
    still = (attacked == images).flatten(1).all(1)
    assert 70 < still.sum() < 130
    keys = sample_keys(0, 0, torch.arange(400))
    one, other = (attack(flat, images[:n], labels[:n], generator=SampleNoise(keys[:n])) for n in (400, 7))
    assert torch.equal(one[:7], other), "an image's start is its own, whatever batch it is in"


def test_batch_statistics_are_used_and_forgotten() -> None:
    model, images, labels = setting()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    threat = ThreatModel("linf", 0.1)
    found = PGD(threat, random_start=False, batch_norm="train")(model, images, labels)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(module.training for module in model.modules())
    assert model[1].track_running_stats
    inputs = images.clone().requires_grad_()
    F.cross_entropy(model(inputs), labels).backward()  # in train mode
    expected = (images + (0.1 * inputs.grad.sign()).clamp(-0.1, 0.1)).clamp(0, 1)
    assert torch.equal(found, expected)
    assert not torch.equal(found, PGD(threat, random_start=False)(model, images, labels))


@pytest.mark.parametrize("kind", [PGD, NoiseFGSM, AutoAttack])
def test_batch_norms_are_used_in_one_of_two_ways(kind: type[Attack]) -> None:
    with pytest.raises(ConfigError, match="attack batch_norm='foo': it is 'eval' or 'train'"):
        kind(batch_norm="foo")


@pytest.mark.parametrize("attack", [PGD(), NoiseFGSM()], ids=str)
@pytest.mark.parametrize("elsewhere", [False, True], ids=["no gradient", "gradient of something else"])
def test_a_model_that_cuts_the_gradient_is_told_so(attack: Attack, elsewhere: bool) -> None:
    class Cut(nn.Linear):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return super().forward(images.detach().flatten(1))

    _, images, labels = setting()
    with pytest.raises(UnsupportedModelError, match=f"no gradient with respect to the images, which {attack} follows"):
        attack(Cut(48, 5).requires_grad_(elsewhere), images, labels)


def test_targeted_attacks_raise_one_wrong_class() -> None:
    model, images, labels = setting()
    attack = PGD(ThreatModel("linf", 0.3), steps=20, targeted=True)
    attacked = attack(model, images, labels, generator=torch.Generator().manual_seed(0))
    reached = model.eval()(attacked).argmax(1)
    assert (reached != labels).float().mean() > 0.9
    assert len(set(((reached - labels) % 5).tolist()) - {0}) == 4, "every wrong class is somebody's target"
    assert str(attack) == "targeted PGD-20"


def test_fgsm_rs_is_its_authors() -> None:
    """Uniform start, one step of 1.25 epsilon, clipped to the ball (Wong et al., algorithm 3)."""
    model, images, labels = setting()
    found = fgsm_rs(ThreatModel("linf", 0.08))(model, images, labels, generator=torch.Generator().manual_seed(1))
    noise = torch.empty_like(images).uniform_(-0.08, 0.08, generator=torch.Generator().manual_seed(1))
    start = (images + noise).clamp(0, 1).requires_grad_()
    F.cross_entropy(model.eval()(start), labels).backward()
    expected = (images + (start.detach() + 0.1 * start.grad.sign() - images).clamp(-0.08, 0.08)).clamp(0, 1)
    assert torch.allclose(found, expected, atol=1e-6)


def test_n_fgsm_is_its_authors_and_says_how_far_it_goes() -> None:
    """Noise of twice epsilon, clipped to images; a step of epsilon; no projection (de Jorge et al., their train.py)."""
    model, images, labels = setting()
    images = (2 * images - 0.5).clamp(0, 1)  # black and white are where clipping tells
    attack = NoiseFGSM(ThreatModel("linf", 0.08))
    found = attack(model, images, labels, generator=torch.Generator().manual_seed(1))
    noise = torch.empty_like(images).uniform_(-0.16, 0.16, generator=torch.Generator().manual_seed(1))
    start = (images + noise.clamp(-images, 1 - images)).requires_grad_()
    F.cross_entropy(model.eval()(start), labels).backward()
    assert torch.allclose(found, (start.detach() + 0.08 * start.grad.sign()).clamp(0, 1), atol=1e-6)
    assert 0.08 < (found - images).abs().max() <= attack.reach + 1e-6 == pytest.approx(0.24, abs=1e-5)


def test_warm_up_raises_epsilon_and_step() -> None:
    config = AttackConfig(epsilon=0.1, steps=2, step_size=0.06, epsilon_warmup=4, step_warmup=2)
    reached = {epoch: (config.at(epoch).threat.radius, config.at(epoch).step) for epoch in (1, 2, 4, 9)}
    assert reached[1] == pytest.approx((0.025, 0.06 / 4 / 2))
    assert reached[2] == pytest.approx((0.05, 0.03))
    assert reached[4] == pytest.approx((0.1, 0.06))
    assert reached[9] == pytest.approx((0.1, 0.06))
    assert config.threat.radius == 0.1, "what is measured does not warm up"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"clean_start": 1.5}, "clean_start=1.5"),
        ({"batch_norm": "train"}, "needs attack.precision"),
        ({"method": "n_fgsm", "norm": "l2", "epsilon": 1.0}, "linf only"),
        ({"method": "n_fgsm", "steps": 3}, "attack.steps is of attack.method pgd"),
        ({"method": "fgsm_rs", "targeted": True}, "attack.targeted is of attack.method pgd"),
        ({"epsilon_warmup": -1.0}, "attack.epsilon_warmup=-1"),
        ({"step_size": 0.0}, "attack.step_size=0"),
    ],
)
def test_impossible_settings_are_refused(values: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        AttackConfig(**values)


def test_an_attack_outside_the_threat_model_measures_nothing() -> None:
    from smoothify.data import Images, load
    from smoothify.evaluation import robust_accuracy

    images = Images(load(split="test"), input_size=(1, 28, 28), indices=range(2))
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    for wide in (NoiseFGSM(), restarts(NoiseFGSM(), 2), Ensemble(ThreatModel(), "N-FGSM", (PGD(), NoiseFGSM()))):
        with pytest.raises(ConfigError, match=r"N-FGSM(x2)? leaves its threat model \(Linf, epsilon 0.1\)"):
            robust_accuracy(model, images, wide)
