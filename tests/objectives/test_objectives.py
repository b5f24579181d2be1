"""Objectives by name: the registry, and the value and gradient of each."""

import copy
import dataclasses
import inspect

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from smoothify import objectives
from smoothify.attacks import PGD, ThreatModel
from smoothify.errors import SmoothifyError, UnknownNameError, UnsupportedModelError
from smoothify.objectives import awp


def setting() -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 3)), torch.rand(5, 1, 4, 4), torch.tensor([0, 2, 1, 1, 0])


def test_registry_holds_every_objective_and_suggests() -> None:
    kinds = [value for value in vars(objectives).values() if isinstance(value, type)]
    defined = {kind for kind in kinds if issubclass(kind, objectives.Objective) and not inspect.isabstract(kind)}
    defined -= {objectives.WeightPerturbation}  # named after another one, never alone
    assert set(objectives.OBJECTIVES.values()) == defined
    with pytest.raises(UnknownNameError, match="did you mean 'standard'"):
        objectives.objective("standart")


def test_an_objective_of_ones_own_goes_by_its_name() -> None:
    @objectives.register_objective
    @dataclasses.dataclass(frozen=True)
    class Own(objectives.StandardTraining):
        name = "own"
        weight: float = 1.0

    assert objectives.objective("own(weight=3)", label_smoothing=0.1) == Own(label_smoothing=0.1, weight=3.0)
    assert objectives.objective("own + awp").inner == Own()
    with pytest.raises(SmoothifyError, match="objective 'own' is registered already; choose another name"):
        objectives.register_objective(Own)
    for name in ("awp", "half clean", None):
        with pytest.raises(SmoothifyError, match="registered already" if name == "awp" else "give the class a name"):
            objectives.register_objective(type("Other", (Own,), {"name": name}))


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_adversarial_training_is_cross_entropy_on_attacked_images(label_smoothing: float) -> None:
    model, images, labels = setting()
    attack = PGD(ThreatModel("linf", 0.1), random_start=False)
    loss = objectives.objective("pgd_at", label_smoothing=label_smoothing).loss(model, model, attack, images, labels)
    logits = model(attack(model, images, labels))
    assert torch.equal(loss.value, F.cross_entropy(logits, labels, label_smoothing=label_smoothing))
    assert torch.equal(loss.logits, logits)
    assert not loss.logits.requires_grad
    loss.value.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_attack_sees_the_unwrapped_model_only() -> None:
    """What a wrapper does in forward (synchronise, reduce) must happen once a step: in the update."""
    calls = []

    class Wrapper(nn.Module):
        def __init__(self, module: nn.Module) -> None:
            super().__init__()
            self.module = module

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            calls.append(len(images))
            return self.module(images)

    model, images, labels = setting()
    objectives.objective("pgd_at").loss(Wrapper(model), model, PGD(steps=3), images, labels)
    assert calls == [5]


def test_standard_training_uses_no_attack() -> None:
    model, images, labels = setting()
    loss = objectives.objective("standard").loss(model, model, None, images, labels)
    assert torch.equal(loss.value, F.cross_entropy(model(images), labels))


