"""What ``accelerate launch`` says beside the config is recorded, or refused; nothing of it takes effect silently."""

import dataclasses
from collections.abc import Iterator

import pytest
import torch
from accelerate import Accelerator, PartialState
from accelerate.state import AcceleratorState

import smoothify
from smoothify.errors import ConfigError
from smoothify.training import Config, EngineConfig, Silent, train
from smoothify.training.accelerated import start
from smoothify.training.saving import state
from smoothify.training.saving.run_folder import refuse_occupied
from smoothify.training.setup import as_started


@pytest.fixture
def launcher(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Accelerate keeps what the first accelerator of a process was told."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield monkeypatch
    AcceleratorState._reset_state(reset_partial_state=True)


def test_accumulation_is_the_configs(launcher: pytest.MonkeyPatch) -> None:
    launcher.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "100")
    assert start(Config()).gradient_accumulation_steps == 1
    assert start(Config(engine=EngineConfig(accumulation=4))).gradient_accumulation_steps == 4


@pytest.mark.parametrize("name", ["FSDP", "DEEPSPEED", "MEGATRON_LM"])
def test_what_would_wrap_the_model_is_refused(name: str, launcher: pytest.MonkeyPatch) -> None:
    launcher.setenv(f"ACCELERATE_USE_{name}", "true")
    with pytest.raises(ConfigError, match=f"accelerate is configured for {name.lower()}, .* set engine.fsdp to shard"):
        start(Config())


def test_mixed_precision_is_recorded_and_part_of_the_run(tiny: Config, launcher: pytest.MonkeyPatch) -> None:
    tiny = dataclasses.replace(tiny, epochs=1)
    launcher.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    folder = train(tiny).folder
    for file in (folder.config, folder.best / "training.yaml"):
        assert "mixed_precision: bf16" in file.read_text()
    assert "| engine.mixed_precision | bf16 |" in (folder.best / "README.md").read_text()
    AcceleratorState._reset_state(reset_partial_state=True)
    launcher.delenv("ACCELERATE_MIXED_PRECISION")
    with pytest.raises(ConfigError, match=r"differs from this command in engine\.mixed_precision"):
        train(tiny, resume=True)


def test_a_launchers_precision_that_does_not_go_with_the_config_is_refused(launcher: pytest.MonkeyPatch) -> None:
    config = Config(engine=EngineConfig(fsdp=True))
    accelerator = start(config)
    launcher.setattr(type(accelerator), "mixed_precision", "fp16")
    with pytest.raises(ConfigError, match=r"engine\.fsdp does not go with engine\.mixed_precision=fp16"):
        as_started(config, accelerator)
    launcher.setattr(type(accelerator), "mixed_precision", "fp8")
    with pytest.raises(ConfigError, match=r"engine\.mixed_precision=fp8, as the launcher says"):
        as_started(Config(), accelerator)


def test_runs_of_one_process_may_differ_in_precision(tiny: Config, launcher: pytest.MonkeyPatch) -> None:
    tiny = dataclasses.replace(tiny, epochs=1)
    for precision, batch_size in (("bf16", 16), ("no", 16), ("bf16", 81), (None, 16)):
        engine, output = EngineConfig(mixed_precision=precision), f"{tiny.output}-{precision}"
        config = dataclasses.replace(tiny, output=output, engine=engine, batch_size=batch_size)
        if batch_size > 80:  # a run that is refused leaves nothing either
            with pytest.raises(ConfigError, match="exceeds the 80 training images"):
                train(config, overwrite=True)
        else:
            recorded = train(config, overwrite=True).folder.config.read_text().replace("'", "")
            assert f"mixed_precision: {precision or 'no'}" in recorded
        assert not AcceleratorState._shared_state and not PartialState._shared_state


def test_an_accelerator_that_was_there_stays_and_decides(tiny: Config, launcher: pytest.MonkeyPatch) -> None:
    own = Accelerator(cpu=True, mixed_precision="bf16", gradient_accumulation_steps=4)
    tiny = dataclasses.replace(tiny, epochs=1)
    refused = r"mixed_precision=no: this program has made an Accelerator with mixed_precision='bf16'.*make it with 'no'"
    with pytest.raises(ConfigError, match=refused):
        train(dataclasses.replace(tiny, engine=EngineConfig(mixed_precision="no")))
    assert "mixed_precision: bf16" in train(tiny).folder.config.read_text()
    assert own.mixed_precision == "bf16" and own.num_processes == 1
    assert own.gradient_accumulation_steps == 4 and own.sync_gradients


@pytest.mark.parametrize(
    ("before", "now", "accepted"),
    [("fp16", "bf16", True), ("fp16", "no", True), ("bf16", "no", False), ("bf16", "fp16", False)],
)
def test_only_float16_is_a_precision_to_leave_on_resuming(
    tiny: Config, before: str, now: str, accepted: bool, launcher: pytest.MonkeyPatch
) -> None:
    """The scaler that a checkpoint of float16 holds is not needed after it; before it, there would be none."""
    attack = dataclasses.replace(tiny.attack, precision="same")  # which "auto" takes for bf16 on some machines only
    tiny, told = dataclasses.replace(tiny, epochs=2, attack=attack), Notes()
    folder = train(dataclasses.replace(tiny, epochs=1)).folder
    checkpoint = state.load(folder.checkpoints, print)
    checkpoint.states["scaler"] = {"scale": 65536.0}
    state.save(checkpoint, folder.checkpoints)
    first, second = (dataclasses.replace(tiny, engine=EngineConfig(mixed_precision=one)) for one in (before, now))
    folder.write_config(first)
    if accepted:
        assert train(second, resume=True, reporter=told).best_epoch in (1, 2)
        assert f"After step 5 with engine.mixed_precision={now} in place of fp16." in told
    else:
        with pytest.raises(ConfigError, match=r"differs from this command in engine\.mixed_precision; drop"):
            refuse_occupied(second, resume=True)


@pytest.mark.parametrize(("objective", "targeted"), [("trades(beta=2)", False), ("pgd_at", True)])
def test_mixed_precision_trains_every_parameter(
    objective: str, targeted: bool, tiny: Config, launcher: pytest.MonkeyPatch
) -> None:
    """Both look at the images without gradients first, under the autocast that the update is computed in."""
    config = dataclasses.replace(
        tiny,
        epochs=1,
        objective=objective,
        engine=EngineConfig(mixed_precision="bf16"),
        attack=dataclasses.replace(tiny.attack, precision="same", targeted=targeted),
    )
    slow, fast = (
        dict(smoothify.from_pretrained(train(one).folder.last).named_parameters())
        for one in (config, dataclasses.replace(config, lr=2 * config.lr, output=f"{config.output}-fast"))
    )
    assert [name for name, value in slow.items() if torch.equal(value, fast[name])] == []


class Notes(list[str], Silent):
    def note(self, text: str) -> None:
        self.append(text)
