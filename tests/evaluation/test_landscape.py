"""Landscapes against a model whose loss is known everywhere, and the pictures against what they must show."""

import io

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from smoothify.attacks import PGD, ThreatModel
from smoothify.errors import ConfigError, DataError, UnknownNameError
from smoothify.evaluation import Share, landscape
from smoothify.evaluation.plots import landscapes, robustness

LINF = PGD(ThreatModel("linf", 0.1), steps=5)


def linear() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 4))


def grey() -> torch.Tensor:
    return torch.full((1, 8, 8), 0.5)


def test_the_middle_is_the_image_and_the_first_direction_is_the_attacks() -> None:
    model, image = linear(), grey()
    around = landscape(model, image, 2, LINF, points=5, seed=3)
    label = torch.tensor([2])
    assert torch.isclose(around.loss[2, 2], F.cross_entropy(model(image[None]), label))
    attacked = LINF(model, image[None], label, generator=torch.Generator().manual_seed(3))
    assert torch.isclose(around.loss[4, 2], F.cross_entropy(model(attacked), label))
    assert around.loss[4, 2] == around.loss[:, 2].max()
    wrong = model(attacked).argmax(1) != 2
    assert bool(around.wrong[4, 2]) == bool(wrong)


def test_what_no_landscape_is_around() -> None:
    with pytest.raises(DataError, match="label 9 is outside the model's 4 classes"):
        landscape(linear(), grey(), 9, LINF)
    with pytest.raises(UnknownNameError, match="unknown second 'Random'; did you mean 'random'"):
        landscape(linear(), grey(), 1, LINF, second="Random")
    with pytest.raises(ConfigError, match="within Linf, epsilon 0 it cannot move: give an epsilon above 0"):
        landscape(linear(), grey(), 1, PGD(ThreatModel("linf", 0.0), steps=2))


@pytest.mark.parametrize("second", ["random", "adversarial"])
@pytest.mark.parametrize("threat", [ThreatModel("linf", 0.1), ThreatModel("l2", 0.5)], ids=["linf", "l2"])
def test_directions_are_one_epsilon_long_and_at_right_angles(threat: ThreatModel, second: str) -> None:
    """A model that answers with its input as logits tells where the plane went."""
    seen: list[torch.Tensor] = []

    class Watching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.Tanh(), nn.Linear(16, 4))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            if not torch.is_grad_enabled():
                seen.append(images)
            return self.layer(images)

    torch.manual_seed(0)
    landscape(Watching(), grey(), 1, PGD(threat, steps=3), second=second, points=3)
    plane = seen[-1].view(3, 3, -1) - 0.5
    first, across = plane[2, 1], plane[1, 2]
    assert torch.allclose(plane[1, 1], torch.zeros(64))
    sizes = threat.ball.size(torch.stack([first, across]).view(2, 1, 8, 8))
    assert torch.allclose(sizes, torch.tensor(threat.radius), rtol=1e-4)
    assert abs(float(F.cosine_similarity(first, across, dim=0))) < 1e-3


def test_same_seed_same_landscape_and_the_mode_is_left() -> None:
    model = linear().train()
    first, again = (landscape(model, grey(), 0, LINF, second="random", points=3) for _ in range(2))
    assert torch.equal(first.loss, again.loss)
    assert model.training


@pytest.mark.parametrize("points", [1, 4])
def test_a_grid_without_the_image_is_refused(points: int) -> None:
    with pytest.raises(ConfigError, match=f"points={points}: an odd number"):
        landscape(linear(), grey(), 0, LINF, points=points)


def test_one_direction_twice_is_refused() -> None:
    still = PGD(ThreatModel("linf", 0.1), steps=5, random_start=False)
    with pytest.raises(ConfigError, match="no direction of its own"):
        landscape(linear(), grey(), 0, still, second="adversarial", points=3)


def colours(png: bytes) -> set[tuple[int, int, int]]:
    with Image.open(io.BytesIO(png)) as picture:
        return {colour for _, colour in picture.convert("RGB").getcolors(1 << 24)}


def test_landscapes_share_one_scale() -> None:
    """Flat and low beside steep: only the steep one may reach the top colour of the map."""
    steep = landscape(linear(), grey(), 0, LINF, points=5)
    flat = type(steep)(torch.zeros(5, 5), steep.wrong, steep.offsets, "random", steep.attack)
    yellow = {c for c in colours(landscapes({"flat": flat, "steep": steep})) if c[0] > 200 and c[2] < 90 and c[1] > 180}
    assert yellow
    only_flat = colours(landscapes({"flat": flat}))
    assert not {c for c in only_flat if c[0] > 200 and c[2] < 90 and c[1] > 180}


@pytest.mark.parametrize("against", ["steps", "epsilon"])
def test_robustness_draws_every_curve(against: str) -> None:
    at = [1, 5, 50] if against == "steps" else [4 / 255, 8 / 255, 16 / 255]
    curves = {
        "one": [(x, Share(70 - 20 * n, 100)) for n, x in enumerate(at)],
        "two": [(x, Share(50, 100)) for x in at],
    }
    blue, orange = (0, 114, 178), (213, 94, 0)
    assert {blue, orange} <= colours(robustness(curves, against=against, chance=0.1))
    assert orange not in colours(robustness({"one": curves["one"]}, against=against, chance=0.1))
