"""The model card: valid by the Hub's own checker, true about loading, every number with its attack."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from smoothify.errors import HubError
from smoothify.hub import CardFacts, Result, push_to_hub, save_pretrained
from smoothify.hub.card import render_card
from smoothify.hub.config import ModelConfig
from tests.hub.conftest import TOKEN, small_model
from tests.hub.server import Hub

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
