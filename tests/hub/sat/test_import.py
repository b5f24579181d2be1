"""Checkpoints of the authors: whole ones become models, all others one error that names what is wrong."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from smoothify import surgery
from smoothify.__main__ import main
from smoothify.errors import HubError, UnknownNameError
from smoothify.hub import from_pretrained, push_folder, save_pretrained
from smoothify.hub.sat import Checkpoint, import_sat
from smoothify.hub.sat.crc32c import crc32c
from smoothify.hub.sat.index import _pairs
from smoothify.hub.sat.names import resnet_sources
from smoothify.models import build
from tests.hub.sat.bundles import varint, write
from tests.hub.server import Hub

SMALL: dict[str, Any] = {"layers": (1, 1, 1, 1), "channels": (8, 8, 8, 8), "num_classes": 5}


def reference() -> nn.Module:
    torch.manual_seed(0)
    model = build("tf_resnet50", arguments=SMALL)
    surgery.convert_(model, to="smoothrelu")
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model.eval()


def variables_of(model: nn.Module) -> dict[str, torch.Tensor]:
    """The checkpoint that the authors' code would have written of this model."""
    state, found = model.state_dict(), {}
    for name, source in resnet_sources(model).items():
        value = state[name]
        if name == "conv1.weight":
            value = value.flip(1)
        if source.layout == "convolution":
            value = value.permute(2, 3, 1, 0)
        elif source.layout == "linear":
            value = value.t()
        found[source.variable] = value.reshape(1) if name.endswith("root") else value
        if "gamma" not in source.variable:
            found[f"{source.variable}/Momentum"] = torch.zeros_like(found[source.variable])
    return found | {"global_step": torch.tensor(9), "learning_rate": torch.tensor(0.1)}


@pytest.fixture(scope="module")
def good() -> dict[str, torch.Tensor]:
    return {name: value.detach().contiguous() for name, value in variables_of(reference()).items()}


def imported(prefix: Path, activation: str = "smoothrelu") -> nn.Module:
    return import_sat(prefix, model="resnet50", activation=activation, arguments=SMALL).model


def test_a_whole_one_becomes_the_model_and_is_published(
    good: dict[str, torch.Tensor], tmp_path: Path, hub: Hub
) -> None:
    write(tmp_path / "model", good)
    found = import_sat(tmp_path, model="resnet50", activation="smoothrelu", arguments=SMALL, input_size=96)
    images = torch.rand(2, 3, 75, 75)
    with torch.no_grad():
        assert torch.equal(found.model(images), reference()(images))
    assert found.model.pretrained_cfg["input_size"] == (3, 96, 96) and found.model.pretrained_cfg["mean"] == (0.5,) * 3
    assert not found.averaged and "global_step" in found.unused and "linear/W/Momentum" in found.unused
    folder = save_pretrained(found.model, tmp_path / "saved")
    push_folder(folder, "me/sat")
    with torch.no_grad():
        assert torch.equal(from_pretrained("me/sat", cache_dir=tmp_path / "cache")(images), found.model(images))
    with pytest.raises(RuntimeError, match="load_with_smoothify_tf_resnet50"):
        timm.create_model(f"local-dir:{folder}", pretrained=True)


def test_moving_averages_are_taken_where_all_are_there(good: dict[str, torch.Tensor], tmp_path: Path) -> None:
    weights = {name for name in good if f"{name}/Momentum" in good or "gamma" in name}
    averages = {f"{name}/ExponentialMovingAverage": good[name] + 1 for name in weights}
    prefix = write(tmp_path / "model", good | averages)
    found = import_sat(prefix, model="resnet50", activation="smoothrelu", arguments=SMALL)
    assert found.averaged
    raw = import_sat(prefix, model="resnet50", activation="smoothrelu", arguments=SMALL, averaged=False)
    assert torch.allclose(found.model.fc.bias, raw.model.fc.bias + 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"linear/W": None}, "linear/W is missing"),
        ({"linear/W": torch.zeros(7, 5)}, r"linear/W is \(7, 5\), for fc.weight of \(5, 32\)"),
        ({"linear/b": torch.zeros(5, dtype=torch.int64)}, "linear/b holds torch.int64"),
        ({"group2/block1/conv1/W": torch.zeros(1, 1, 2, 2)}, r"group2/block1/conv1/W .* has no place"),
        ({"evil/../W": torch.zeros(3)}, r"evil/../W .* has no place"),
    ],
    ids=str,
)
def test_of_another_network(
    change: dict[str, Any], message: str, good: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    changed = {name: value for name, value in (good | change).items() if value is not None}
    with pytest.raises(HubError, match=message):
        imported(write(tmp_path / "model", changed))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"shape": (2**39, 2**39)}, "which disagree|is \\("),
        ({"shape": (2**50,)}, "not a whole index"),
        ({"size": 2**60}, "which disagree"),
        ({"offset": 2**60}, "beyond the end"),
        ({"dtype": 7}, "TensorFlow's type 7"),
        ({"dtype": 2}, "which disagree"),
        ({"sliced": True}, "partitioned"),
        ({"offset": 4}, "another checksum"),
    ],
    ids=str,
)
def test_an_index_that_lies(wrong: dict[str, Any], message: str, good: dict[str, torch.Tensor], tmp_path: Path) -> None:
    with pytest.raises(HubError, match=message):
        imported(write(tmp_path / "model", good, **{"linear/b": wrong}))


