"""AutoAttack through pyautoattack: the library's own verdicts, and none of its traps."""

import logging
import sys
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from smoothify.attacks import (
    PGD,
    AutoAttack,
    AutoAttackPart,
    Ensemble,
    Randomness,
    SampleNoise,
    ThreatModel,
    attack,
    restarts,
    sample_keys,
)
from smoothify.attacks.autoattack import Part
from smoothify.attacks.noise import seed_of
from smoothify.errors import ConfigError, DataError, UnknownNameError, UnsupportedModelError

pytest.importorskip("pyautoattack", reason="the extra 'autoattack' is not installed")
PARTS = ("apgd-ce", "apgd-dlr", "apgd-t", "fab-t", "square")
NORMS = [("linf", 0.05), ("l2", 0.5)]


def network(classes: int) -> nn.Module:
    torch.manual_seed(1)
    layers = (nn.Conv2d(3, 6, 3), nn.SiLU(), nn.Flatten(), nn.Linear(216, classes))
    return nn.Sequential(*layers).eval()


def right(model: nn.Module, count: int = 24) -> tuple[torch.Tensor, torch.Tensor]:
    images = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return images, model(images).argmax(1)


def noise(count: int = 24) -> SampleNoise:
    return SampleNoise(sample_keys(0, 0, torch.arange(count)))


@pytest.mark.parametrize(("norm", "epsilon"), NORMS)
@pytest.mark.parametrize("part", PARTS)
def test_each_part_finds_what_it_says(part: str, norm: str, epsilon: float) -> None:
    model = network(10)
    images, labels = right(model)
    threat = ThreatModel(norm, epsilon)
    found = attack(f"{part}-{60 if part == 'square' else 8}", threat).find(model, images, labels, generator=noise())
    assert found.fell.any()
    assert torch.equal(model(found.images).argmax(1) != labels, found.fell)
    assert (threat.ball.size(found.images - images) <= epsilon + 1e-6).all()
    assert ((found.step >= 0) == found.fell).all() if part != "fab-t" else (found.step == -1).all()


def test_the_step_is_the_one_at_which_it_fell() -> None:
    """The same attack with one step fewer must leave the image standing, with as many it must not."""
    model = network(10)
    images, labels = right(model)
    for steps in (1, 3, 8):
        # APGD's schedule depends on its number of steps until the first checkpoint, so compare queries of Square
        short = attack(f"square-{steps}", ThreatModel("linf", 0.05)).find(model, images, labels, generator=noise())
        long = attack("square-20", ThreatModel("linf", 0.05)).find(model, images, labels, generator=noise())
        assert torch.equal(short.fell, long.fell & (long.step <= steps))


@pytest.mark.parametrize("name", [*PARTS, "autoattack"])
def test_probabilities_are_refused(name: str) -> None:
    images, labels = right(network(10), 4)
    for adversary in (attack(name, ThreatModel()), restarts(attack(name, ThreatModel()), 2)):
        with pytest.raises(DataError, match=r"labels \(4, 10\): .* takes \(batch,\), whole numbers"):
            adversary(network(10), images, torch.nn.functional.one_hot(labels, 10).float())


@pytest.mark.parametrize("name", [*PARTS, "autoattack"])
def test_an_image_that_stands_comes_back_as_it_was(name: str) -> None:
    """That is what the library does; PGD gives back what it tried last, and an ensemble what its last member does."""
    model = network(10)
    images, labels = right(model, 4)
    adversary = attack(name if name == "autoattack" else f"{name}-2", ThreatModel("linf", 1e-7))
    small = adversary.members(10).members[0] if name == "autoattack" else adversary
    assert torch.equal(small.find(model, images, labels, generator=noise(4)).images, images)
    assert not adversary.keeps_attempts and not restarts(small, 2).keeps_attempts
    assert PGD().keeps_attempts and restarts(PGD(), 2).keeps_attempts


