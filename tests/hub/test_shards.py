"""Weights in several files: the shards of an honest repository are joined, and those of any other refused."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch

from smoothify.errors import HubError
from smoothify.hub import from_pretrained
from tests.hub.hostile_weights import WEIGHTS
from tests.hub.server import Hub

transformers = pytest.importorskip("transformers")
INDEX = "model.safetensors.index.json"
FIRST, SECOND, THIRD = (f"model-0000{number}-of-00003.safetensors" for number in (1, 2, 3))
Files = dict[str, bytes]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """A ResNet as transformers itself shards it."""
    torch.manual_seed(0)
    config = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", num_labels=3
    )
    folder = tmp_path_factory.mktemp("good")
    transformers.ResNetForImageClassification(config).save_pretrained(folder, max_shard_size="10KB")
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def put(files: Files, folder: Path) -> Path:
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def test_shards_are_joined(good: Files, hub: Hub, cache: Path, tmp_path: Path) -> None:
    assert sorted(good) == ["config.json", FIRST, SECOND, THIRD, INDEX]
    folder = put(good, tmp_path / "folder")
    hub.put("they/large", {**good, "model-00009-of-00003.safetensors": b"never fetched", "evil.py": b""})
    expected = transformers.AutoModelForImageClassification.from_pretrained(folder).eval()
    images = torch.rand(2, 3, 32, 32)
    for source in (folder, "they/large"):
        loaded = from_pretrained(source, cache_dir=cache)
        with torch.no_grad():
            assert torch.equal(loaded(images).logits, expected(images).logits)
    hub.requests.clear()
    smooth = from_pretrained("they/large", to="silu", cache_dir=cache, local_files_only=True)
    assert not any(isinstance(module, torch.nn.ReLU) for module in smooth.modules())
    assert hub.requests == []
    fetched = {path.name for path in cache.rglob("*") if path.is_symlink()}
    assert fetched == set(good)


def _index(change: Callable[[dict[str, object]], object]) -> Callable[[Files], Files]:
    def apply(files: Files) -> Files:
        index = json.loads(files[INDEX])
        change(index["weight_map"])
        return {**files, INDEX: json.dumps(index).encode()}

    return apply


def _bytes(content: bytes) -> Callable[[Files], Files]:
    return lambda files: {**files, INDEX: content}


def _shard(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Files], Files]:
    def apply(files: Files) -> Files:
        tensors = safetensors.torch.load(files[FIRST])
        change(tensors)
        return {**files, FIRST: safetensors.torch.save(tensors)}

    return apply


BIAS = "classifier.1.bias"
HOSTILE: dict[str, tuple[Callable[[Files], Files], str]] = {
    "a path upwards": (_index(lambda m: m.update({BIAS: "../../secret.safetensors"})), "no safetensors file beside it"),
    "an absolute path": (_index(lambda m: m.update({BIAS: "/etc/passwd.safetensors"})), "no safetensors file beside"),
    "a path of Windows": (_index(lambda m: m.update({BIAS: "..\\x.safetensors"})), "no safetensors file beside it"),
    "an address": (_index(lambda m: m.update({BIAS: "https://evil/x.safetensors"})), "no safetensors file beside it"),
    "a folder": (_index(lambda m: m.update({BIAS: "a/x.safetensors"})), "no safetensors file beside it"),
    "a hidden file": (_index(lambda m: m.update({BIAS: ".x.safetensors"})), "no safetensors file beside it"),
    "a pickle": (_index(lambda m: m.update({BIAS: "pytorch_model.bin"})), "no safetensors file beside it"),
    "a look-alike": (_index(lambda m: m.update({BIAS: "m\u043edel.safetensors"})), "no safetensors file beside it"),
    "a number": (_index(lambda m: m.update({BIAS: 1})), "names 1, which is no safetensors file"),
    "a name of a kilobyte": (_index(lambda m: m.update({BIAS: "x" * 1000 + ".safetensors"})), "no safetensors file"),
    "a thousand files": (
        _index(lambda m: m.update({f"x{n}": f"x{n}.safetensors" for n in range(2000)})),
        "at most 1000 are read",
    ),
    "a missing shard": (lambda files: {k: v for k, v in files.items() if k != SECOND}, f"holds no {SECOND}"),
    "a key in another shard": (_index(lambda m: m.update({BIAS: FIRST})), f"{FIRST}: {BIAS} is missing, and {INDEX}"),
    "a key that no shard holds": (_index(lambda m: m.update({"x": SECOND})), "x is missing"),
    "a key that the index leaves out": (_index(lambda m: m.pop(BIAS)), f"{BIAS} is not said to be here"),
    "a key stored twice": (_shard(lambda t: t.update({BIAS: torch.zeros(3)})), f"{BIAS} is not said to be here"),
    "a shape of another model": (
        _shard(lambda t: t.update({name: value[:1] for name, value in t.items() if value.ndim})),
        "mismatch",  # "mismatched", and "size mismatch" of transformers 4
    ),
    "NaN in one shard": (_shard(lambda t: [v.fill_(torch.nan) for v in t.values() if v.ndim]), "holds NaN"),
    "a truncated shard": (lambda files: {**files, THIRD: files[THIRD][:-1]}, f"{THIRD}: is not a whole safetensors"),
    "a pickle for a shard": (lambda files: {**files, THIRD: WEIGHTS["a pickle"][0](files)}, "not a whole safetensors"),
    "an index that is a list": (_bytes(b"[]"), "not a JSON object"),
    "an index without a map": (_bytes(b"{}"), "weight_map is None"),
    "an index with nothing in it": (_bytes(b'{"weight_map": {}}'), "not an object from tensors to files"),
    "an index with a key twice": (_bytes(b'{"weight_map": {"a": "x", "a": "y"}}'), "stands twice"),
    "an index that is no JSON": (_bytes(b"\xff"), "not readable as JSON"),
    "an index of 9 MB": (_bytes(b" " * 9_000_000), "more than the"),
    "neither weights nor index": (
        lambda files: {"config.json": files["config.json"], "pytorch_model.bin": b"\x80"},
        "holds no model.safetensors",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_shards_are_refused(name: str, good: Files, hub: Hub, cache: Path, tmp_path: Path) -> None:
    change, expected = HOSTILE[name]
    files = change(good)
    hub.put("they/large", files)
    for source in (put(files, tmp_path / "folder"), "they/large"):
        with pytest.raises(HubError) as caught:
            from_pretrained(source, cache_dir=cache)
        assert expected in str(caught.value), caught.value
    assert not any(request.endswith((".bin", "secret.safetensors")) for request in hub.requests)


def test_a_damaged_shard_in_the_cache_is_noticed(good: Files, hub: Hub, cache: Path) -> None:
    hub.put("they/large", good)
    from_pretrained("they/large", cache_dir=cache)
    shard = next(cache.rglob(SECOND)).resolve()
    shard.write_bytes(shard.read_bytes()[:-1] + b"\x01")
    with pytest.raises(HubError, match=f"{SECOND}: does not have the SHA-256 that the Hub states"):
        from_pretrained("they/large", cache_dir=cache, local_files_only=True)


def test_a_pipe_for_a_shard_is_not_read(good: Files, tmp_path: Path) -> None:
    folder = put(good, tmp_path / "folder")
    (folder / FIRST).unlink()
    os.mkfifo(folder / FIRST)
    with pytest.raises(HubError, match=f"holds no {FIRST}"):
        from_pretrained(folder)
