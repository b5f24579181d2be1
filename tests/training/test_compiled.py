"""Compiled training comes to what training as it is written comes to, whatever is wrapped around the model."""

import functools
from dataclasses import replace

import pytest
import torch

from smoothify import from_pretrained
from smoothify.training import AttackConfig, AveragingConfig, Config, EngineConfig, ModelConfig, train


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # dynamo itself looks there
@pytest.mark.filterwarnings("ignore:Dynamo does not know how to trace the builtin")  # of torch 2.8, and goes on
@pytest.mark.parametrize(
    ("objective", "averaging", "attack"),
    [
        ("pgd_at + awp(gamma=0.05)", AveragingConfig("ema", decay=0.9), {"precision": "same"}),
        ("trades(beta=2)", AveragingConfig("swa"), {"precision": "replica"}),
        ("pgd_at", AveragingConfig(), {"method": "free", "replays": 2}),
    ],
    ids=["awp, ema", "replica, swa", "free"],
)
def test_compiled_equals_eager(
    objective: str, averaging: AveragingConfig, attack: dict, tiny: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The compiler's front ends trace the model as ever; writing kernels, which takes a minute, is left out."""
    compiled = []

    def compile_without_kernels(self: torch.nn.Module, compile_=torch.nn.Module.compile) -> None:
        compiled.append(self)
        compile_(self, backend="aot_eager")

    monkeypatch.setattr(torch.nn.Module, "compile", compile_without_kernels)
    model = ModelConfig(
        "timm/test_vit",
        "keep",
        arguments={"img_size": 28, "patch_size": 7, "in_chans": 1},
        input_size=(1, 28, 28),
        mean=(0.5,),
        std=(0.3,),
    )
    common = {"norm": "l2", "epsilon": 0.5, "check": "pgd-1", "final": "pgd-1"}
    config = replace(
        tiny, epochs=1, objective=objective, averaging=averaging, model=model, attack=AttackConfig(**common, **attack)
    )
    run = functools.partial(train, overwrite=True)
    eager = from_pretrained(run(config).folder.last).state_dict()
    assert not compiled
    found = from_pretrained(run(replace(config, engine=EngineConfig(compile=True))).folder.last).state_dict()
    assert len(compiled) == 2, "the model that is trained and the one that is attacked"
    tolerance = 1e-2 if attack.get("precision") == "replica" else 1e-5  # bfloat16 rounds where the compiler fuses
    assert max((eager[name] - found[name]).abs().max().item() for name in eager) < tolerance
