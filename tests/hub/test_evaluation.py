"""What was measured reaches the card: every attack, with its interval and the verdict of the checks."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from smoothify import evaluate
from smoothify.__main__ import main
from smoothify.errors import ConfigError, HubError
from smoothify.hub import CardFacts, Result, push_folder, push_to_hub, read_evaluation, save_pretrained, weights_digest
from smoothify.training import Config, train
from tests.hub.conftest import TOKEN, small_model
from tests.hub.server import Hub

MEASURED = {
    "norm": "linf",
    "epsilon": 8 / 255,
    "images": 200,
    "clean_accuracy": 0.9,
    "clean_interval_95": [0.85, 0.93],
}
PGD: dict[str, Any] = {**MEASURED, "attack": "PGD-200", "robust_accuracy": 0.5, "robust_interval_95": [0.43, 0.57]}
AUTO = {**MEASURED, "attack": "AutoAttack", "robust_accuracy": 0.45, "robust_interval_95": [0.38, 0.52]}
PGD["sanity"] = "1 of 2 checks passed; failed: random noise"
EVALUATION: dict[str, Any] = {"data": "cifar10", "results": [PGD, AUTO]}
FACTS = CardFacts(
    "m",
    activation="silu",
    dataset="CIFAR-10",
    dataset_id="uoft-cs/cifar10",
    results=(Result("none", 0.8, images=50), Result("pgd-200", 0.6, epsilon=8 / 255, images=50)),
    recipe={"epochs": 6},
    about="Made to be looked at.",
)


def test_an_evaluation_is_read_as_results() -> None:
    clean, pgd, autoattack = read_evaluation(EVALUATION).results
    assert clean == Result("none", 0.9, interval=(0.85, 0.93), images=200, dataset="cifar10")
    assert (pgd.attack, pgd.epsilon, pgd.interval) == ("pgd-200", 8 / 255, (0.43, 0.57))
    assert (pgd.verdict, autoattack.verdict) == ("1 of 2 checks passed; failed: random noise", None)
    assert read_evaluation({**EVALUATION, "data": "/home/anna/photos"}).results[0].dataset == "photos"
    through = read_evaluation({**PGD, "surrogate": "silu"}).results[1]
    assert through.attack == "pgd-200, gradients of silu"


@pytest.mark.parametrize(
    ("second", "names"),
    [
        ({}, ["pgd-200"]),
        ({"step_size": 2.5 * 8 / 255 / 200}, ["pgd-200"]),
        ({"step_size": 1 / 255, "robust_accuracy": 0.9}, ["pgd-200", "pgd-200, step 1/255"]),
        ({"full_protocol": True, "robust_accuracy": 0.9}, ["pgd-200", "pgd-200, last step only"]),
        ({"images": 100, "robust_accuracy": 0.55}, ["pgd-200"]),
    ],
)
def test_what_makes_a_number_another_one_is_in_its_name(second: dict[str, Any], names: list[str]) -> None:
    results = read_evaluation({"results": [PGD, {**PGD, **second}]}).results
    assert [result.attack for result in results if result.epsilon is not None] == names


def test_no_number_hides_another_of_its_name() -> None:
    weak = {**PGD, "robust_accuracy": 0.9}
    for rows in ([PGD, weak], [weak, PGD]):
        with pytest.raises(HubError, match=r"under pgd-200 .* and also .*; publish one of them, or give attacks of"):
            read_evaluation({"results": rows})


def test_the_card_of_a_published_folder_tells_it(hub: Hub, tmp_path: Path) -> None:
    folder = save_pretrained(small_model("silu"), tmp_path / "out", card=FACTS)
    push_folder(folder, "me/x", evaluation=EVALUATION)
    text = hub.files("me/x")["README.md"].decode()
    card = ModelCard(text)
    card.validate()
    assert hub.requests[-1] == "POST /api/validate-yaml"
    told = {(entry.dataset_name, entry.metric_name): entry for entry in card.data.eval_results}
    assert len(told) == 5, "two from the card, three measured on data of another name"
    pgd = told["cifar10", "robust accuracy under pgd-200 (linf, epsilon 8/255)"]
    assert pgd.metric_value == 0.5 and pgd.dataset_type == "cifar10"
    assert pgd.metric_args["sanity"] == "1 of 2 checks passed; failed: random noise"
    assert pgd.metric_args["interval_95"] == [0.43, 0.57]
    assert "| robust accuracy under autoattack (linf, epsilon 8/255) | 45.0% [38.0, 52.0] | 200 | cifar10 |  |" in text
    assert text.count("## Results") == 1 and text.index("## Results") < text.index("## Recipe")
    assert "Made to be looked at." in text and 'from_pretrained("me/x")' in text


def test_what_was_measured_again_replaces_what_was_told(hub: Hub, tmp_path: Path) -> None:
    folder = save_pretrained(small_model("silu"), tmp_path / "out", card=FACTS)
    push_folder(folder, "me/x", evaluation={**EVALUATION, "data": "CIFAR-10"})
    card = ModelCard(hub.files("me/x")["README.md"].decode())
    assert [entry.metric_value for entry in card.data.eval_results] == [0.9, 0.5, 0.45]
    assert {entry.dataset_type for entry in card.data.eval_results} == {"uoft-cs/cifar10"}
    assert "| data |" not in card.text


@pytest.mark.parametrize(
    ("measured", "told"),
    [
        ({"images": 2000}, [("test", 2000, 0.9)]),
        ({"images": 20}, [("test", 50, 0.6)]),
        ({"images": 20, "split": "train"}, [("test", 50, 0.6), ("train", 20, 0.9)]),
        ({"images": 2000, "split": "train"}, [("test", 50, 0.6), ("train", 2000, 0.9)]),
    ],
)
def test_no_weaker_number_displaces_a_stronger_one(
    measured: dict[str, Any], told: list[tuple[str, int, float]], hub: Hub, tmp_path: Path
) -> None:
    folder = save_pretrained(small_model("silu"), tmp_path / "out", card=FACTS)
    row = {**PGD, "robust_accuracy": 0.9, "images": measured["images"]}
    evaluation = {"data": "CIFAR-10", "split": measured.get("split", "test"), "results": [row]}
    with warnings.catch_warnings(record=True, action="always") as said:
        push_folder(folder, "me/x", evaluation=evaluation)
    said = [str(one.message).partition("README.md: ")[2] for one in said if one.category is UserWarning]
    kept = "keeps its robust accuracy under pgd-200 (linf, epsilon 8/255): 60.0%, which is of more images (50)"
    assert said == ([kept] if measured == {"images": 20} else [])
    text = hub.files("me/x")["README.md"].decode()
    entries = [one for one in ModelCard(text).data.eval_results if "pgd-200" in one.metric_name]
    assert [(one.dataset_split, one.metric_args["images"], one.metric_value) for one in entries] == told
    table = text[text.index("## Results") : text.index("## Recipe")]
    assert table.count("pgd-200") == len(told)
    assert ("| split |" in table) == ("| train |" in table) == ("split" in measured)


def test_of_two_results_of_one_name_that_of_more_images_stays() -> None:
    few, many = ({**PGD, "images": count, "robust_accuracy": share} for count, share in ((20, 0.9), (200, 0.5)))
    for rows in ([few, many], [many, few]):
        assert [result.images for result in read_evaluation({"results": rows}).results] == [200, 200]


def test_an_attack_of_ones_own_has_any_name_of_one_line(hub: Hub, tmp_path: Path) -> None:
    names = ["my noise (k=5)", "<b>|</b> [a](b) `c` *d*"]
    rows = [{**PGD, "attack": name, "sanity": None} for name in names]
    push_to_hub(small_model("silu"), "me/x", card="A text.", evaluation={"results": rows})
    text = hub.files("me/x")["README.md"].decode()
    assert "robust accuracy under my noise (k=5) (linf, epsilon 8/255)" in text
    assert r"robust accuracy under \<b>\|\</b> [a]\(b) \`c\` \*d\* (linf, epsilon 8/255)" in text
    assert [entry.metric_args.get("attack") for entry in ModelCard(text).data.eval_results][1:] == names


@pytest.mark.parametrize("evaluation", [None, EVALUATION], ids=["as it is", "with results"])
@pytest.mark.parametrize(
    ("card", "message"),
    [
        (b"---\nlicense: mit\n---\n# caf\xe9\n", "byte 26 is not UTF-8; save it as UTF-8"),
        (b"---\nlicense: [mit\n---\n# m\n", r"between its --- is no YAML \(its line .\); correct it, or write"),
        (b"---\n- mit\n---\n# m\n", "is no metadata of a card .*; correct it, or write"),
    ],
)
def test_a_card_spoilt_by_hand_is_one_error(
    card: bytes, message: str, evaluation: dict[str, Any] | None, hub: Hub, tmp_path: Path
) -> None:
    folder = save_pretrained(small_model("silu"), tmp_path / "out")
    (folder / "README.md").write_bytes(card)
    with pytest.raises(HubError, match=rf"README\.md: .*{message}") as caught:
        push_folder(folder, "me/x", evaluation=evaluation)
    assert "\n" not in str(caught.value) and hub.repos == {}


@pytest.mark.parametrize(
    "index",
    [
        "[{name: m, results: [{task: {type: t}, metrics: []}]}]",
        "[{name: m, results: [{task: {type: t}, dataset: {type: d, name: d}, "
        "metrics: [{type: a, name: b, value: high, args: {attack: x, epsilon: 1}}]}]}]",
    ],
    ids=["no data set", "no number"],
)
def test_results_written_by_hand_that_cannot_be_read(index: str, hub: Hub, tmp_path: Path) -> None:
    folder = save_pretrained(small_model("silu"), tmp_path / "out")
    (folder / "README.md").write_text(f"---\nmodel-index: {index}\n---\n# m\n")
    with pytest.raises(HubError, match=r"README\.md: what stands between its --- is no metadata of a card .*; correct"):
        push_folder(folder, "me/x", evaluation=EVALUATION)
    assert hub.repos == {}


def test_a_card_without_numbers_gets_a_section(hub: Hub) -> None:
    push_to_hub(small_model("silu"), "me/x", card="A text.", evaluation=EVALUATION)
    text = hub.files("me/x")["README.md"].decode()
    ModelCard(text).validate()
    assert "A text." in text and "## Results\n\n| measured |" in text
    assert "robust" in ModelCard(text).data.tags


def test_numbers_of_other_weights_are_refused(hub: Hub, tmp_path: Path) -> None:
    folder = save_pretrained(small_model("silu"), tmp_path / "out")
    digest = weights_digest(folder)
    assert digest is not None and weights_digest(tmp_path) is None
    push_folder(folder, "me/x", evaluation={**EVALUATION, "weights_sha256": digest})
    assert weights_digest("me/x") == digest
    with pytest.raises(HubError, match="holds other weights than those that were evaluated"):
        push_folder(folder, "me/y", evaluation={**EVALUATION, "weights_sha256": "0" * 64})
    assert list(hub.repos) == ["me/x"]


def test_an_evaluation_beside_a_model_must_be_of_its_weights(hub: Hub, tmp_path: Path, capsys) -> None:
    """``overwrite=True`` keeps other files, and so the figures of the model that was there before."""
    folder = save_pretrained(small_model("silu"), tmp_path / "out")
    (folder / "evaluation.json").write_text(json.dumps(EVALUATION))
    for publish in (push_folder, lambda folder, name: main(["push", str(folder), name])):
        with pytest.raises(HubError, match=r"evaluation\.json: does not say on which weights .* --overwrite`, or take"):
            publish(folder, "me/x")
    measured = {**EVALUATION, "weights_sha256": weights_digest(folder)}
    (folder / "evaluation.json").write_text(json.dumps(measured))
    push_folder(folder, "me/x")
    other = small_model("silu")
    other.fc.bias.data += 1
    save_pretrained(other, folder, overwrite=True)
    assert (folder / "evaluation.json").is_file()
    with pytest.raises(HubError, match=r"evaluation\.json: was measured on other weights"):
        push_folder(folder, "me/y")
    assert list(hub.repos) == ["me/x"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda: {"results": []}, "not a list of 1 to 100 items"),
        (lambda: {"results": [{**PGD, "robust_accuracy": 74.1}]}, "robust_accuracy is 74.1, not a number from 0 to 1"),
        (lambda: {"results": [{**PGD, "robust_interval_95": [0.1]}]}, "robust_interval_95"),
        (lambda: {"results": [{**PGD, "epsilon": None}]}, "epsilon is None"),
        (lambda: {"results": [{**PGD, "attack": "two\nlines"}]}, r"attack is 'two.nlines', not one printable line"),
        (lambda: {"results": [{**PGD, "attack": "x" * 301}]}, "attack is 'x.*, not one printable line of 1 to 300"),
        (lambda: {"results": [{**PGD, "attack": "a\x1b[2J"}]}, "attack is .*, not one printable line"),
        (lambda: {"results": [{**PGD, "images": 0}]}, "images is 0"),
        (lambda: {"results": [{**PGD, "sanity": [1]}]}, "sanity is "),
        (lambda: {"results": [{**PGD, "step_size": "1/255"}]}, "step_size is '1/255', not a number"),
        (lambda: {"results": [{**PGD, "surrogate": [1]}]}, "surrogate is "),
        (lambda: {"results": [{**PGD, "full_protocol": 1}]}, "full_protocol is 1, not true or false"),
        (lambda: {"weights_sha256": "x"}, "weights_sha256 is 'x'"),
        (lambda: {"data": TOKEN}, "holds what looks like a Hub token"),
    ],
)
def test_what_is_no_evaluation(change: Callable[[], Any], message: str, hub: Hub, tmp_path: Path) -> None:
    folder = save_pretrained(small_model("silu"), tmp_path / "out")
    with pytest.raises(HubError, match=message):
        push_folder(folder, "me/x", evaluation={**EVALUATION, **change()})
    with pytest.raises(HubError, match=r"no such evaluation; write one with `python -m smoothify\.evaluate`"):
        push_folder(folder, "me/x", evaluation=tmp_path / "nowhere.json")
    assert hub.repos == {}


def test_trained_measured_checked_and_pushed(
    tiny: Config, hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The whole way, on the command line's own functions."""
    best = train(replace(tiny, epochs=1, attack=replace(tiny.attack, sanity=8))).folder.best
    card = (best / "README.md").read_text()
    assert "checks" in ModelCard(card).data.eval_results[1].metric_args["sanity"]
    assert str(Path(tiny.data.path).parent) not in card, "a card does not tell where its author keeps images"
    evaluate.main([str(best), "--attack", "pgd-2", "--attack", "square-5", "--sanity", "--sanity_images", "8",
                   "--images", "16", "--threads", "1"])  # fmt: skip
    written = json.loads((best / "evaluation.json").read_text())
    assert written["weights_sha256"] == weights_digest(best)
    assert (written["rows"], written["sanity_rows"]) == ("the first 16 of 48 images", "the first 8 of 48 images")
    main(["push", str(best), "me/robust", "--private"])
    assert f"pushed: {hub.url}/me/robust/commit/" in capsys.readouterr().out
    assert hub.repos["me/robust"].private
    for name, content in hub.files("me/robust").items():
        for place in (tiny.data.path, str(best.parent)):
            assert place.encode() not in content, f"{name} tells where its author keeps images and runs"
    card = ModelCard(hub.files("me/robust")["README.md"].decode())
    card.validate()
    told = {entry.metric_name: entry for entry in card.data.eval_results}
    for attack in ("pgd-2", "square-5"):
        entry = told[f"robust accuracy under {attack} (linf, epsilon 0.03)"]
        assert entry.metric_args["images"] == 16 and "checks" in entry.metric_args["sanity"]
    assert len(hub.repos["me/robust"].branches["main"]) == 2, "one commit after the empty one"

    for name in ("training.yaml", "evaluation.json"):
        assert tiny.data.path in (best / name).read_text(), "here it is of use"
    asked = ["me/robust", "--attack", "pgd-1", "--images", "8", "--threads", "1", "--output", str(tmp_path / "x.json")]
    with pytest.raises(ConfigError, match=r"me/robust was trained on data of its author's own.* give --data"):
        evaluate.main(asked)
    evaluate.main([*asked, "--data", tiny.data.path])
    assert json.loads((tmp_path / "x.json").read_text())["results"][0]["epsilon"] == 0.03