class Queried(nn.Module):
    """Remembers what it was asked."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.asked = model, []

    def forward(self, images: Tensor) -> Tensor:
        self.asked.append(images.detach().clone())
        return self.model(images)


@pytest.mark.parametrize("part", ["apgd-ce", "square"])
@pytest.mark.parametrize("source", [noise(4), torch.Generator().manual_seed(0)], ids=["by image", "generator"])
def test_restarts_start_elsewhere(part: Part, source: Randomness) -> None:
    """The library seeds itself for each run; within a radius at which nothing falls, all runs see the same images."""
    model = Queried(network(10))
    images, labels = right(model.model, 4)
    model.asked.clear()
    threat = ThreatModel("linf", 1e-4)
    first = AutoAttackPart(threat, part, 3)
    nested = Ensemble(threat, "one", (first,))
    for twice in (restarts(first, 2), restarts(nested, 2)):
        model.asked.clear()
        assert not twice.find(model, images, labels, generator=source).fell.any()
        half = len(model.asked) // 2
        first_run, second_run = torch.cat(model.asked[:half]), torch.cat(model.asked[half:])
        assert first_run.shape == second_run.shape and not torch.equal(first_run, second_run)


def test_restarts_of_autoattack_have_seeds_of_their_own(monkeypatch) -> None:
    """The first run's are those of AutoAttack alone."""
    seeds: list[int] = []
    built = AutoAttackPart._runner

    def runner(part: AutoAttackPart, watch: nn.Module, classes: int, seed: int, device: torch.device) -> object:
        seeds.append(seed)
        return built(replace(part, steps=2), watch, classes, seed, device)

    monkeypatch.setattr(AutoAttackPart, "_runner", runner)
    model = network(10)
    source = torch.Generator().manual_seed(7)
    for adversary in (whole := AutoAttack(ThreatModel("linf", 1e-6)), restarts(whole, 3)):
        adversary.find(model, *right(model, 4), generator=source)
    assert seeds == 4 * [7] + 4 * [7] + 4 * [8] + 4 * [9]


