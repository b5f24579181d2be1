"""A search spends less than the plain loop and comes to the same verdicts."""

import json

import pytest
import torch

import smoothify
from smoothify.attacks import PGD, Attack, AutoAttackPart, Ensemble, SampleNoise, ThreatModel, attack, sample_keys
from smoothify.errors import ConfigError, UnsupportedModelError
from smoothify.evaluation import robust_accuracy, sanity
from smoothify.models import PixelClassifier
from tests.evaluation.conftest import EPSILON

LINF = ThreatModel("linf", EPSILON)


def plain(model, pgd: PGD, images, seed: int = 0) -> tuple[list[bool], list[bool], list[int]]:
    """The loop as everyone writes it: every image, every step; also whether each iterate was classified right."""
    clean, labels = images.batch(range(len(images)))
    noise, epsilon = SampleNoise(sample_keys(seed, 0, torch.tensor(images.indices))), pgd.threat.radius
    linf = pgd.threat.norm == "linf"
    start = noise.uniform(clean, -epsilon, epsilon) if linf else pgd.threat.ball.start(clean, epsilon, noise)
    tried = (clean + start).clamp(0, 1)
    wrong = []
    for _ in range(pgd.steps):
        tried = tried.detach().requires_grad_()
        logits = model(tried)
        wrong.append(logits.argmax(1) != labels)
        (gradient,) = torch.autograd.grad(torch.nn.functional.cross_entropy(logits, labels, reduction="sum"), tried)
        if linf:
            moved = (tried.detach() + pgd.step * gradient.sign() - clean).clamp(-epsilon, epsilon)
        else:
            moved = (
                tried.detach() + pgd.step * torch.nn.functional.normalize(gradient.flatten(1)).view_as(clean) - clean
            )
            moved = moved * (epsilon / moved.flatten(1).norm(dim=1).clamp_min(epsilon)).view(-1, 1, 1, 1)
        tried = (clean + moved).clamp(0, 1)
    wrong.append(model(tried).argmax(1) != labels)
    right = model(clean).argmax(1) == labels
    every = torch.stack(wrong)
    first = torch.where(every.any(0) & right, every.int().argmax(0), -1)
    return (right & ~every.any(0)).tolist(), (right & ~wrong[-1]).tolist(), first.tolist()


@pytest.mark.parametrize("threat", [LINF, ThreatModel("l2", 0.8)], ids=["linf", "l2"])
@pytest.mark.parametrize("share", [None, 1 / 4])
def test_verdicts_and_steps_are_the_plain_loops(trained, test_images, threat: ThreatModel, share: float | None) -> None:
    pgd = PGD(threat, steps=30, step_size=share and share * threat.radius)
    everywhere, at_the_end, first = plain(trained, pgd, test_images)
    searched = robust_accuracy(trained, test_images, pgd, batch_size=50)
    full = robust_accuracy(trained, test_images, pgd, full_protocol=True)
    assert 0.1 < searched.robust.value < searched.clean.value - 0.1
    assert list(searched.robust_correct) == everywhere
    assert list(full.robust_correct) == at_the_end
    assert list(searched.fell_at) == first
    assert not any(found and not last for found, last in zip(everywhere, at_the_end, strict=True))


def test_at_least_2_5_times_fewer_passes_than_the_plain_loop(trained, test_images) -> None:
    seen = 0

    def count(module, inputs, logits) -> None:
        nonlocal seen
        seen += len(logits)

    pgd = PGD(LINF, steps=200, step_size="1/255")
    handle = trained.register_forward_hook(count)
    result = robust_accuracy(trained, test_images, pgd)
    ours, seen = seen, 0
    everywhere, _, _ = plain(trained, pgd, test_images)
    handle.remove()
    assert list(result.robust_correct) == everywhere
    assert 0.3 < result.robust.value < 0.5
    assert ours * 2.5 <= seen, f"{seen} against {ours}"