def test_damaged_and_missing_files(good: dict[str, torch.Tensor], tmp_path: Path) -> None:
    prefix = write(tmp_path / "model", good)
    data = tmp_path / "model.data-00000-of-00001"
    whole = data.read_bytes()
    data.write_bytes(whole[:-100])
    with pytest.raises(HubError, match="truncated"):
        imported(prefix)
    data.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
    with pytest.raises(HubError, match="is damaged"):
        imported(prefix)
    data.unlink()
    with pytest.raises(HubError, match=r"lie beside the \.index"):
        imported(prefix)
    with pytest.raises(HubError, match="holds 0 checkpoints"):
        (tmp_path / "empty").mkdir()
        imported(tmp_path / "empty")


def test_names_that_the_authors_did_not_release(good: dict[str, torch.Tensor], tmp_path: Path) -> None:
    prefix = write(tmp_path / "model", good)
    with pytest.raises(UnknownNameError, match="resnet50"):
        import_sat(prefix, model="resnet5")
    with pytest.raises(UnknownNameError, match="silu"):
        import_sat(prefix, model="resnet50", activation="slu")
    with pytest.raises(HubError, match=r"smoothrelu_beta .* has no place"):
        imported(prefix, activation="silu")
    with pytest.raises(HubError, match="have silu, not gelu"):
        import_sat(prefix, model="efficientnet_b0", activation="gelu")
    with pytest.raises(HubError, match="no EfficientNet"):
        import_sat(prefix, model="efficientnet_b0")


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(place=st.integers(0, 10**6), value=st.integers(0, 255), cut=st.integers(0, 200))
def test_any_damage_of_the_index_is_noticed_or_harmless(
    place: int, value: int, cut: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    prefix = write(tmp_path_factory.mktemp("fuzz") / "m", {"a": torch.ones(3), "b/c": torch.zeros(2, 2)})
    index = Path(f"{prefix}.index")
    whole = bytearray(index.read_bytes())
    whole[place % len(whole)] = value
    index.write_bytes(whole[: len(whole) - cut] if cut % 3 else whole)
    with suppress(HubError):
        found = Checkpoint(prefix)
        assert {name: found[name].shape for name in found} == {"a": (3,), "b/c": (2, 2)}


def test_names_that_grow_from_one_to_the_next_take_no_memory() -> None:
    """Each shares all of the one before and adds a byte: a file of a megabyte would be gigabytes of names."""
    shared = b"".join(varint(length) + varint(1) + varint(0) + b"a" for length in range(2000))
    with pytest.raises(ValueError, match="a name is longer than any variable's"):
        list(_pairs(shared + (0).to_bytes(4, "little")))


def test_checksums_of_any_length() -> None:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    for length in (0, 1, 9, 1023, 1024, 1025, 5000):
        data = bytes(index * 7 % 251 for index in range(length))
        register = 0xFFFFFFFF
        for byte in data:
            register = table[(register ^ byte) & 0xFF] ^ register >> 8
        assert crc32c(data) == register ^ 0xFFFFFFFF


def test_the_command_refuses_on_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(HubError, match=r"there is no nothing\.index"):
        main(["import-sat", "nothing", "--model", "resnet50", "--act", "silu"])
    assert list(tmp_path.iterdir()) == []
