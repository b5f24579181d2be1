"""Repositories: push and load through HTTP, with huggingface_hub, timm and transformers as they are."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import huggingface_hub
import pytest
import timm
import torch

from smoothify.errors import HubError
from smoothify.hub import from_pretrained, push_folder, push_to_hub, read_file, save_pretrained
from tests.hub.conftest import STRANGER, TOKEN, images, same_logits, small_model
from tests.hub.server import Hub


@pytest.mark.parametrize("to", [None, "silu", "smoothrelu"])
def test_push_then_from_pretrained_gives_identical_logits(to: str | None, hub: Hub, cache: Path) -> None:
    model = small_model(to)
    url = push_to_hub(model, "me/x")
    assert url.startswith(f"{hub.url}/me/x/commit/")
    assert sorted(hub.files("me/x")) == ["README.md", "config.json", "model.safetensors"]
    assert same_logits(model, from_pretrained("me/x", cache_dir=cache))


def test_timm_loads_from_the_hub_without_us(hub: Hub, cache: Path) -> None:
    model = small_model("silu")
    push_to_hub(model, "me/x")
    assert same_logits(model, timm.create_model("hf-hub:me/x", pretrained=True, cache_dir=cache).eval())


def test_timm_fails_loudly_where_it_would_give_relu(hub: Hub, cache: Path) -> None:
    push_to_hub(small_model("smoothrelu"), "me/x")
    with pytest.raises(RuntimeError, match="load_with_smoothify"):
        timm.create_model("hf-hub:me/x", pretrained=True, cache_dir=cache)


def test_transformers_loads_or_refuses_as_timm_does(hub: Hub, cache: Path) -> None:
    transformers = pytest.importorskip("transformers")
    auto = transformers.AutoModelForImageClassification
    model = small_model("silu")
    push_to_hub(model, "me/native")
    wrapped = auto.from_pretrained("me/native", cache_dir=cache).eval()
    with torch.no_grad():
        assert torch.equal(wrapped(images()).logits, model(images()))
    push_to_hub(small_model("smoothrelu"), "me/ours")
    folder = save_pretrained(small_model("smoothrelu"), cache / "folder")
    for loader in (transformers.AutoModel, auto):
        for source in ("me/ours", folder):
            with pytest.raises((ImportError, RuntimeError, ValueError), match=r"load_with_smoothify|model_type"):
                loader.from_pretrained(source, cache_dir=cache)


def test_a_finished_folder_is_pushed_as_one_commit(hub: Hub, tmp_path: Path) -> None:
    folder = save_pretrained(small_model("silu"), tmp_path / "best", files={"adversarial.png": b"\x89PNG"})
    (folder / ".cache").write_text("hidden")
    (folder / "link").symlink_to("/etc/hostname")
    push_folder(folder, "me/best", commit_message="The first one")
    assert sorted(hub.files("me/best")) == [
        "README.md",
        "adversarial.png",
        "config.json",
        "model.safetensors",
    ]
    assert list(hub.repos["me/best"].messages.values()) == ["initial commit", "The first one"]
    assert b'"me/best"' in hub.files("me/best")["README.md"]
    assert "your-name/your-model" in (folder / "README.md").read_text()


def test_a_folder_of_links_is_not_published(hub: Hub, tmp_path: Path) -> None:
    folder = save_pretrained(small_model("silu"), tmp_path / "best")
    (folder / "model.safetensors").rename(tmp_path / "elsewhere")
    (folder / "model.safetensors").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(HubError, match="is a link, and links are not published"):
        push_folder(folder, "me/x")
    assert hub.repos == {}


def test_a_second_push_replaces_the_first(hub: Hub, cache: Path) -> None:
    push_to_hub(small_model(), "me/x")
    push_to_hub(small_model("silu"), "me/x")
    assert same_logits(small_model("silu"), from_pretrained("me/x", cache_dir=cache))
    assert len(hub.repos["me/x"].branches["main"]) == 3


@pytest.mark.parametrize("step", ["PUT /large/", "POST .*/commit/", "POST .*/objects/batch", "POST .*/preupload/"])
def test_an_interrupted_push_leaves_the_old_model_and_can_be_repeated(step: str, hub: Hub, cache: Path) -> None:
    push_to_hub(small_model(), "me/x")
    before = hub.files("me/x")
    hub.fail_once(step)
    with pytest.raises(HubError, match=r"me/x: .*try again"):
        push_to_hub(small_model("silu"), "me/x")
    assert hub.files("me/x") == before
    push_to_hub(small_model("silu"), "me/x")
    assert same_logits(small_model("silu"), from_pretrained("me/x", cache_dir=cache))


def test_a_private_repository_needs_its_owners_token(hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    push_to_hub(small_model("silu"), "me/secret", private=True)
    assert hub.repos["me/secret"].private
    assert same_logits(small_model("silu"), from_pretrained("me/secret", cache_dir=cache))
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(HubError, match=r"me/secret: .*or it is private.*hf auth login"):
        from_pretrained("me/secret", cache_dir=cache / "other")
    with pytest.raises(HubError, match="or it is private"):
        from_pretrained("me/secret", cache_dir=cache / "other", token=STRANGER)
    assert same_logits(small_model("silu"), from_pretrained("me/secret", cache_dir=cache / "other", token=TOKEN))


@pytest.mark.parametrize("token", [None, "hf_thistokenisnotvalid", STRANGER])
def test_pushing_without_the_right_token(token: str | None, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(HubError, match=r"me/x: .*token") as caught:
        push_to_hub(small_model(), "me/x", token=token)
    assert token is None or token not in str(caught.value)
    assert hub.repos == {}


def test_a_branch_is_made_and_read_as_a_revision(hub: Hub, cache: Path) -> None:
    push_to_hub(small_model(), "me/x")
    push_to_hub(small_model("silu"), "me/x", revision="smooth")
    commit = hub.repos["me/x"].branches["smooth"][-1]
    assert same_logits(small_model(), from_pretrained("me/x", cache_dir=cache))
    for revision in ("smooth", commit):
        assert same_logits(small_model("silu"), from_pretrained("me/x", cache_dir=cache, revision=revision))
    with pytest.raises(HubError, match="no revision 'nowhere'"):
        from_pretrained("me/x", cache_dir=cache, revision="nowhere")
    with pytest.raises(HubError, match="a folder has no revision"):
        from_pretrained(cache, revision="smooth")


def test_local_files_only_uses_the_cache_alone(hub: Hub, cache: Path) -> None:
    push_to_hub(small_model("silu"), "me/x")
    with pytest.raises(HubError, match="not in the cache"):
        from_pretrained("me/x", cache_dir=cache, local_files_only=True)
    from_pretrained("me/x", cache_dir=cache)
    hub.requests.clear()
    assert same_logits(small_model("silu"), from_pretrained("me/x", cache_dir=cache, local_files_only=True))
    assert hub.requests == []


def test_offline_mode_in_a_fresh_process(hub: Hub, cache: Path) -> None:
    """huggingface_hub reads its environment once. HF_ENDPOINT, a mirror, is what every other test here uses."""
    push_to_hub(small_model("silu"), "me/x")
    from_pretrained("me/x", cache_dir=cache)
    hub.requests.clear()
    script = (
        f"from smoothify.hub import from_pretrained as f; print(type(f('me/x', cache_dir={str(cache)!r})).__name__)"
    )
    command, environment = [sys.executable, "-c", script], {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "ResNet", done.stderr
    assert hub.requests == []


def test_small_files_beside_the_model_are_read(hub: Hub, tmp_path: Path) -> None:
    push_to_hub(small_model(), "me/x", files={"training.yaml": b"epochs: 6", "big.txt": b"x" * 2**20 + b"x"})
    assert read_file("me/x", "training.yaml") == b"epochs: 6"
    assert read_file("me/x", "other.yaml") is None
    with pytest.raises(HubError, match="1,048,577 bytes"):
        read_file("me/x", "big.txt")
    for name in ("../training.yaml", "/etc/passwd", "..", ""):
        with pytest.raises(HubError, match="not a plain file name"):
            read_file("me/x", name)
    with pytest.raises(HubError, match="no revision"):
        read_file("me/x", "training.yaml", revision="nowhere")
    with pytest.raises(HubError, match="no such repository"):
        read_file("me/nothing", "training.yaml")
    hub.put("me/hidden", {"training.yaml": b"secret"}, private=True)
    with pytest.raises(HubError, match="or it is private"):
        read_file("me/hidden", "training.yaml", token=STRANGER)
    assert read_file("me/hidden", "training.yaml", token=TOKEN) == b"secret"


def test_a_commit_made_between_the_two_downloads_is_not_mixed_in(hub: Hub, cache: Path) -> None:
    push_to_hub(small_model("silu"), "me/x")
    first = hub.repos["me/x"].branches["main"][-1]
    huggingface_hub.hf_hub_download("me/x", "config.json", cache_dir=cache)
    hub.requests.clear()
    from_pretrained("me/x", cache_dir=cache)
    assert f"HEAD /me/x/resolve/{first}/model.safetensors" in hub.requests


def test_a_timm_repository_of_somebody_else_is_converted_while_loading(hub: Hub, cache: Path) -> None:
    model = small_model()
    timm.models.push_to_hf_hub(model, "me/plain", safe_serialization=True)
    assert same_logits(model, from_pretrained("me/plain", cache_dir=cache))
    converted = from_pretrained("me/plain", to="silu", cache_dir=cache)
    expected = small_model("silu")
    expected.load_state_dict(model.state_dict())
    assert same_logits(expected, converted)
    assert json.loads(hub.files("me/plain")["config.json"])["model_args"]["num_classes"] == 10


def test_a_repository_that_is_not_there(hub: Hub, cache: Path) -> None:
    with pytest.raises(HubError, match=r"me/nothing: there is no such repository"):
        from_pretrained("me/nothing", cache_dir=cache)
