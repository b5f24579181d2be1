"""Images found on one model and judged by another: what is attacked, what is judged, what it is called."""

import copy
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

import smoothify
from smoothify import evaluate
from smoothify.attacks import PGD, Attack, Ensemble, SampleNoise, ThreatModel, attack, restarts, sample_keys
from smoothify.errors import ConfigError, UnsupportedModelError
from smoothify.evaluation import CheckResult, Sanity, card_results, leaderboard_entry, robust_accuracy
from smoothify.evaluation.setting import called
from smoothify.hub import read_evaluation
from tests.evaluation.conftest import EPSILON

THREAT = ThreatModel("linf", EPSILON)
MODELS = Path(__file__).parents[2] / "zoo" / "fashion_mnist" / "models"


@pytest.fixture(scope="module")
def twin(trained) -> nn.Module:
    """A model like the measured one, and wrong on some images that it classifies right."""
    other = copy.deepcopy(trained)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    return other


@pytest.mark.parametrize("count", [1, 3])
def test_it_is_the_plain_loop_on_the_source(trained, twin, test_images, count: int) -> None:
    pgd = PGD(THREAT, steps=5)
    pixels, labels = test_images.batch(range(len(test_images)))
    right = trained(pixels).argmax(1) == labels
    assert (twin(pixels).argmax(1)[right] != labels[right]).any(), "what fools the source at once is attacked, too"
    standing = right.nonzero().flatten()
    noise = SampleNoise(sample_keys(0, 0, standing))
    for _ in range(count):
        fell = trained(pgd(twin, pixels[standing], labels[standing], generator=noise)).argmax(1) != labels[standing]
        noise, standing = noise.of((~fell).nonzero().flatten()), standing[~fell]
    measured = robust_accuracy(trained, test_images, restarts(pgd, count), batch_size=50, through=twin.train())
    assert [position for position, robust in enumerate(measured.robust_correct) if robust] == standing.tolist()
    assert all(module.training for module in twin.modules()), "the source is left in the mode that it was in"
    assert robust_accuracy(trained, test_images, pgd).robust.value < measured.robust.value < measured.clean.value
    assert set(measured.fell_to) <= {"", *restarts(pgd, count).names} and set(measured.fell_at) == {-1}


def test_a_restarted_ensemble_is_taken_apart(trained, twin, test_images) -> None:
    """As a whole each run would stop at the images that fool the source, which may not fool the measured model."""
    members = (PGD(THREAT, steps=3), PGD(THREAT, steps=5, random_start=False))
    both = Ensemble(THREAT, "both", members)
    twice, plain = (
        robust_accuracy(trained, test_images, adversary, through=twin)
        for adversary in (restarts(both, 2), Ensemble(THREAT, "four", members * 2))
    )
    assert twice.robust_correct == plain.robust_correct
    assert {"", "both, restart 1"} <= set(twice.fell_to) <= {"", *restarts(both, 2).names}


def test_it_is_never_called_a_white_box_number(trained, twin, test_images) -> None:
    own, other = (
        robust_accuracy(trained, test_images, PGD(THREAT, steps=5), through=source, through_name="relu/best")
        for source in (None, twin)
    )
    name = f"pgd-5, transferred from relu/best, last step only (linf, epsilon {EPSILON})"
    assert own.protocol == "PGD-5, step 0.03" and own.through is None
    assert other.protocol == "PGD-5, step 0.03, transferred from relu/best, last step only"
    assert "transferred from relu/best" in str(other)
    assert card_results([own, other])[2].name == f"robust accuracy under {name}"
    assert read_evaluation(json.loads(json.dumps(other.to_dict()))).results[1].name == f"robust accuracy under {name}"
    with pytest.raises(ConfigError, match="the images were found on relu/best, not on the model"):
        paper = dict.fromkeys(("name", "authors", "link", "venue", "architecture"), "")
        leaderboard_entry(replace(other, norm="linf"), dataset="cifar10", additional_data=False, **paper)
    found = CheckResult("multi-step", "fail", "found more", about="attack")
    checked = Sanity("PGD-5", 20, (found,), known_by=own.known_by)
    assert (
        other.known_by == own.known_by and checked.attached_to(own).caveats and not checked.attached_to(other).caveats
    )


