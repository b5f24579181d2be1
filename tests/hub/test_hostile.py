"""Every hostile repository ends in one HubError: nothing run, nothing half-loaded, no memory taken."""

from __future__ import annotations

import json
import os
import resource
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from smoothify.errors import HubError
from smoothify.hub import from_pretrained, save_pretrained
from smoothify.hub.config import ModelConfig, read_config
from smoothify.hub.remote import check_repo_id
from smoothify.hub.weights import digest
from tests.hub.conftest import small_model
from tests.hub.hostile import BYTES, CONFIGS, JSON, changed
from tests.hub.hostile_weights import WEIGHTS
from tests.hub.server import Hub


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = save_pretrained(small_model("smoothrelu"), tmp_path_factory.mktemp("good") / "out")
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def folder_of(files: dict[str, bytes], parent: Path) -> Path:
    folder = parent / "repo"
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def refusal(files: dict[str, bytes], parent: Path) -> str:
    folder = folder_of(files, parent)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(HubError) as caught:
        from_pretrained(folder)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 500_000, f"loading took {grown} kB on the word of a stranger"
    message = str(caught.value)
    assert len(message) < 3000 and "\n\n" not in message
    return message


@pytest.mark.parametrize("name", CONFIGS)
def test_hostile_configs_are_refused(name: str, good: dict[str, bytes], tmp_path: Path) -> None:
    change, expected = CONFIGS[name]
    pytest.importorskip("transformers") if name.startswith("transformers") else None
    message = refusal(changed(good, change), tmp_path)
    assert any(part in message for part in expected.split("|")), message


@pytest.mark.parametrize("name", WEIGHTS)
def test_hostile_weights_are_refused(name: str, good: dict[str, bytes], tmp_path: Path) -> None:
    change, expected = WEIGHTS[name]
    data = change(good)

    def lie(config: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
        return {**config, "smoothify": {**config["smoothify"], "weights_sha256": digest(data)}}

    message = refusal({**changed(good, lie), "model.safetensors": data}, tmp_path)
    assert expected in message, message


@pytest.mark.parametrize("name", BYTES)
def test_hostile_bytes_are_refused(name: str, good: dict[str, bytes], tmp_path: Path) -> None:
    data, expected = BYTES[name]
    assert expected in refusal({**good, "config.json": data}, tmp_path)


def test_a_repository_of_pickles_is_refused(hub: Hub, good: dict[str, bytes], cache: Path) -> None:
    hub.put("they/pickles", {"config.json": good["config.json"], "pytorch_model.bin": b"\x80\x04."})
    with pytest.raises(HubError, match=r"they/pickles: holds no model\.safetensors"):
        from_pretrained("they/pickles", cache_dir=cache)
    hub.put("they/nothing", {"README.md": b"hello"})
    with pytest.raises(HubError, match=r"they/nothing: holds no config\.json"):
        from_pretrained("they/nothing", cache_dir=cache)
    assert not any(request.endswith(".bin") for request in hub.requests)


def test_only_two_files_are_ever_fetched(hub: Hub, good: dict[str, bytes], cache: Path) -> None:
    hub.put("they/x", {**good, "modeling_evil.py": b"raise SystemExit", "../escape": b"x", "setup.py": b"x"})
    from_pretrained("they/x", cache_dir=cache)
    fetched = {request.rsplit("/", 1)[1] for request in hub.requests if "/resolve/" in request}
    assert fetched == {"config.json", "model.safetensors"}
    assert not list(cache.rglob("*.py"))


def test_a_damaged_file_in_the_cache_is_noticed(hub: Hub, good: dict[str, bytes], cache: Path) -> None:
    """timm's configs state no digest: there the one that the Hub stated is compared."""
    hub.put("they/x", changed(good, lambda config: {"architecture": "test_resnet", "num_classes": 10}))
    with pytest.raises(HubError, match="do not fit test_resnet"):
        from_pretrained("they/x", cache_dir=cache)
    weights = next(cache.rglob("model.safetensors")).resolve()
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\1\2\3")
    with pytest.raises(HubError, match="SHA-256 that the Hub states"):
        from_pretrained("they/x", cache_dir=cache, local_files_only=True)


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "a/../b",
        "/etc/passwd",
        "a/b/c",
        "a",
        "a/.b",
        "a/b..c",
        "-a/b",
        "a/b\n",
        "a/b?x=1",
        "ä/b",
        "a/b@c",
    ],
)
def test_names_that_are_no_repositories(name: str, hub: Hub) -> None:
    with pytest.raises(HubError):
        from_pretrained(name)
    with pytest.raises(HubError):
        check_repo_id(name)
    assert hub.requests == []


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_pipes_and_devices_are_not_read(name: str, good: dict[str, bytes], tmp_path: Path) -> None:
    """A link is followed, as the Hub's own cache needs it, but only to a file."""
    folder = folder_of(good, tmp_path)
    (folder / name).rename(tmp_path / "elsewhere")
    (folder / name).symlink_to(tmp_path / "elsewhere")
    assert not from_pretrained(folder).training
    os.mkfifo(tmp_path / "pipe")
    for target in ("/dev/zero", tmp_path / "pipe", tmp_path, tmp_path / "nowhere", name):
        (folder / name).unlink()
        (folder / name).symlink_to(target)
        with pytest.raises(HubError, match=f"holds no {name}"):
            from_pretrained(folder)


