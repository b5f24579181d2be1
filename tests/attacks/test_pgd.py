"""PGD against what can be known about it: the ball, the linear case, the model's state, half precision."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from smoothify.attacks import NORMS, PGD, Ensemble, NoiseFGSM, ThreatModel, attack, fgsm_rs, restarts
from smoothify.errors import ConfigError, DataError, UnknownNameError
from smoothify.objectives import objective
from smoothify.training import AttackConfig


def linear(classes: int = 3, pixels: int = 48) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(pixels, classes))


def images(batch: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(batch, 3, 4, 4, generator=generator), torch.arange(batch) % 3


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("steps", [1, 2, 7])
@pytest.mark.parametrize("random_start", [False, True])
def test_result_is_in_the_ball_and_in_range(norm: str, steps: int, random_start: bool) -> None:
    clean, labels = images()
    attacked = PGD(ThreatModel(norm, 0.2), steps=steps, step_size=0.15, random_start=random_start)(
        linear(), clean, labels
    )
    assert (NORMS[norm].size(attacked - clean) <= 0.2 + 1e-6).all()
    assert attacked.min() >= 0
    assert attacked.max() <= 1
    assert not attacked.requires_grad


@pytest.mark.parametrize("norm", NORMS)
def test_binary_linear_model_is_attacked_optimally(norm: str) -> None:
    """For two classes of a linear model the worst perturbation is known in closed form."""
    model, epsilon = linear(classes=2), 0.05
    clean = torch.full((2, 3, 4, 4), 0.5)
    labels = torch.tensor([0, 1])
    attacked = PGD(ThreatModel(norm, epsilon), steps=60, step_size=epsilon / 4)(model, clean, labels)
    weight = (model[1].weight[1] - model[1].weight[0]).detach()
    sign = torch.tensor([1.0, -1.0])
    dual = weight.abs().sum() if norm == "linf" else weight.norm()
    margin = (model(attacked) - model(clean)).diff(dim=1).flatten().detach()
    assert torch.allclose(margin, sign * epsilon * dual, rtol=1e-4)


def test_more_steps_and_larger_epsilon_raise_the_loss() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 64), nn.Tanh(), nn.Linear(64, 3))
    clean, labels = images(64)

    def loss(threat: ThreatModel, steps: int) -> float:
        generator = torch.Generator().manual_seed(0)
        attacked = PGD(threat, steps=steps, step_size=threat.radius / 4)(model, clean, labels, generator=generator)
        return F.cross_entropy(model(attacked), labels).item()

    small, large = ThreatModel("linf", 0.05), ThreatModel("linf", 0.1)
    assert F.cross_entropy(model(clean), labels) < loss(small, 1) < loss(small, 20) < loss(large, 20)


def test_model_is_left_as_it_was() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Dropout(), nn.Linear(16, 3))
    model[1].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    clean, labels = images()
    PGD(steps=3)(model, clean, labels)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())


def test_mode_is_restored_when_the_model_fails() -> None:
    class Failing(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("no")

    model = Failing()
    with pytest.raises(RuntimeError, match="no"):
        PGD()(model, *images())
    assert model.training


def test_works_without_grad_mode_and_on_frozen_parameters() -> None:
    model = linear().requires_grad_(False)
    clean, labels = images()
    with torch.no_grad():
        attacked = PGD(random_start=False)(model, clean, labels)
    assert F.cross_entropy(model(attacked), labels) > F.cross_entropy(model(clean), labels)


def test_small_gradients_survive_float16() -> None:
    """A mean loss would flush these input gradients to zero; the scaled sum keeps every sign."""
    model = linear()
    with torch.no_grad():
        model[1].weight.mul_(1e-5)
    clean, labels = images()
    exact = PGD(random_start=False)(model, clean, labels)
    half = PGD(random_start=False)(model.half(), clean.half(), labels)
    assert torch.equal((exact - clean).sign(), (half - clean.half()).sign().float())


@pytest.mark.parametrize("size", [1e-30, 1e-38, 1e-43, 1e30])
def test_an_l2_direction_has_length_1_however_small_the_gradient(size: float) -> None:
    """A model that is sure of itself leaves gradients whose squares are zero in float32."""
    gradient = torch.stack([torch.full((1, 28, 28), size), torch.zeros(1, 28, 28)])
    assert NORMS["l2"].size(NORMS["l2"].direction(gradient)).tolist() == pytest.approx([1.0, 0.0])


def test_generator_decides_the_start() -> None:
    clean, labels = images()
    first, second, other = (
        PGD()(linear(), clean, labels, generator=torch.Generator().manual_seed(seed)) for seed in (3, 3, 4)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("norm", NORMS)
def test_random_start_fills_the_ball(norm: str) -> None:
    start = NORMS[norm].start(torch.zeros(2000, 1, 2, 1), 0.5, torch.Generator().manual_seed(0))
    size = NORMS[norm].size(start) / 0.5
    assert size.max() <= 1
    # the radius of a uniform draw in two dimensions has the distribution function r², so its median is 1/√2
    assert abs(size.median().item() - 0.5**0.5) < 0.03


def test_an_l2_radius_may_exceed_1() -> None:
    assert ThreatModel("l2", 3.0).radius == ThreatModel("l2", "3").radius == 3.0
    assert PGD(ThreatModel("l2", 3.0), step_size=2.0).step == 2.0


def test_the_usual_step_is_at_most_a_pixels_range() -> None:
    assert AttackConfig(epsilon=0.9, steps=2).build().step == PGD(ThreatModel("linf", 0.9), steps=2).step == 1.0
    assert PGD(ThreatModel("l2", 2.0), steps=2).step == 2.5


@pytest.mark.parametrize("norm", NORMS)
def test_zero_epsilon_changes_nothing(norm: str) -> None:
    clean, labels = images()
    assert torch.equal(PGD(ThreatModel(norm, 0.0), steps=2, step_size=0.1)(linear(), clean, labels), clean)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: PGD(steps=0), ConfigError, "at least 1"),
        (lambda: PGD(step_size="4"), ConfigError, "'4/255'"),
        (lambda: ThreatModel("linf", 8), ConfigError, "'8/255'"),
        (lambda: ThreatModel("linf", -0.1), ConfigError, "not in"),
        (lambda: ThreatModel("linf", float("nan")), ConfigError, "nan"),
        (lambda: ThreatModel("linf", "eight"), ConfigError, "'eight'"),
        (lambda: ThreatModel("l2", float("inf")), ConfigError, "inf"),
        (lambda: ThreatModel("l2", "-3"), ConfigError, "not in"),
        (lambda: ThreatModel("linfty"), UnknownNameError, "'linf'"),
        (lambda: attack("pgd50", ThreatModel()), UnknownNameError, "'pgd-50'"),
        (lambda: PGD()(linear(), torch.rand(2, 48), torch.tensor([0, 1])), DataError, "(2, 48)"),
        (lambda: PGD()(linear(), torch.rand(2, 3, 4, 4), torch.tensor([0])), DataError, "(1,)"),
        (lambda: restarts(PGD(), 2)(linear(), torch.rand(2, 3, 4, 4), torch.eye(2)), DataError, "no probabilities"),
        (lambda: Ensemble(members=(PGD(), PGD(batch_norm="train"))), ConfigError, "PGD-1 'eval', PGD-1 'train'"),
        (lambda: Ensemble(members=(PGD(),), batch_norm="train"), ConfigError, "batch_norm is the members'"),
    ],
)
def test_bad_input(make, error, words) -> None:
    with pytest.raises(error) as raised:
        make()
    assert words in str(raised.value)


@pytest.mark.parametrize(
    "made", [PGD(), PGD(steps=2), fgsm_rs(ThreatModel()), NoiseFGSM(), restarts(PGD(), 2)], ids=str
)
@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan"), float("inf")])
def test_images_outside_0_to_1_are_refused(made, value: float) -> None:
    """Clipped to [0, 1], a normalised image would come back far outside the threat model."""
    clean, labels = images()
    clean[1, 2, 3, 0] = value
    for way in (made, made.find):
        with pytest.raises(DataError, match=r"images in \[.*\]; give them in \[0, 1\], not normalised"):
            way(linear(), clean, labels)


@pytest.mark.parametrize("spec", ["pgd_at", "trades", "mart + awp"])
@pytest.mark.parametrize("made", [PGD(steps=2), NoiseFGSM()], ids=str)
def test_training_does_not_wait_for_the_device(spec: str, made) -> None:
    """A fake tensor has no values: whoever asks for one fails, as the check of a call does."""
    with FakeTensorMode():
        model, (clean, labels) = linear(), images()
        attacked = objective(spec).adversary(model, made, clean, labels, None)
        assert attacked.shape == clean.shape
        with pytest.raises(DataDependentOutputException):
            made(model, clean, labels)