def test_an_interrupted_transfer_goes_on_with_the_same_source_only(trained, twin, test_images, tmp_path) -> None:
    def measure(source: nn.Module | None) -> tuple[tuple[bool, ...], list[int]]:
        passes: list[int] = []
        handle = trained.register_forward_hook(lambda module, inputs, logits: passes.append(len(logits)))
        found = robust_accuracy(trained, test_images, PGD(THREAT, steps=2), state=tmp_path, through=source)
        handle.remove()
        return found.robust_correct, [size for size in passes if size > 1]

    first, attacked = measure(twin)
    again, nothing = measure(twin)
    assert first == again and attacked and not nothing
    other = copy.deepcopy(twin)
    with torch.no_grad():
        other.model[2].bias[0] += 1
    for source in (other, None):
        assert measure(source)[1], "another source's verdicts are not taken"


class KeepsNothing(PGD):
    keeps_attempts = False


MIXED = Ensemble(THREAT, "mixed", (KeepsNothing(THREAT), PGD(THREAT)))


@pytest.mark.parametrize(
    ("change", "adversary", "options", "message"),
    [
        (lambda model: model, PGD(THREAT), {}, "through: it is the measured model itself; leave it out"),
        (copy.deepcopy, PGD(THREAT), {}, "through: it has the measured model's own weights; give another model"),
        (copy.deepcopy, PGD(THREAT), {"through_name": " "}, "through_name=' ': .* give it a name"),
        (copy.deepcopy, PGD(THREAT), {"surrogate": "silu"}, "surrogate=silu and through: .*; leave one out"),
        (copy.deepcopy, attack("autoattack", THREAT), {}, "AutoAttack through another model: .*; use pgd-K"),
        (copy.deepcopy, attack("apgd-ce", THREAT), {}, "APGD-CE gives back clean images where it does not succeed"),
        (copy.deepcopy, restarts(KeepsNothing(THREAT), 2), {}, "PGD-1, restart 1 gives back clean images"),
        (copy.deepcopy, restarts(MIXED, 2), {}, "PGD-1, restart 1 gives back clean images"),
        (lambda model: copy.deepcopy(model).double(), PGD(THREAT), {}, "through: .* is torch.float64; accuracy is"),
        (lambda model: copy.deepcopy(model).to("meta"), PGD(THREAT), {}, "through: it is on meta, .* on cpu; move it"),
        (lambda _: linear(784, 7), PGD(THREAT), {}, "through: it has 7 classes, the measured model 10"),
        (lambda _: linear(196, 10), PGD(THREAT), {}, r"through: it does not take images of shape \(1, 28, 28\)"),
    ],
)
def test_what_is_no_transfer(trained, test_images, change, adversary: Attack, options, message: str) -> None:
    with pytest.raises((ConfigError, UnsupportedModelError), match=message):
        robust_accuracy(trained, test_images, adversary, through=change(trained), **options)


def linear(pixels: int, classes: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(pixels, classes))


def test_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output, smooth, relu = tmp_path / "evaluation.json", MODELS / "parametric_softplus", MODELS / "relu"
    evaluate.main([str(smooth), "--through", str(relu), "--attack", "pgd-3", "--images", "40", "--threads", "1",
                   "--output", str(output)])  # fmt: skip
    written = json.loads(output.read_text())
    assert written["through"] == {"model": str(relu), "weights_sha256": smoothify.hub.weights_digest(relu)}
    assert written["results"][0]["through"] == "models/relu"
    assert "PGD-3, step 0.0833333, transferred from models/relu, last step only" in capsys.readouterr().out
    assert "pgd-3, transferred from models/relu" in read_evaluation(output).results[1].attack


def test_a_source_named_by_a_dot_is_a_source_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "evaluation.json"
    monkeypatch.chdir(MODELS / "relu")
    assert [called(name) for name in (".", "", "../relu", "me/relu")] == [*3 * ["models/relu"], "me/relu"]
    evaluate.main(["../parametric_softplus", "--through", ".", "--attack", "pgd-1", "--images", "10", "--threads", "1",
                   "--output", str(output)])  # fmt: skip
    assert json.loads(output.read_text())["results"][0]["through"] == "models/relu"
    assert "pgd-1, transferred from models/relu" in read_evaluation(output).results[1].attack


def test_a_model_through_itself_is_refused_on_the_command_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="through: it has the measured model's own weights"):
        evaluate.main([str(MODELS / "relu"), "--through", str(MODELS / "relu"), "--attack", "pgd-1", "--images", "10",
                       "--threads", "1", "--output", str(tmp_path / "evaluation.json")])  # fmt: skip