def test_restarts_find_more_and_say_which(trained, test_images) -> None:
    once = robust_accuracy(trained, test_images, attack("pgd-3", LINF))
    often = robust_accuracy(trained, test_images, attack("pgd-3x4", LINF))
    assert often.robust.hits <= once.robust.hits
    assert {name for name in often.fell_to if name} <= {f"PGD-3, restart {number}" for number in range(1, 5)}
    first = [name == "PGD-3, restart 1" for name in often.fell_to]
    assert first == [bool(name) for name in once.fell_to], "the first restart is the attack without restarts"


def test_surrogate_gradients_reach_the_attack_only(test_images) -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 8), torch.nn.ReLU(), torch.nn.Linear(8, 10))
    test_images = type(test_images)(test_images.source, input_size=(1, 28, 28), indices=range(100))
    test_images.labels = model(test_images.batch(range(100))[0]).argmax(1)
    small = PGD(ThreatModel("linf", 0.005), steps=2)
    own, other = (robust_accuracy(model, test_images, small, surrogate=spec) for spec in (None, "parametric_softplus"))
    assert own.clean_correct == other.clean_correct
    assert other.surrogate == "parametric_softplus"
    assert own.fell_at != other.fell_at


def test_a_surrogate_for_a_model_without_a_relu_is_refused(trained, test_images) -> None:
    """It would change nothing, and the result would say "through" it."""
    smooth = smoothify.convert(trained.model, to="silu", strict=False)
    classifier = PixelClassifier(smooth, mean=trained.mean.flatten().tolist(), std=trained.std.flatten().tolist())
    for measure in (robust_accuracy, sanity):
        with pytest.raises(UnsupportedModelError, match="runs no ReLU; leave it out"):
            measure(classifier, test_images, PGD(LINF), surrogate="parametric_softplus")


def test_an_interrupted_evaluation_goes_on(trained, test_images, tmp_path) -> None:
    """Kill it in the third batch; what was finished is not attacked again, and the verdicts are the same."""
    pgd, whole = PGD(LINF, steps=5), robust_accuracy(trained, test_images, PGD(LINF, steps=5), batch_size=30)
    done: list[int] = []
    seen: list[int] = []
    handle = trained.register_forward_hook(lambda module, inputs, logits: seen.append(len(logits)))

    def interrupt(images: int) -> None:
        done.append(images)
        if len(done) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        robust_accuracy(trained, test_images, pgd, batch_size=30, state=tmp_path, advance=interrupt)
    (file,) = tmp_path.iterdir()
    assert sorted(json.loads(file.read_text())) == ["0", "1"]
    seen.clear()  # a hook may change what the model answers, and so belongs to it
    resumed = robust_accuracy(trained, test_images, pgd, batch_size=30, state=tmp_path)
    handle.remove()
    assert resumed == whole
    assert sum(size == 30 for size in seen) == 2, "clean passes of the two batches that were left"
    with torch.no_grad():
        trained.model[2].bias[0] += 1e-3
    other = robust_accuracy(trained, test_images, pgd, batch_size=30, state=tmp_path)
    with torch.no_grad():
        trained.model[2].bias[0] -= 1e-3
    assert len(list(tmp_path.iterdir())) == 2, "another model's batches are not taken"
    assert other.clean_correct


def test_an_attack_is_not_believed(trained, test_images) -> None:
    class Liar(Attack):
        def run(self, model, images, labels, generator):
            return images

        def find(self, model, images, labels, *, generator=None, full=False):
            found = super().find(model, images, labels, generator=generator)
            return type(found)(found.images, torch.ones_like(found.fell), found.step, found.attack)

    result = robust_accuracy(trained, test_images, Liar(LINF))
    assert result.robust_correct == result.clean_correct


def test_an_ensemble_has_one_threat_model() -> None:
    with pytest.raises(ConfigError, match="at least one"):
        Ensemble(LINF, "empty")
    with pytest.raises(ConfigError, match="not within"):
        Ensemble(LINF, "mixed", (AutoAttackPart(ThreatModel("l2", 1.0)),))
