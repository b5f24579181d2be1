"""Mapping every function to itself changes no bit of outputs and gradients, in a member of every quick family."""

import warnings

import pytest

from . import zoo
from .identity import identical

# The quick ones: three seconds or less. The whole sample was run once (docs/surgery.md).
IDENTICAL = {
    "timm": """
        test_byobnet test_convnext cpubone_nano cspnext_tiny densenet121 dla34 test_efficientnet
        efficientvit_b0 hardcorenas_a hgnet_tiny lcnetv2_small lowformer_b0 test_mambaout test_maxvit
        lcnet_050 test_nfnet repghostnet_050 repvit_m1 resnest14d test_resnet resnetv2_18 selecsls42
        legacy_seresnet18 skresnet18 starnet_s1 twins_svt_small visformer_tiny test_vit
        vit_tiny_r_s16_p8_224 test_vit_relpos ese_vovnet19b_slim legacy_xception xception41
        xcit_nano_12_p8_224
    """,
    "torchvision": """
        alexnet deeplabv3_resnet50 densenet121 mobilenet_v3_small resnet18 shufflenet_v2_x0_5 squeezenet1_0
    """,
    "transformers": """
        HGNetV2ForImageClassification MobileNetV1ForImageClassification MobileNetV2ForImageClassification
        MobileViTV2ForImageClassification PPLCNetForImageClassification RegNetForImageClassification
        SwiftFormerForImageClassification TextNetForImageClassification TimmWrapperForImageClassification
        PPLCNetV4Backbone RTDetrResNetBackbone UVDocBackbone
    """,
}
NAMES = [f"{host}/{model}" for host, models in IDENTICAL.items() for model in models.split()]
ROWS = zoo.every_model()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", NAMES)
def test_identity_surgery_changes_no_bit(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zoo, "ON_CPU", True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rewritten, differing = identical(ROWS[name]())
    assert rewritten and not differing
