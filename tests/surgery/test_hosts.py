"""The names in the host tables are names that the hosts have."""

import importlib
from types import ModuleType

import pytest
import timm
import torch
from torch import nn

import smoothify
from smoothify.surgery.hosts import timm as timm_names
from smoothify.surgery.hosts import torchvision as torchvision_names
from smoothify.surgery.hosts import transformers as transformers_names

NAMES = [
    name
    for table in (timm_names.MODULES, timm_names.FUNCTIONS, transformers_names.MODULES)
    for names in table.values()
    for name in names
]
NAMES += [*timm_names.SMOOTH, *transformers_names.SMOOTH, *torchvision_names.OUTPUT_CONSTRAINTS]


@pytest.mark.parametrize("name", NAMES)
def test_every_name_exists_and_says_itself_so(name: str) -> None:
    module, _, attribute = name.rpartition(".")
    pytest.importorskip(name.partition(".")[0])
    thing = getattr(importlib.import_module(module), attribute)
    assert not isinstance(thing, ModuleType)
    assert f"{thing.__module__}.{thing.__qualname__}" == name


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv3_small_050", "efficientnet_b0", "vit_tiny_patch16_224"])
def test_timm_models_keep_class_and_keys(name: str) -> None:
    model = timm.create_model(name)
    converted = smoothify.convert(model)
    assert type(converted) is type(model)
    assert list(converted.state_dict()) == list(model.state_dict())
    assert not smoothify.inspect(converted).remaining
    assert not any(isinstance(module, nn.ReLU) for module in converted.modules())


@pytest.mark.parametrize(
    ("name", "channels"),
    [("test_resnet", 5), ("test_vit", 13), ("convnext_atto", 6), ("mobilevitv2_050", 1), ("tresnet_m", 3)],
)
def test_timm_models_of_any_number_of_channels_are_verified(name: str, channels: int) -> None:
    report = smoothify.convert_(timm.create_model(name, in_chans=channels), {"relu": "silu"}, strict=False)
    assert report.verified and report.modes == ("train", "eval")


def test_a_transformers_config_follows_only_where_it_builds_the_same_model() -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.MobileNetV1Config(depth_multiplier=0.25, image_size=32)
    model = transformers.MobileNetV1ForImageClassification(config).eval()
    report = smoothify.convert_(model, "silu")
    assert model.config.hidden_act == "silu"
    assert "hidden_act" in str(report)
    rebuilt = type(model)(model.config).eval()
    rebuilt.load_state_dict(model.state_dict())
    x = torch.randn(1, 3, 32, 32)
    assert torch.equal(rebuilt(x).logits, model(x).logits)
    # The first layer of each ResNet block in transformers is a ReLU whatever the config says.
    small = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"}
    stubborn = transformers.ResNetForImageClassification(transformers.ResNetConfig(**small))
    assert not smoothify.convert_(stubborn, "silu").followed
    assert stubborn.config.hidden_act == "relu"


def test_a_host_class_that_does_not_build_twice_is_converted_and_its_config_left_alone() -> None:
    transformers = pytest.importorskip("transformers")

    class Once(transformers.MobileNetV1ForImageClassification):
        built = False

        def __init__(self, config: object) -> None:
            if Once.built:
                raise OSError("its weights are not to be had")
            super().__init__(config)
            Once.built = True

    model = Once(transformers.MobileNetV1Config(depth_multiplier=0.25, image_size=32))
    report = smoothify.convert_(model, "silu")
    assert report.verified and not report.followed
    assert model.config.hidden_act == "relu6"


def test_gamma_act_and_the_tlu_of_timm() -> None:
    nfnet = timm.create_model("test_nfnet", act_layer="relu")
    report = smoothify.convert_(nfnet)
    assert report.verified
    tlu = nn.Sequential(nn.Conv2d(3, 4, 1), timm.layers.FilterResponseNormTlu2d(4))
    report = smoothify.convert_(tlu)
    assert {site.becomes for site in report.converted} == {"τ + silu(x − τ)"}
    assert report.smooth


def test_the_output_constraint_of_fcos_stays_and_the_report_says_so() -> None:
    fcos = pytest.importorskip("torchvision.models.detection.fcos")
    head = fcos.FCOSRegressionHead(8, 1, num_convs=1, norm_layer=lambda channels: nn.GroupNorm(2, channels))
    report = smoothify.convert_(head, example_input=([torch.randn(2, 8, 4, 4)],))
    assert [site.kind for site in report.converted] == ["module"]
    assert [site.note for site in report.remaining] == ["kept: a constraint on FCOS's box distances"]


def test_a_probe_leaves_no_trace_in_a_model_that_caches_tensors() -> None:
    model = timm.create_model("levit_128s").eval()
    smoothify.inspect(model)
    with torch.no_grad():
        assert model(torch.randn(1, 3, 224, 224)).shape == (1, 1000)
    smoothify.inspect(model)
