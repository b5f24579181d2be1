"""Folders: what is saved loads as the same model, and saving leaves nothing else behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import timm
import torch
from torch import nn

from smoothify import surgery
from smoothify.errors import HubError, OutputExistsError, UnsupportedModelError
from smoothify.hub import from_pretrained, save_pretrained
from smoothify.models import PixelClassifier
from tests.hub.conftest import images, same_logits, small_model

NATIVE = ("silu", "gelu", "gelu_tanh", "mish", "elu", "celu", "quick_gelu")
OURS = ("celu(alpha=1.4)", "softplus", "parametric_softplus", "smoothrelu", "squareplus", "smelu")


@pytest.mark.parametrize("to", [None, *NATIVE, *OURS])
def test_logits_are_identical_after_a_round_trip(to: str | None, tmp_path: Path) -> None:
    model = small_model(to)
    folder = save_pretrained(model, tmp_path / "out")
    loaded = from_pretrained(folder)
    assert type(loaded) is type(model) and not loaded.training
    assert same_logits(model, loaded)
    assert surgery.conversions(loaded) == surgery.conversions(model)
    assert loaded.pretrained_cfg["mean"] == (0.2860,) and loaded.pretrained_cfg["input_size"] == (1, 28, 28)
    config = config_of(folder)
    if to in OURS:
        assert config["smoothify"]["native"] == []
        assert "needs smoothify" in (folder / "README.md").read_text()
        with pytest.raises(RuntimeError, match=r"Unknown model .load_with_smoothify_resnet18"):
            timm.create_model(f"local-dir:{folder}", pretrained=True)
    else:
        assert config["smoothify"]["native"] == ["timm"]
        assert config["model_args"].get("act_layer") == to
        native = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
        with torch.no_grad():
            torch.testing.assert_close(native(images()), model(images()), rtol=0, atol=1e-4)
        exact = config["smoothify"]["native_exact"]
        assert same_logits(model, native) or not exact
        assert ("equal to rounding" in (folder / "README.md").read_text()) == (not exact)


def test_a_partial_conversion_is_not_claimed_native(tmp_path: Path) -> None:
    """A fresh network whose residual branches end in zeros has the same logits with SiLU in all of them."""
    model = small_model()
    for name, parameter in model.named_parameters():
        if name.endswith("bn2.weight"):
            nn.init.zeros_(parameter)
    surgery.convert_(model, to="silu", only="layer4.0.act1", strict=False)
    folder = save_pretrained(model, tmp_path / "out")
    assert config_of(folder)["smoothify"]["native"] == []
    assert isinstance(from_pretrained(folder).layer3[0].act1, nn.ReLU)


def test_two_conversions_are_replayed_in_order(tmp_path: Path) -> None:
    model = small_model()
    surgery.convert_(model, to="softplus", only="layer4.*", strict=False)
    surgery.convert_(model, to="silu")
    loaded = from_pretrained(save_pretrained(model, tmp_path / "out"))
    assert same_logits(model, loaded) and isinstance(loaded.layer4[0].act1, nn.Softplus)


def test_a_mapping_and_calls_of_functions_are_replayed(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = timm.create_model("mobilevitv2_050", num_classes=3).eval()
    surgery.convert_(model, to={"relu": "softplus"})
    loaded = from_pretrained(save_pretrained(model, tmp_path / "out"))
    pixels = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(model(pixels), loaded(pixels))


def test_what_was_loaded_is_saved_again_byte_for_byte(tmp_path: Path) -> None:
    for to in ("silu", "smoothrelu"):
        first = save_pretrained(small_model(to), tmp_path / to)
        second = save_pretrained(from_pretrained(first), tmp_path / f"{to}-again")
        for path in first.iterdir():
            assert path.read_bytes() == (second / path.name).read_bytes(), path.name


def test_to_converts_while_loading(tmp_path: Path) -> None:
    folder = save_pretrained(small_model(), tmp_path / "out")
    loaded = from_pretrained(folder, to="silu")
    assert not any(isinstance(module, nn.ReLU) for module in loaded.modules())


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("resnet18", {"act_layer": nn.SiLU, "norm_layer": "groupnorm", "global_pool": "max"}),
        ("mobilenetv3_small_050", {"num_classes": 7, "drop_rate": 0.2, "in_chans": 1}),
        ("vit_tiny_patch16_224", {"num_classes": 3, "img_size": 64, "depth": 2, "global_pool": "avg"}),
        ("levit_128s", {"num_classes": 3, "num_heads": (2, 2, 2), "depth": (1, 1, 1)}),
        ("convnext_atto", {"depths": (1, 1, 1, 1), "num_classes": 3}),
    ],
)
def test_arguments_of_create_model_survive(name: str, options: dict[str, object], tmp_path: Path) -> None:
    model = timm.create_model(name, **options)
    folder = save_pretrained(model, tmp_path / "out")
    assert config_of(folder)["smoothify"]["native"] == ["timm"]
    assert sorted(from_pretrained(folder).state_dict()) == sorted(model.state_dict())


def test_what_only_training_uses_survives_where_it_was_an_argument(tmp_path: Path) -> None:
    model = timm.create_model("test_resnet", num_classes=3, drop_rate=0.3, drop_path_rate=0.2)
    folder = save_pretrained(surgery.convert(model, to="silu"), tmp_path / "out")
    for loaded in (from_pretrained(folder), timm.create_model(f"local-dir:{folder}", pretrained=True)):
        assert loaded.drop_rate == 0.3 and loaded.layer4[0].drop_path.drop_prob == pytest.approx(0.2)


def test_a_new_head_and_pooling_survive(tmp_path: Path) -> None:
    model = small_model("silu")
    model.reset_classifier(4, global_pool="max")
    loaded = from_pretrained(save_pretrained(model, tmp_path / "out"))
    assert same_logits(model, loaded) and loaded.num_classes == 4


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_precision_survives(dtype: torch.dtype, tmp_path: Path) -> None:
    model = small_model("silu").to(dtype)
    loaded = from_pretrained(save_pretrained(model, tmp_path / "out"))
    assert {parameter.dtype for parameter in loaded.parameters()} == {dtype}


def test_composite_activations_survive(tmp_path: Path) -> None:
    model = small_model(act_layer="leaky_relu")
    surgery.convert_(model, to="celu(alpha=1.4)")
    folder = save_pretrained(model, tmp_path / "out")
    assert same_logits(model, from_pretrained(folder)) and config_of(folder)["smoothify"]["native"] == []


def test_channels_last_frozen_and_compiled_models_are_saved(tmp_path: Path) -> None:
    model = small_model("silu").to(memory_format=torch.channels_last).requires_grad_(False)
    save_pretrained(torch.compile(model), tmp_path / "out")
    assert same_logits(small_model("silu"), from_pretrained(tmp_path / "out"))


def test_the_callers_model_and_random_state_are_untouched(tmp_path: Path) -> None:
    model = small_model("silu").train()
    model.bn1.eval()
    (loss := model(torch.rand(2, 1, 28, 28)).sum()).backward()
    assert loss.requires_grad
    modes = {name: module.training for name, module in model.named_modules()}
    state = {name: value.clone() for name, value in model.state_dict().items()}
    gradients = [parameter.grad.clone() for parameter in model.parameters()]
    ran: list[int] = []
    random = torch.get_rng_state()
    save_pretrained(model, tmp_path / "out")
    from_pretrained(tmp_path / "out")
    assert torch.equal(random, torch.get_rng_state())
    assert modes == {name: module.training for name, module in model.named_modules()} and not ran
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), gradients, strict=True))


def test_changes_made_by_hand_are_refused_by_name(tmp_path: Path) -> None:
    model = small_model("silu")
    model.layer2[0].act1 = nn.Softplus()
    with pytest.raises(HubError, match=r"logits differ .*layer2.0.act1 is Softplus, rebuilt as SiLU.*model_args="):
        save_pretrained(model, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_arguments_that_timm_forgot_can_be_passed(tmp_path: Path) -> None:
    model = small_model("silu")
    del model._model_args["layers"]
    with pytest.raises(HubError, match=r"layer1.1.* passed as model_args="):
        save_pretrained(model, tmp_path / "out")
    save_pretrained(model, tmp_path / "out", model_args={"layers": (1, 1, 1, 1)})


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Linear(2, 1), "built by none of timm, torchvision, transformers"),
        (nn.DataParallel(nn.Linear(2, 1)), "pass model.module"),
        (PixelClassifier(nn.Linear(2, 1), mean=(0.0,), std=(1.0,)), "pass its .model"),
    ],
)
def test_other_models_are_refused_with_a_remedy(model: nn.Module, message: str, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match=message):
        save_pretrained(model, tmp_path / "out")


def test_a_factory_cannot_be_saved(tmp_path: Path) -> None:
    model = small_model()
    surgery.convert_(model, to=nn.SiLU)
    with pytest.raises(HubError, match="factory"):
        save_pretrained(model, tmp_path / "out")


def test_nothing_is_overwritten_unless_asked(tmp_path: Path) -> None:
    folder = save_pretrained(small_model(), tmp_path / "out")
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(OutputExistsError, match="overwrite=True"):
        save_pretrained(small_model("silu"), folder)
    save_pretrained(small_model("silu"), folder, overwrite=True, files={"picture.png": b"png"})
    assert same_logits(from_pretrained(folder), small_model("silu"))
    assert (folder / "notes.txt").read_text() == "mine" and (folder / "picture.png").read_bytes() == b"png"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


def test_a_folder_of_other_things_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "home" / "letters").mkdir(parents=True)
    with pytest.raises(HubError, match="not replaced"):
        save_pretrained(small_model(), tmp_path / "home", overwrite=True)
    assert (tmp_path / "home" / "letters").is_dir()


@pytest.mark.parametrize("config", ['{"mine": 1}', '["smoothify"]', "1", "{", None])
def test_only_a_folder_that_was_saved_is_replaced(config: str | None, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_text("my own")
    if config is not None:
        (tmp_path / "config.json").write_text(config)
    with pytest.raises(HubError, match="not replaced"):
        save_pretrained(small_model(), tmp_path, overwrite=True)
    assert (tmp_path / "model.safetensors").read_text() == "my own"


def test_hidden_folders_are_other_programs_own(tmp_path: Path) -> None:
    """An evaluation keeps one beside the weights while it runs, and so do notebooks and git."""
    folder = save_pretrained(small_model(), tmp_path / "out")
    for name in (".evaluation.json.partial", ".ipynb_checkpoints"):
        (folder / name).mkdir()
        (folder / name / "kept.json").write_text("{}")
    save_pretrained(small_model("silu"), folder, overwrite=True)
    assert same_logits(from_pretrained(folder), small_model("silu"))
    assert len(list(folder.glob(".*/kept.json"))) == 2


@pytest.mark.parametrize("name", ["../x.png", "/etc/x", "a/b.png", ".hidden", "config.json", ""])
def test_names_of_extra_files_are_checked(name: str, tmp_path: Path) -> None:
    with pytest.raises(HubError, match="cannot be the name"):
        save_pretrained(small_model(), tmp_path / "out", files={name: b""})
    assert list(tmp_path.iterdir()) == []


def config_of(folder: Path) -> dict[str, dict[str, object]]:
    found: dict[str, dict[str, object]] = json.loads((folder / "config.json").read_text())
    return found
