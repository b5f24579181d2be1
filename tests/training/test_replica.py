"""The attack's lighter copy of the model: what it computes, what it folds, and that it follows."""

import copy

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import smoothify
from smoothify.attacks import PGD, inference_mode_of
from smoothify.errors import ConfigError
from smoothify.models import PixelClassifier
from smoothify.training.steps.attacked import Autocast, Frozen, attacked_model, describe, fastest
from smoothify.training.steps.replica import Replica, find_pairs

# name, constructor arguments, image size, batch norms that fold of how many; one small member of families that differ
HOSTS = [
    ("resnet18", {"channels": (8, 16, 16, 16)}, 32, "21/21"),
    ("test_efficientnet", {}, 32, "13/13"),
    ("test_vit", {"img_size": 32}, 32, "0/0"),
    ("test_convnext", {}, 32, "0/0"),
    ("mobilenetv3_small_050", {}, 32, "34/34"),
    ("densenet121", {"block_config": (1, 1, 1, 1), "growth_rate": 8}, 32, "5/13"),
    ("mobileone_s0", {}, 32, "191/226"),
]


def classifier_of(name: str, activation: str | None = None, **arguments: object) -> PixelClassifier:
    """Build a host whose batch statistics and affine parameters are not those of a new one."""
    torch.manual_seed(0)
    host = timm.create_model(name, num_classes=5, **arguments)
    if activation is not None:
        smoothify.convert_(host, to=activation, strict=False)
    for module in host.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.7, 1.3)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.1)
    return PixelClassifier.from_host(host)


def gradient(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    images = images.clone().requires_grad_()
    return torch.autograd.grad(F.cross_entropy(model(images), labels), images)[0]


@pytest.mark.parametrize(
    ("name", "arguments", "size", "folded"), HOSTS, ids=lambda value: value if isinstance(value, str) else ""
)
def test_it_computes_what_the_classifier_computes(name: str, arguments: dict, size: int, folded: str) -> None:
    classifier, images = classifier_of(name, "silu", **arguments).eval(), torch.rand(4, 3, size, size)
    replica = Replica(classifier, images)
    assert f"{replica.folded}/{replica.batch_norms}" == folded
    expected, labels = classifier(images), torch.arange(4)
    assert (replica(images) - expected).abs().max() < 0.05 * expected.abs().max()
    exact, light = gradient(classifier, images, labels), gradient(replica, images, labels)
    agreement = ((exact.sign() == light.sign()) * exact.abs()).sum() / exact.abs().sum()
    assert agreement > 0.95
    same_digits = Replica(classifier, images, dtype=torch.float32)
    assert same_digits.folded == replica.folded
    torch.testing.assert_close(same_digits(images), expected, rtol=1e-4, atol=1e-4)
    twin = gradient(same_digits, images, labels)
    assert ((exact.sign() == twin.sign()) * exact.abs()).sum() > 0.999 * exact.abs().sum()


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("test_byobnet", {}),  # its activations stand inside its batch norms
        ("densenet121", {"block_config": (1, 1), "growth_rate": 8}),  # half of its batch norms cannot be folded
    ],
)
def test_it_follows_weights_statistics_and_learned_activations(name: str, arguments: dict) -> None:
    classifier, images = classifier_of(name, "smoothrelu", **arguments), torch.rand(8, 3, 32, 32)
    replica = Replica(classifier, images)
    learned = [parameter for name, parameter in classifier.named_parameters() if "act" in name or "relu" in name]
    assert learned
    before = replica(images)
    with torch.no_grad():
        for tensor in (*classifier.parameters(), *classifier.buffers()):
            if tensor.is_floating_point() and tensor.ndim < 4:
                tensor.mul_(1 + 0.5 * torch.rand(()))
    assert torch.equal(replica(images), before)
    replica.refresh()
    expected = classifier.eval()(images)
    assert (replica(images) - expected).abs().max() < 0.02 * (before - expected).abs().max()
    assert not any(parameter.requires_grad for parameter in replica.parameters()), "an attack must not reach them"


class Awkward(nn.Module):
    """What must not be folded: an output read twice, a convolution and a norm used twice, something in between."""

    def __init__(self) -> None:
        super().__init__()
        self.read_twice, self.used_twice, self.apart, self.plain = (nn.Conv2d(3, 3, 1) for _ in range(4))
        self.norms = nn.ModuleList(nn.BatchNorm2d(3) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        y = self.read_twice(x)
        y = self.norms[0](y) + y
        y = self.norms[1](self.used_twice(self.norms[1](self.used_twice(y))))
        y = self.norms[2](self.apart(y).tanh())
        return self.norms[3](self.plain(y)).mean((2, 3))


def test_only_what_may_be_folded_is() -> None:
    host = Awkward().train()
    pairs = find_pairs(host, torch.rand(1, 3, 4, 4))
    assert [(pair.convolution, pair.norm) for pair in pairs] == [(host.plain, host.norms[3])]
    assert all(module.training for module in host.modules())
    assert all(int(norm.num_batches_tracked) == 0 for norm in host.norms)


class PeeksAtNorm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x)).mean((2, 3)) * self.norm.weight


class MixesPrecisions(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(12, 8), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.first(x.flatten(1)) + torch.ones(8))


