"""A token reaches the Hub, in a header, and nothing else: no log, card, config, error or file."""

from __future__ import annotations

import logging
import traceback
from pathlib import Path
from typing import Any

import pytest
import torch

from smoothify.errors import HubError
from smoothify.hub import from_pretrained, push_folder, push_to_hub, read_file, save_pretrained, weights_digest
from smoothify.hub.tokens import without_tokens
from tests.hub.conftest import TOKEN, small_model
from tests.hub.server import Hub

SECRET = "sesame-open-1234"  # a token need not look like one of the Hub's


@pytest.mark.parametrize("token", [TOKEN, SECRET])
def test_a_token_is_seen_by_the_hub_alone(
    token: str,
    hub: Hub,
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    hub.tokens[token] = "me"
    caplog.set_level(logging.DEBUG)
    errors: list[str] = []

    def attempt(function: Any, *args: Any, **options: Any) -> None:
        try:
            function(*args, **options)
        except HubError as error:
            errors.append("".join(traceback.format_exception(error)))

    model: Any = small_model("silu")
    folder = save_pretrained(model, tmp_path / "out", card="A text.")
    push_to_hub(model, "me/x", token=token, private=True)
    from_pretrained("me/x", token=token, cache_dir=cache)
    read_file("me/x", "README.md", token=token)
    for step, status in (
        ("POST .*/commit/", 400),
        ("PUT /large/", 400),
        ("POST .*/preupload/", 403),
        ("POST .*/objects/batch", 401),
    ):
        hub.fail_once(step, status)
        with torch.no_grad():
            model.fc.bias.add_(1.0)  # other weights, which are not on the server yet
        attempt(push_to_hub, model, "me/x", token=token)
    attempt(push_folder, folder, "they/x", token=token)
    attempt(from_pretrained, "they/x", token=token, cache_dir=cache)
    attempt(from_pretrained, "me/x", token=token, revision="nowhere", cache_dir=cache)
    assert len(errors) == 7, errors
    said = capfd.readouterr()
    for text in (*errors, caplog.text, said.out, said.err):
        assert token not in text
    for path in (path for path in (tmp_path, *tmp_path.rglob("*")) if path.is_file()):
        assert token.encode() not in path.read_bytes(), path
    for content in hub.files("me/x").values():
        assert token.encode() not in content
    assert weights_digest(folder) is not None


def test_a_token_in_a_file_beside_the_model_stops_the_push(hub: Hub, tmp_path: Path) -> None:
    folder = save_pretrained(small_model("silu"), tmp_path / "out")
    (folder / "training.yaml").write_text(f"data:\n  token: {TOKEN}\n")
    with pytest.raises(HubError, match=r"training\.yaml: holds what looks like a Hub token") as caught:
        push_folder(folder, "me/x")
    assert TOKEN not in str(caught.value) and hub.repos == {}


def test_what_only_begins_like_a_token_is_published(tmp_path: Path) -> None:
    card = "Load it with hf_hub_download; hf_transfer, hf_hub_url and HF_TOKEN help."
    folder = save_pretrained(small_model("silu"), tmp_path / "out", card=card)
    assert card in (folder / "README.md").read_text()


def test_tokens_are_blotted_out_of_any_text() -> None:
    assert TOKEN not in without_tokens(f"https://user:{TOKEN}@host/x?y={TOKEN}")
    assert "sesame" not in without_tokens("open sesame", token="sesame")
