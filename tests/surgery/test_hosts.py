"""The names in the host tables are names that the hosts have."""

import importlib
from types import ModuleType

import pytest
import timm
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