def two_halves() -> tuple[nn.Module, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """A model without batch statistics, images, labels, attacked images, and the probabilities of both."""
    model, images, labels = setting()
    attacked = (images + 0.1 * torch.randn_like(images)).clamp(0, 1)
    clean, adversarial = (torch.softmax(model(inputs), 1) for inputs in (images, attacked))
    return model, images, labels, attacked, clean, adversarial


def gradients_agree(model: nn.Module, value: torch.Tensor, expected: torch.Tensor) -> None:
    assert torch.allclose(value, expected, rtol=1e-5)
    found, wanted = (torch.autograd.grad(loss, list(model.parameters())) for loss in (value, expected))
    assert all(torch.allclose(one, other, atol=1e-6) for one, other in zip(found, wanted, strict=True))


def test_mixture_is_its_equation() -> None:
    model, images, labels, attacked, clean, adversarial = two_halves()
    expected = sum(
        -0.3 * clean[index, label].log() - 0.7 * adversarial[index, label].log() for index, label in enumerate(labels)
    )
    gradients_agree(
        model, objectives.objective("mixture(clean=0.3)").compare(model, images, attacked, labels).value, expected / 5
    )


def test_trades_is_its_equation() -> None:
    model, images, labels, attacked, clean, adversarial = two_halves()
    expected = 0
    for index, label in enumerate(labels):
        expected = expected - clean[index, label].log()
        for p, q in zip(clean[index], adversarial[index], strict=True):
            expected = expected + 4 * p * (p / q).log()
    gradients_agree(
        model, objectives.objective("trades(beta=4)").compare(model, images, attacked, labels).value, expected / 5
    )


def test_mart_is_its_equation() -> None:
    model, images, labels, attacked, clean, adversarial = two_halves()
    expected = 0
    for index, label in enumerate(labels):
        other = max(adversarial[index, k] for k in range(3) if k != label)
        expected = expected - adversarial[index, label].log() - (1.0001 - other).log()
        divergence = sum(p * (p / q).log() for p, q in zip(clean[index], adversarial[index], strict=True))
        expected = expected + 5 * divergence * (1 - clean[index, label])
    gradients_agree(model, objectives.objective("mart").compare(model, images, attacked, labels).value, expected / 5)


def test_trades_attacks_the_divergence() -> None:
    """The reference takes the gradient of KL(f(x) || f(x')) itself."""
    model, images, labels = setting()
    generator = torch.Generator().manual_seed(3)
    attacked = objectives.objective("trades").adversary(
        model, PGD(ThreatModel("linf", 0.1), steps=3, step_size=0.03), images, labels, generator
    )
    clean = torch.log_softmax(model(images).detach(), 1)
    tried = (images + torch.empty_like(images).uniform_(-0.1, 0.1, generator=generator.manual_seed(3))).clamp(0, 1)
    for _ in range(3):
        tried = tried.detach().requires_grad_()
        F.kl_div(torch.log_softmax(model(tried), 1), clean, log_target=True, reduction="sum").backward()
        tried = (tried + 0.03 * tried.grad.sign()).detach()
        tried = (images + (tried - images).clamp(-0.1, 0.1)).clamp(0, 1)
    assert torch.allclose(attacked, tried, atol=1e-6)


@pytest.mark.parametrize("inner", ["pgd_at", "trades(beta=2)"])
def test_weight_perturbation_is_the_gradient_at_the_moved_weights(inner: str) -> None:
    """The reference moves a copy of the model in place."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))
    images, attacked, labels = torch.rand(5, 1, 4, 4), torch.rand(5, 1, 4, 4), torch.tensor([0, 2, 1, 1, 0])
    reference = copy.deepcopy(model)
    plain = objectives.objective(inner)
    plain.compare(reference, images, attacked, labels).value.backward()
    before = [weight.detach().clone() for weight in reference.parameters()]
    for weight in reference.parameters():
        if weight.ndim > 1:
            weight.data += 0.1 * weight.data.norm() * weight.grad / weight.grad.norm()
    reference[1].load_state_dict(model[1].state_dict())
    reference.zero_grad()
    expected = plain.compare(reference, images, attacked, labels)
    expected.value.backward()

    found = objectives.objective(f"{inner} + awp(gamma=0.1)").compare(model, images, attacked, labels)
    found.value.backward()
    assert torch.allclose(found.value, expected.value)
    for weight, original, moved in zip(model.parameters(), before, reference.parameters(), strict=True):
        assert torch.equal(weight, original), "the model itself does not move"
        assert torch.allclose(weight.grad, moved.grad, atol=1e-5)
    assert torch.allclose(model[1].running_mean, reference[1].running_mean, atol=1e-6)
    assert model[1].num_batches_tracked == 1


class Tokens(nn.Module):
    """Parameters of two and more dimensions that no layer multiplies by."""

    def __init__(self) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.randn(1, 1, 4))
        self.pos_embed = nn.Parameter(torch.randn(1, 5, 4))
        self.relative_position_bias_table = nn.Parameter(torch.randn(1, 3))
        self.patches, self.attention = nn.Conv2d(1, 4, 2, 2), nn.MultiheadAttention(4, 1, batch_first=True)
        self.head = nn.Linear(4, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        patches = self.patches(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(len(images), -1, -1), patches], 1) + self.pos_embed
        return self.head(self.attention(x, x, x)[0][:, 0]) + self.relative_position_bias_table


def test_weight_perturbation_moves_weights_of_layers_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    moved: set[str] = set()
    original = awp.functional_call

    def noted(model: nn.Module, tensors: dict[str, torch.Tensor], arguments: tuple[torch.Tensor]) -> torch.Tensor:
        moved.update(tensors)
        return original(model, tensors, arguments)

    monkeypatch.setattr(awp, "functional_call", noted)
    perturbed = objectives.objective("pgd_at + awp(gamma=0.1)")
    perturbed.compare(Tokens(), torch.rand(2, 1, 4, 4), torch.rand(2, 1, 4, 4), torch.tensor([0, 2]))
    assert moved == {"patches.weight", "attention.in_proj_weight", "attention.out_proj.weight", "head.weight"}


def test_weight_perturbation_refuses_what_it_would_leave_where_it_is() -> None:
    perturbed, images = objectives.objective("pgd_at + awp"), torch.rand(2, 1, 4, 4)
    computed = nn.Sequential(nn.Flatten(), nn.utils.parametrizations.weight_norm(nn.Linear(16, 4)), nn.Linear(4, 3))
    with pytest.raises(
        UnsupportedModelError, match=r"the weight of 1 is computed from others \(weight or spectral norm\)"
    ):
        perturbed.compare(computed, images, images, torch.tensor([0, 2]))
    frozen = nn.Sequential(nn.Flatten(), nn.Linear(16, 3).requires_grad_(False))
    with pytest.raises(UnsupportedModelError, match="no linear layer or convolution has a weight that is trained"):
        perturbed.compare(frozen, images, images, torch.tensor([0, 2]))


def test_weight_perturbation_smooths_labels_as_the_objective_does_that_it_is_around() -> None:
    assert objectives.objective("pgd_at + awp", label_smoothing=0.1).label_smoothing == 0.1
    with pytest.raises(TypeError, match="label_smoothing"):
        objectives.WeightPerturbation(label_smoothing=0.1)


@pytest.mark.parametrize("name", [name for name in objectives.OBJECTIVES if name != "mart"])
def test_soft_labels_that_are_whole_give_what_whole_labels_give(name: str) -> None:
    model, images, labels = setting()
    attack = PGD(ThreatModel("linf", 0.1), steps=2)
    values = [
        objectives.objective(name)
        .loss(model, model, attack, images, given, generator=torch.Generator().manual_seed(0))
        .value
        for given in (labels, F.one_hot(labels, 3).float())
    ]
    assert torch.allclose(*values)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("trades(beat=6)", "unknown setting 'beat' of objective 'trades'; did you mean 'beta'"),
        ("trades(beta=six)", "beta=six is not a number"),
        ("trades(6)", "cannot be read"),
        ("trades(beta=-1)", "must be a number from 0 on"),
        ("trades(beta=nan)", r"trades\(beta=nan\): it must be a number from 0 on"),
        ("mart(beta=-1)", "must be a number from 0 on"),
        ("mart(beta=inf)", "must be a number from 0 on"),
        ("trades(beta=1, beta=2)", "beta is given twice; give it once"),
        ("mixture(clean=2)", r"must be in \[0, 1\]"),
        ("pgd_at + wap(gamma=1)", "did you mean 'awp'"),
        ("pgd_at + awp(gamma=-1)", "must be a number from 0 on"),
    ],
)
def test_specs_are_checked(spec: str, words: str) -> None:
    with pytest.raises(SmoothifyError, match=words):
        objectives.objective(spec)