class NeedsFloat32(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype != torch.float32:
            raise RuntimeError("expected float32")
        return self.last(x.flatten(1))


def test_hosts_that_resist() -> None:
    images = torch.rand(2, 3, 4, 4)
    peeking = PixelClassifier(PeeksAtNorm(), mean=(0.5,) * 3, std=(0.2,) * 3).eval()
    replica = Replica(peeking, images)
    assert replica.folded == 0
    torch.testing.assert_close(replica(images), peeking(images), atol=0.02, rtol=0.02)
    mixing = PixelClassifier(MixesPrecisions(), mean=(0.5,) * 3, std=(0.2,) * 3).eval()
    replica = Replica(mixing, images[:, :, :2, :2])
    assert replica.autocast
    torch.testing.assert_close(replica(images[:, :, :2, :2]), mixing(images[:, :, :2, :2]), atol=0.05, rtol=0.02)
    stubborn = PixelClassifier(NeedsFloat32(), mean=(0.5,) * 3, std=(0.2,) * 3).eval()
    with pytest.raises(ConfigError, match="precision=replica: NeedsFloat32 does not compute in bfloat16; choose"):
        attacked_model("replica", stubborn, stubborn, images[:, :, :2, :2], compiled=False)


def test_auto_says_that_a_model_has_no_replica(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    stubborn = PixelClassifier(NeedsFloat32(), mean=(0.5,) * 3, std=(0.2,) * 3).eval()
    notes: list[str] = []
    images = torch.rand(2, 3, 2, 2)
    assert attacked_model("auto", stubborn, stubborn, images, compiled=False, note=notes.append) is stubborn
    (told,) = notes
    assert "the model itself" in told and "NeedsFloat32 does not compute in bfloat16" in told
    attacked_model("same", stubborn, stubborn, images, compiled=False, note=notes.append)
    assert len(notes) == 1, "nothing to say where it was asked for"


def test_choices() -> None:
    classifier, images = classifier_of("resnet18", channels=(8, 8, 8, 8)).eval(), torch.rand(2, 3, 32, 32)
    same = attacked_model("same", classifier, classifier, images, compiled=False)
    assert same is classifier and describe(same) is None
    replica = attacked_model("replica", classifier, classifier, images, compiled=False)
    told = describe(replica)
    assert told is not None and "bfloat16 replica of the model, 21 of 21 batch norms folded; it adds 0." in told
    folded = attacked_model("folded", classifier, classifier, images, compiled=False)
    told = describe(folded)
    assert told is not None and "float32 replica of the model, 21 of 21 batch norms folded" in told
    autocast = attacked_model("autocast", classifier, classifier, images, compiled=False)
    assert isinstance(autocast, Autocast) and autocast(images).dtype == torch.float32
    frozen = Frozen(classifier)
    assert torch.equal(frozen(images), classifier(images))
    frozen(images.requires_grad_()).sum().backward()
    assert all(parameter.grad is None for parameter in classifier.parameters())


def test_the_fastest(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    assert fastest(cpu) == fastest(cpu, mixed=True) == "replica"
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: False)
    assert (fastest(cpu), fastest(cpu, mixed=True)) == ("folded", "same")
    images = torch.rand(2, 3, 32, 32)
    with_norms = classifier_of("resnet18", channels=(8, 8, 8, 8)).eval()
    chosen = attacked_model("auto", with_norms, with_norms, images, compiled=False)
    assert isinstance(chosen, Replica) and chosen.dtype == torch.float32
    without = classifier_of("test_vit", img_size=32).eval()
    assert attacked_model("auto", without, without, images, compiled=False) is without, (
        "nothing to fold, nothing gained"
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_signs_stay_finite_in_half_precision(dtype: torch.dtype) -> None:
    """A confident model's gradients are tiny: unscaled they flush to zero in float16."""
    classifier, images = classifier_of("resnet18", channels=(8, 8, 8, 8)).eval(), torch.rand(8, 3, 32, 32)
    labels = classifier(images).argmax(1)
    with torch.autocast("cpu", dtype):
        moved = PGD(random_start=False)(classifier, images, labels) - images
    assert torch.isfinite(moved).all()
    inside = (images > 0.1) & (images < 0.9)
    assert (moved[inside] != 0).float().mean() > 0.98


def test_biases_that_a_host_caches_in_eval_mode_are_followed() -> None:
    """LeViT and four more families of timm compute position biases once in eval mode and keep them until `train()`."""
    host = timm.create_model("levit_128s", num_classes=5, img_size=64)
    classifier, images = PixelClassifier.from_host(host).train(), torch.rand(2, 3, 64, 64)
    replica = Replica(classifier, images)
    with inference_mode_of(classifier), torch.no_grad():
        before = classifier(images)
    with torch.no_grad():
        for name, parameter in classifier.named_parameters():
            parameter.add_(5 * torch.randn_like(parameter) if "attention_biases" in name else 0)
            parameter.fill_(1.0) if name.endswith("bn.weight") else None  # the last of each block starts at 0
    replica.refresh()
    with inference_mode_of(classifier), torch.no_grad():
        now = classifier(images)
    fresh = copy.deepcopy(classifier).train().eval()
    with torch.no_grad():
        expected = fresh(images)
        assert torch.equal(now, expected)
        assert (replica(images) - expected).abs().max() < 0.05 * expected.abs().max()
    assert not torch.allclose(now, before)
    assert classifier.training
    assert all(not module.training for module in replica.host.modules())


def test_a_norm_without_running_statistics_is_not_folded() -> None:
    host = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4, track_running_stats=False), nn.ReLU(), nn.Flatten())
    host = nn.Sequential(*host, nn.Linear(4 * 6 * 6, 5))
    classifier, images = PixelClassifier(host, mean=(0.5,), std=(0.5,)), torch.rand(4, 1, 8, 8)
    replica = attacked_model("folded", classifier, classifier, images, compiled=False)
    assert replica.folded == 0
    torch.testing.assert_close(replica(images), classifier.eval()(images))
