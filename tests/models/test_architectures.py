"""The paper's networks that timm lacks: their sizes, and what registering them leaves alone."""

from pathlib import Path

import pytest
import torch

from smoothify import convert_, from_pretrained, save_pretrained
from smoothify.models import build
from smoothify.models.architectures import ARCHITECTURES, register


@pytest.mark.parametrize(
    ("name", "millions"),
    [("resnet50", 25.557), ("efficientnet_l1", 272.631), ("resnet18_cifar", 11.174)],
)
def test_sizes(name: str, millions: float) -> None:
    """ResNet-50 as in torchvision; L1 lies between timm's B7 (66.3) and L2 (480.3); 11.17 is CIFAR's ResNet-18."""
    with torch.device("meta"):
        model = build(name)
    assert sum(parameter.numel() for parameter in model.parameters()) / 1e6 == pytest.approx(millions, abs=5e-4)


@pytest.mark.parametrize(("name", "layers"), [("resnext50_32x8d", (3, 4, 6, 3)), ("resnext152_32x8d", (3, 8, 36, 3))])
def test_resnext_has_32_groups_of_8_channels(name: str, layers: tuple[int, ...]) -> None:
    with torch.device("meta"):
        model = build(name)
    count, inputs = 3 * 64 * 49 + 2 * 64 + 2048 * 1000 + 1000, 64
    for stage, blocks in enumerate(layers):
        inner = outer = 256 * 2**stage
        for block in range(blocks):
            count += inputs * inner + inner * (inner // 32) * 9 + inner * outer + 2 * (2 * inner + outer)
            count += inputs * outer + 2 * outer if block == 0 else 0
            inputs = outer
    assert sum(parameter.numel() for parameter in model.parameters()) == count
    assert (model.layer1[0].conv2.groups, model.layer1[0].conv2.out_channels) == (32, 256)
    assert model.layer2[0].conv2.stride == (2, 2), "v1.5 has its stride on the 3×3 convolution"


def test_efficientnet_l1_is_as_wide_and_deep_as_the_paper_says() -> None:
    with torch.device("meta"):
        model = build("efficientnet_l1", arguments={"drop_rate": 0.5, "drop_path_rate": 0.2})
    # B0's (channels, blocks) of each stage, times 3.9 to the nearest multiple of 8, times 3.7 rounded up
    assert [stage[-1].bn3.num_features for stage in list(model.blocks)[1:]] == [96, 160, 312, 440, 752, 1248]
    assert [len(stage) for stage in model.blocks] == [4, 8, 8, 12, 12, 15, 4]
    assert model.drop_rate == 0.5
    assert model.blocks[-1][-1].drop_path.drop_prob > 0.15


def test_cifar_resnet_keeps_the_resolution_in_its_stem() -> None:
    model = build("resnet18_cifar").eval()
    assert (model.conv1.kernel_size, model.conv1.stride) == ((3, 3), (1, 1))
    stages = model.forward_intermediates(torch.rand(1, 3, 32, 32), intermediates_only=True)
    assert [tuple(stage.shape[1:]) for stage in stages][1:] == [(64, 32, 32), (128, 16, 16), (256, 8, 8), (512, 4, 4)]
    assert [info["reduction"] for info in model.feature_info] == [1, 1, 2, 4, 8]


def test_registering_overwrites_nothing_of_timms() -> None:
    import timm

    before = {name: timm.model_entrypoint(name) for name in timm.list_models() if not name.startswith("smoothify_")}
    register()
    register()
    assert {name: timm.model_entrypoint(name) for name in before} == before
    added = {name for name in timm.list_models() if name not in before}
    assert added == {architecture.__name__ for architecture in ARCHITECTURES}
    assert all(name.startswith("smoothify_") for name in added)


def test_a_registered_model_is_saved_and_loaded(tmp_path: Path) -> None:
    model = build("resnet18_cifar", num_classes=4, arguments={"layers": [1, 1, 1, 1]}).eval()
    convert_(model, to="silu")
    save_pretrained(model, tmp_path / "saved")
    loaded = from_pretrained(tmp_path / "saved")
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(loaded(images), model(images))
    assert loaded.pretrained_cfg["std"] == model.pretrained_cfg["std"]


def test_timm_alone_refuses_what_it_cannot_build(tmp_path: Path) -> None:
    import timm

    save_pretrained(build("resnet18_cifar", arguments={"layers": [1, 1, 1, 1]}), tmp_path / "saved")
    with pytest.raises(RuntimeError, match="load_with_smoothify"):
        timm.create_model(f"local-dir:{tmp_path / 'saved'}", pretrained=True)
