"""The model card: valid by the Hub's own checker, true about loading, every number with its attack."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from smoothify.__main__ import main
from smoothify.errors import HubError
from smoothify.hub import CardFacts, Result, push_folder, push_to_hub, save_pretrained
from smoothify.hub.card import published_card, render_card
from smoothify.hub.config import ModelConfig
from tests.hub.conftest import TOKEN, small_model
from tests.hub.server import Hub
from tests.hub.test_evaluation import EVALUATION

FACTS = CardFacts(
    model_name="small-resnet-silu",
    activation="silu",
    dataset="Fashion-MNIST",
    dataset_id="zalando-datasets/fashion_mnist",
    license="mit",
    results=(
        Result("none", 0.88, interval=(0.865, 0.894), images=2000),
        Result("pgd-50", 0.741, epsilon=0.1, interval=(0.721, 0.760), images=2000, verdict="passed"),
        Result("autoattack", 0.7, epsilon=4 / 255),
    ),
    recipe={"epochs": 6, "attack": "pgd-1", "note": "a | b\nc"},
    images=("adversarial.png",),
    about="Made to be looked at.",
)


@pytest.mark.parametrize("native", [("timm",), ()])
@pytest.mark.parametrize("card", [FACTS, "A text.", None], ids=["facts", "text", "none"])
def test_every_card_passes_the_hubs_checker(card: CardFacts | str | None, native: tuple[str, ...], hub: Hub) -> None:
    ModelCard(render_card(card, ModelConfig("resnet18", native=native))).validate()
    assert hub.requests == ["POST /api/validate-yaml"]


def test_the_checker_of_the_test_server_does_refuse(hub: Hub) -> None:
    with pytest.raises(ValueError, match="license"):
        ModelCard("---\nlicense: 12\n---\n").validate()


def test_a_published_card_tells_everything(hub: Hub) -> None:
    push_to_hub(small_model("silu"), "me/x", card=FACTS, files={"adversarial.png": b"\x89PNG"})
    text = hub.files("me/x")["README.md"].decode()
    card = ModelCard(text)
    assert card.data.tags == ["smoothify", "robust", "timm", "image-classification"]
    assert (card.data.license, card.data.datasets) == ("mit", ["zalando-datasets/fashion_mnist"])
    clean, pgd, autoattack = card.data.eval_results
    assert (clean.metric_value, clean.metric_name) == (0.88, "clean accuracy")
    assert pgd.metric_args == {
        "attack": "pgd-50",
        "norm": "linf",
        "epsilon": 0.1,
        "interval_95": [0.721, 0.76],
        "images": 2000,
        "sanity": "passed",
    }
    assert autoattack.metric_name == "robust accuracy under autoattack (linf, epsilon 4/255)"
    for expected in (
        'smoothify.from_pretrained("me/x")',
        'timm.create_model("hf-hub:me/x", pretrained=True)',
        "| clean accuracy | 88.0% [86.5, 89.4] | 2000 |  |",
        "![adversarial](adversarial.png)",
        "| note | a \\| b c |",
        "Made to be looked at.",
    ):
        assert expected in text


@pytest.mark.parametrize("card", [None, "A text.", replace(FACTS, license=None, images=())], ids=["", "text", "facts"])
def test_no_licence_is_given_to_a_model_that_nobody_chose(card: CardFacts | str | None, hub: Hub) -> None:
    push_to_hub(small_model(), "me/x", card=card)
    text = hub.files("me/x")["README.md"].decode()
    assert "license" not in text
    ModelCard(text).validate()


def test_a_licence_is_chosen_when_it_is_pushed(hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = save_pretrained(small_model(), tmp_path / "out", card="A text.")
    written = (folder / "README.md").read_bytes()
    main(["push", str(folder), "me/x", "--license", "mit"])
    push_folder(folder, "me/y", license="cc-by-nc-4.0", evaluation=EVALUATION)
    push_to_hub(small_model(), "me/z", card=FACTS, license="other", files={"adversarial.png": b"\x89PNG"})
    for name, chosen in (("x", "mit"), ("y", "cc-by-nc-4.0"), ("z", "other")):
        text = hub.files(f"me/{name}")["README.md"].decode()
        card = ModelCard(text)
        card.validate()
        assert card.data.license == chosen and text.count("license:") == text.count("\n---\n") == 1
    text = hub.files("me/x")["README.md"].decode()
    assert "A text." in text and 'from_pretrained("me/x")' in text
    assert (folder / "README.md").read_bytes() == written, "the folder is left as it is"


def test_a_licence_that_the_card_has_is_kept(hub: Hub, tmp_path: Path) -> None:
    folder = save_pretrained(small_model(), tmp_path / "out")
    (folder / "README.md").write_text("---\nlicense: openrail\n---\n# Mine\n")
    push_folder(folder, "me/x")
    push_folder(folder, "me/y", evaluation=EVALUATION)
    push_folder(folder, "me/z", license="mit")
    licenses = [ModelCard(hub.files(f"me/{name}")["README.md"].decode()).data.license for name in "xyz"]
    assert licenses == ["openrail", "openrail", "mit"]


def test_a_card_written_by_hand_keeps_what_stands_there(hub: Hub, tmp_path: Path) -> None:
    folder = save_pretrained(small_model(), tmp_path / "out")
    text = "---\ndatasets: me/images\nmetrics: f1\ntags: mine\n---\n# My model\n\n## Results\n\n| a |\n| --- |\n"
    (folder / "README.md").write_bytes(text.replace("\n", "\r\n").encode())
    push_folder(folder, "me/x", evaluation=EVALUATION)
    published = hub.files("me/x")["README.md"].decode()
    card = ModelCard(published)
    assert card.data.metrics == ["accuracy", "f1"] and card.data.tags == ["mine", "robust"]
    assert card.data.model_name == "My model" and card.data.datasets == ["me/images"]
    unnamed = published_card(text.encode(), "README.md", "me/x", [Result("pgd-2", 0.5, epsilon=0.1, images=10)])
    assert [entry.dataset_name for entry in ModelCard(unnamed).data.eval_results] == ["me/images"]
    assert published.count("## Results") == 1 and "\r" not in published


@pytest.mark.parametrize("license", ["", "MIT license", "mit\nx: 1", "x" * 65])
def test_what_is_no_licence(license: str, hub: Hub, tmp_path: Path) -> None:
    folder = save_pretrained(small_model(), tmp_path / "out")
    with pytest.raises(HubError, match=r"license=.*: is no licence's id, such as mit"):
        push_folder(folder, "me/x", license=license)
    assert hub.repos == {}


def test_columns_that_no_result_fills_are_left_out() -> None:
    facts = CardFacts("m", "silu", "d", results=(Result("none", 0.5), Result("pgd-2", 0.25, epsilon=8 / 255)))
    text = render_card(facts, ModelConfig("resnet18"))
    assert "| measured | value [95% interval] |\n| --- | --- |\n| clean accuracy | 50.0% |\n" in text
    assert "sanity" not in text and "images" not in text


def test_only_proven_ways_of_loading_are_told() -> None:
    ours = render_card(FACTS, ModelConfig("resnet18"))
    assert "hf-hub:" not in ours and "needs smoothify" in ours and "library_name: smoothify" in ours


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Result("pgd-50", 74.1, epsilon=0.1), "no accuracy"),
        (lambda: Result("pgd-50", 0.741), "needs its epsilon"),
        (lambda: Result("none", 0.88, epsilon=0.1), "a clean one has none"),
        (
            lambda: render_card(CardFacts("m", "silu", "d", images=("../x.png",)), ModelConfig("resnet18")),
            "plain",
        ),
        (
            lambda: render_card(CardFacts("m", "silu", "d", recipe={"t": TOKEN}), ModelConfig("resnet18")),
            "token",
        ),
    ],
)
def test_what_a_card_cannot_say(make: object, message: str) -> None:
    with pytest.raises(HubError, match=message) as caught:
        make()  # type: ignore[operator]
    assert TOKEN not in str(caught.value)


def test_no_token_is_written_or_published(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(HubError, match="Hub token"):
        save_pretrained(small_model(), tmp_path / "out", card=f"made with {TOKEN}")
    assert list(tmp_path.iterdir()) == []
    push_to_hub(small_model(), "me/x", token=TOKEN)
    assert not any(TOKEN.encode() in data for data in hub.files("me/x").values())