def test_a_secret_behind_a_link_is_not_quoted(good: dict[str, bytes], tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("the password is sesame")
    folder = folder_of(good, tmp_path)
    for name in ("config.json", "model.safetensors"):
        kept = (folder / name).read_bytes()
        (folder / name).unlink()
        (folder / name).symlink_to(tmp_path / "secret")
        with pytest.raises(HubError) as caught:
            from_pretrained(folder)
        assert "sesame" not in str(caught.value)
        (folder / name).unlink()
        (folder / name).write_bytes(kept)


TOP = (
    "architecture",
    "num_classes",
    "model_args",
    "pretrained_cfg",
    "label_names",
    "model_type",
    "architectures",
)
BLOCK = ("architecture", "model_args", "conversions", "native", "weights_sha256", "versions", "else")
DOCUMENTS = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(TOP, JSON)
    | {
        "architecture": st.just("resnet18") | JSON,
        "pretrained_cfg": st.dictionaries(st.sampled_from(["input_size", "mean", "label_names", "tag"]), JSON),
        "smoothify": st.fixed_dictionaries({"format": st.just(1) | JSON}, optional=dict.fromkeys(BLOCK, JSON)),
    },
)


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(DOCUMENTS)
def test_any_json_is_read_or_refused(document: dict[str, object]) -> None:
    try:
        config = read_config(json.dumps(document).encode())
    except HubError as error:
        assert len(str(error)) < 3000
    else:
        assert isinstance(config, ModelConfig) and config.architecture.isidentifier()


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with suppress(HubError):
        read_config(data)


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(path=st.lists(st.integers(0, 30), max_size=4), value=JSON)
def test_any_change_of_one_value_loads_or_is_refused(
    path: list[int], value: object, good: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    config = json.loads(good["config.json"])
    where = config
    for step in path[:-1]:
        keys = list(where) if isinstance(where, dict) else range(len(where)) if isinstance(where, list) else []
        if keys and isinstance(where[keys[step % len(keys)]], dict | list):
            where = where[keys[step % len(keys)]]
    if isinstance(where, dict) and where:
        where[list(where)[(path or [0])[-1] % len(where)]] = value
    folder = folder_of({**good, "config.json": json.dumps(config).encode()}, tmp_path_factory.mktemp("fuzz"))
    with suppress(HubError):
        assert not from_pretrained(folder).training