@pytest.mark.parametrize(
    ("height", "width", "fits"),
    [(4, 4, False), (5, 5, True), (8, 8, True), (12, 12, False), (24, 24, False), (28, 28, True), (32, 32, True),
     (12, 8, False), (10, 8, True), (16, 10, True), (32, 36, False), (24, 3, True)],
)  # fmt: skip
def test_square_under_l2_says_first_which_images_it_does_not_take(height: int, width: int, fits: bool) -> None:
    """Which they are is what a run of the library over all sizes to 40x40 fails on."""
    images = torch.rand(2, 1, height, width, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    model = Queried(nn.Sequential(nn.Flatten(), nn.Linear(height * width, 4)).eval())
    labels = model(images).argmax(1)
    for norm in ("linf", "l2"):
        threat = ThreatModel(norm, 1e-4)
        part = attack("square-3", threat)
        for adversary in (part, restarts(Ensemble(threat, "two", (PGD(threat), part)), 2)):
            model.asked.clear()
            if fits or norm == "linf":
                assert adversary(model, images, labels).shape == images.shape
            else:
                told = rf"Square-3 under L2 does not take images of shape \(1, {height}, {width}\): .* leave Square out"
                with pytest.raises(ConfigError, match=told):
                    adversary(model, images, labels)
                assert len(model.asked) <= 1, "no member has run yet"
        assert whole_fits(threat, images) == (fits or norm == "linf")


def whole_fits(threat: ThreatModel, images: Tensor) -> bool:
    try:
        AutoAttack(threat).require_shape(images.shape[1:])
    except ConfigError:
        return False
    return True


@pytest.mark.parametrize(("norm", "epsilon"), NORMS)
def test_standard_autoattack_is_the_librarys_to_the_image(norm: str, epsilon: float, monkeypatch) -> None:
    from pyautoattack import AutoAttack as TheirAutoAttack

    model = network(10)
    images, labels = right(model)
    found = AutoAttack(ThreatModel(norm, epsilon)).members(10)
    monkeypatch.setattr(logging.getLogger("auto-attack"), "disabled", True)
    theirs = TheirAutoAttack(model, norm=norm.capitalize(), eps=epsilon, version="standard", seed=seed_of(noise()))
    theirs.fab.n_iter = 10
    theirs.square.n_queries = 50
    theirs.apgd.n_iter = theirs.apgd_targeted.n_iter = 100
    ours = type(found)(
        found.threat,
        found.name,
        (
            *found.members[:2],
            *(AutoAttackPart(found.threat, part, steps) for part, steps in (("fab-t", 10), ("square", 50))),
        ),
    )
    # one seed for the whole batch, whichever images are left, is the library's protocol
    verdicts = ours.find(model, images, labels, generator=torch.Generator().manual_seed(seed_of(noise())))
    attacked, _ = theirs.run_standard_evaluation(images, labels, batch_size=24)
    assert torch.equal(verdicts.fell, model(attacked).argmax(1) != labels)
    assert verdicts.fell.any()
    assert not verdicts.fell.all()


@pytest.mark.parametrize("classes", [2, 3, 4, 5])
def test_few_classes(classes: int) -> None:
    model = network(classes)
    images, labels = right(model, 6)
    threat = ThreatModel("linf", 0.02)
    members = AutoAttack(threat).members(classes).members
    assert [member.part for member in members] == {
        2: ["apgd-ce", "fab-t", "square"],
        3: ["apgd-ce", "apgd-dlr", "fab-t", "square"],
    }.get(classes, ["apgd-ce", "apgd-t", "fab-t", "square"])
    for member in members:
        short = AutoAttackPart(threat, member.part, 5)
        assert short.find(model, images, labels, generator=noise(6)).images.shape == images.shape
    if classes == 2:
        with pytest.raises(ConfigError, match="needs 3 classes, the model has 2"):
            attack("apgd-dlr", threat)(model, images, labels)


@pytest.mark.parametrize("part", PARTS)
def test_channels_last(part: str) -> None:
    model = network(10).to(memory_format=torch.channels_last)
    images, labels = right(model, 6)
    images = images.contiguous(memory_format=torch.channels_last)
    attack(f"{part}-5", ThreatModel("linf", 0.05))(model, images, labels, generator=noise(6))


def test_it_leaves_no_trace(capsys, caplog) -> None:
    def tracer(frame, event, argument):
        return None

    model = network(10)
    images, labels = right(model, 6)
    before, old = torch.random.get_rng_state(), sys.gettrace()
    sys.settrace(tracer)
    try:
        for part in PARTS:
            attack(f"{part}-3", ThreatModel("linf", 0.05))(model, images, labels, generator=noise(6))
        assert sys.gettrace() is tracer
    finally:
        sys.settrace(old)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
    assert capsys.readouterr() == ("", "")
    assert not caplog.records


def test_bad_input() -> None:
    model = network(10)
    images, labels = right(model, 6)
    with pytest.raises(DataError, match=r"give them in \[0, 1\], not normalised"):
        attack("apgd-ce", ThreatModel())(model, images * 2, labels)
    with pytest.raises(ConfigError, match="chooses its own"):
        attack("autoattack", ThreatModel(), step_size=0.1)
    with pytest.raises(UnknownNameError, match="'apgd-ce'"):
        attack("apgd-cd", ThreatModel())


@pytest.mark.parametrize("part", ["apgd-ce", "apgd-t", "fab-t"])
def test_a_model_without_gradients_is_refused(part: str) -> None:
    """Square needs none; the others would stop inside the library with an error that says nothing of the model."""

    class CutOff(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            with torch.no_grad():
                return network(10)(images)

    images, labels = right(CutOff(), 6)
    with pytest.raises(UnsupportedModelError, match="no gradient with respect to the images"):
        attack(f"{part}-3", ThreatModel("linf", 0.05))(CutOff(), images, labels, generator=noise(6))
    attack("square-3", ThreatModel("linf", 0.05))(CutOff(), images, labels, generator=noise(6))


def test_without_the_library_it_says_what_to_install(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "pyautoattack.autopgd_base", None)
    model = network(10)
    with pytest.raises(ConfigError, match=r"APGD-CE needs pyautoattack; pip install pyautoattack"):
        attack("autoattack", ThreatModel("linf", 0.05))(model, *right(model, 6), generator=noise(6))
