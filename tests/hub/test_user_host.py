"""Models of the user's own code: saved, loaded and trained by what the caller names, never the repository."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import nn

import smoothify
from smoothify import evaluate
from smoothify.__main__ import main
from smoothify.errors import ConfigError, HubError, SmoothifyError
from smoothify.hub import from_pretrained, push_to_hub, save_pretrained
from smoothify.models import build
from smoothify.surgery import conversions
from smoothify.training import Config, ModelConfig, train
from tests.hub.hostile import changed
from tests.hub.server import Hub

CODE = """
import torch
from torch import nn

class Net(nn.Module):
    pretrained_cfg = {"input_size": (1, 28, 28), "mean": (0.5,), "std": (0.25,)}

    def __init__(self, width=4, num_classes=2):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, width, 5, 2), nn.BatchNorm2d(width), nn.ReLU())
        self.head = nn.Linear(width * 144, num_classes)

    def forward(self, images):
        return self.head(torch.relu(self.features(images)).flatten(1))

def small_net(width=4, num_classes=2):
    return Net(width, num_classes)

def not_for_meta(num_classes=2):
    net = Net(num_classes=num_classes)
    net.features[0].weight.sum().item()
    return net

class Undescribed(Net):
    pretrained_cfg = None

class Scaled(Net):
    def forward(self, images):
        return 1.01 * super().forward(images)

class Shared(Net):
    def __init__(self, act=nn.ReLU()):
        super().__init__()
        self.features[2] = act

ACT = nn.ReLU()

def shares_a_global():
    return Shared(ACT)

class Keeping(Net):
    def forward(self, images):
        self.kept = super().forward(images)
        return self.kept

class Counting(Net):
    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, images):
        self.calls += 1
        return super().forward(images)

def no_model(**arguments):
    return "no model"

nothing = 7
"""


@pytest.fixture
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The user's own module, ``my_nets``, on the path."""
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "my_nets.py").write_text(CODE)
    (folder / "broken_nets.py").write_text("import no_such_library")
    (folder / "failing_nets.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(str(folder))
    import my_nets

    yield my_nets
    sys.modules.pop("my_nets", None)


def logits(model: nn.Module) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model.eval()(torch.rand(3, 1, 28, 28, generator=torch.Generator().manual_seed(1)))
    return found


def trained(model: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    smoothify.convert_(model, to="smoothrelu")
    model(torch.rand(8, 1, 28, 28))
    return model


@pytest.mark.parametrize("by", ["class", "function", "path"])
def test_a_users_model_is_loaded_by_what_the_caller_names(by: str, nets: Any, hub: Hub, cache: Path) -> None:
    code = {"class": nets.Net, "function": nets.small_net, "path": "my_nets:small_net"}[by]
    model = trained(nets.Net(width=6))
    push_to_hub(model, "me/own", architecture=code, model_args={"width": 6})
    for given in (code, nets.Net, "my_nets:Net"):
        loaded = from_pretrained("me/own", architecture=given, cache_dir=cache)
        assert isinstance(loaded, nets.Net) and torch.equal(logits(loaded), logits(model))
        assert conversions(loaded) == conversions(model) and len(conversions(loaded)[0]["sites"]) == 2
        assert smoothify.PixelClassifier.from_host(loaded).std.item() == 0.25
    card = hub.files("me/own")["README.md"].decode()
    assert 'smoothify.from_pretrained("me/own", architecture="my_nets:' in card and "its author's code" in card


def test_a_loaded_model_is_saved_again_without_its_arguments(nets: Any, tmp_path: Path) -> None:
    first = save_pretrained(trained(nets.Net(6)), tmp_path / "1", architecture=nets.Net, model_args={"width": 6})
    loaded = from_pretrained(first, architecture=nets.Net)
    second = save_pretrained(loaded, tmp_path / "2", architecture=nets.Net)
    assert torch.equal(logits(from_pretrained(second, architecture=nets.Net)), logits(loaded))


def test_a_repository_alone_runs_no_code(nets: Any, hub: Hub, cache: Path) -> None:
    push_to_hub(trained(nets.Net()), "me/own", architecture=nets.Net)
    del sys.modules["my_nets"]
    with pytest.raises(HubError, match=r"they called 'my_nets:Net'.* never run.* as architecture=") as caught:
        from_pretrained("me/own", cache_dir=cache)
    assert "my_nets" not in sys.modules, "the repository's word was enough to import"
    assert "architecture='my_nets" not in str(caught.value), "an invitation to paste what a stranger wrote"


def test_no_library_takes_it_for_a_model_of_its_own(nets: Any, hub: Hub, cache: Path) -> None:
    transformers = pytest.importorskip("transformers")
    push_to_hub(trained(nets.Net()), "me/own", architecture=nets.Net)
    with pytest.raises(RuntimeError, match="load_with_smoothify_Net"):
        timm.create_model("hf-hub:me/own", pretrained=True, cache_dir=cache)
    for auto in (transformers.AutoModel, transformers.AutoModelForImageClassification):
        with pytest.raises((ImportError, RuntimeError, ValueError), match=r"load_with_smoothify|model_type"):
            auto.from_pretrained("me/own", cache_dir=cache)


@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        ("my_nets:Scaled", "takes the same weights and gives other logits"),
        ("my_nets:Nett", "architecture: unknown name 'Nett' of my_nets; did you mean 'Net'"),
        ("my_nets:nothing", "is int, not a class or function"),
        ("my_nets:no_model", "returns str, not a torch module"),
        ("no_such_nets:Net", "there is no module 'no_such_nets' on Python's path; start from the folder"),
        ("broken_nets:Net", "importing broken_nets fails: No module named 'no_such_library'"),
        ("failing_nets:Net", "importing failing_nets fails: ZeroDivisionError"),
        ("torch.nn:Linear", "my_nets:Net.. fails .TypeError"),
        ("os:system", "posix:system: is no model's class or function of yours"),
        ("subprocess:Popen", "is no model's class or function of yours"),
        ("builtins:exec", "is no model's class or function of yours"),
        ("torch.hub:load", "is no model's class or function of yours"),
        ("timm:create_model", "is no model's class or function of yours"),
        (nn.Identity(), "has no name; pass a class or function"),
    ],
    ids=str,
)
def test_other_code_than_it_was_saved_with(architecture: Any, message: str, nets: Any, tmp_path: Path) -> None:
    folder = save_pretrained(trained(nets.Net()), tmp_path / "out", architecture=nets.Net)
    with pytest.raises(HubError, match=message):
        from_pretrained(folder, architecture=architecture)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architecture": "../../evil"}, "smoothify.architecture is '../../evil'"),
        ({"architecture": "my_nets"}, "smoothify.architecture is 'my_nets'"),
        ({"architecture": "a:b\x1b[2J"}, "smoothify.architecture is"),
        ({"model_args": {"width": 10**30}}, "not a number below"),
        ({"model_args": {"width": 10**6}}, "is stored as"),
        ({"model_args": {"checkpoint_path": "/etc/passwd"}}, "may not hold 'checkpoint_path'"),
        ({"model_args": {"depth": 3}}, r"my_nets:Net\(depth=3\) fails \(TypeError"),
        ({"signature": [[1.0, 2.0]]}, "other logits"),
        ({"signature": []}, "other logits"),
        ({"signature": [["x"]]}, "signature"),
        ({"signature": [[0.0] * 1000]}, "signature"),
        ({"host": "timm", "architecture": "resnet18"}, "leave architecture= out"),
    ],
    ids=str,
)
def test_hostile_descriptions(change: dict[str, Any], message: str, nets: Any, tmp_path: Path) -> None:
    folder = save_pretrained(trained(nets.Net()), tmp_path / "out", architecture=nets.Net)
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    lied = changed(files, lambda config: {**config, "smoothify": {**config["smoothify"], **change}})
    (folder / "config.json").write_bytes(lied["config.json"])
    with pytest.raises(HubError, match=message):
        from_pretrained(folder, architecture=nets.Net)


def test_code_that_needs_real_tensors_is_loaded_all_the_same(nets: Any, tmp_path: Path) -> None:
    model = trained(nets.not_for_meta())
    folder = save_pretrained(model, tmp_path / "out", architecture=nets.not_for_meta)
    assert torch.equal(logits(from_pretrained(folder, architecture=nets.not_for_meta)), logits(model))


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        ("Net", {"model_args": {"width": 5}}, "cannot be rebuilt from its description"),
        ("Undescribed", {}, 'does not say what images it takes; set its pretrained_cfg = {"input_size"'),
        ("Net", {"model_args": {"width": nn.ReLU}}, "which JSON cannot hold"),
    ],
)
def test_what_cannot_be_saved(make: str, options: dict[str, Any], message: str, nets: Any, tmp_path: Path) -> None:
    with pytest.raises(HubError, match=message):
        save_pretrained(getattr(nets, make)(), tmp_path / "out", architecture=getattr(nets, make), **options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("make", "to"), [("Shared", "silu"), ("Shared", "smoothrelu"), ("shares_a_global", "silu")])
def test_an_activation_that_every_model_of_the_code_shares_is_refused(
    make: str, to: str, nets: Any, tmp_path: Path
) -> None:
    """Here the code gives the converted activation from now on, and in another process the ReLU."""
    code = getattr(nets, make)
    copied = smoothify.convert(code(), to)
    loaded = from_pretrained(save_pretrained(copied, tmp_path / "copied", architecture=code), architecture=code)
    assert torch.equal(logits(loaded), logits(copied))

    model = code()
    smoothify.convert_(model, to)
    with pytest.raises(HubError, match=rf"features.2 is one object.*{make}.*default argument.*smoothify.convert\("):
        save_pretrained(model, tmp_path / "out", architecture=code)
    assert not (tmp_path / "out").exists()


def test_buffers_that_a_forward_changes_are_left_and_saved_as_they_were(nets: Any, tmp_path: Path) -> None:
    model = trained(nets.Counting())
    calls = model.calls.clone()
    folder = save_pretrained(model, tmp_path / "out", architecture=nets.Counting)
    assert torch.equal(model.calls, calls)
    assert from_pretrained(folder, architecture=nets.Counting).calls == calls


def test_a_model_that_keeps_its_last_output_is_saved(nets: Any, tmp_path: Path) -> None:
    model = trained(nets.Keeping())
    assert not model.kept.is_leaf
    folder = save_pretrained(model, tmp_path / "out", architecture=nets.Keeping)
    assert not model.kept.is_leaf
    assert torch.equal(logits(from_pretrained(folder, architecture=nets.Keeping)), logits(model))


def test_code_for_a_librarys_model_is_refused(nets: Any, tmp_path: Path) -> None:
    folder = save_pretrained(timm.create_model("test_resnet", num_classes=2), tmp_path / "out")
    with pytest.raises(HubError, match="is a model of timm, which builds it; leave architecture= out"):
        from_pretrained(folder, architecture=nets.Net)


def test_an_architecture_that_the_user_registered_is_not_called_timms_own(tmp_path: Path) -> None:
    from timm.models import _registry, register_model, resnet

    def my_resnet(pretrained: bool = False, **arguments: Any) -> nn.Module:
        arguments = {"block": resnet.BasicBlock, "layers": (1, 1, 1, 1), **arguments}
        found: nn.Module = resnet._create_resnet("my_resnet", pretrained, **arguments)
        return found

    sys.modules[__name__].default_cfgs = {"my_resnet": {"input_size": (3, 64, 64)}}  # type: ignore[attr-defined]
    register_model(my_resnet)
    try:
        folder = save_pretrained(timm.create_model("my_resnet", num_classes=3), tmp_path / "out")
        assert json.loads((folder / "config.json").read_text())["smoothify"]["native"] == []
        assert type(from_pretrained(folder)).__name__ == "ResNet"
    finally:
        _registry._model_entrypoints.pop("my_resnet")
    with pytest.raises(
        HubError, match=r"no architecture 'my_resnet'.*if code of yours registers it, import that first"
    ):
        from_pretrained(folder)


def test_models_are_built_by_import_path(nets: Any) -> None:
    assert build("my_nets:small_net", num_classes=5, arguments={"width": 3}).head.out_features == 5
    with pytest.raises(ConfigError, match="is code and has no weights"):
        build("my_nets:small_net", pretrained=True)
    with pytest.raises(ConfigError, match=r"'my_nets:Net' cannot be built with {'depth': 3}"):
        build("my_nets:Net", arguments={"depth": 3})
    with pytest.raises(ConfigError, match="returned str, not a torch module"):
        build("my_nets:no_model")


def test_training_evaluation_and_inspection_take_an_import_path(
    nets: Any, tiny: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = replace(tiny, epochs=1)
    model = ModelConfig("my_nets:small_net", activation="silu", arguments={"width": 6})
    outcome = train(replace(tiny, model=model))
    assert outcome.reloaded_identical is True
    best = str(outcome.folder.best)
    assert "# small_net-silu" in (outcome.folder.best / "README.md").read_text()

    options = ["--attack", "pgd-1", "--images", "8", "--threads", "1", "--output", str(tmp_path / "figures.json")]
    with pytest.raises(HubError, match="as architecture="):
        evaluate.main([best, *options])
    evaluate.main([best, "--architecture", "my_nets:small_net", *options])
    assert json.loads((tmp_path / "figures.json").read_text())["results"][0]["images"] == 8
    capsys.readouterr()
    main(["inspect", best, "--architecture", "my_nets:small_net"])
    assert "silu" in capsys.readouterr().out
    main(["inspect", "my_nets:small_net"])
    assert "relu" in capsys.readouterr().out

    saved = replace(model, name=best, pretrained=True, arguments={}, activation="keep")
    with pytest.raises(HubError, match="as architecture="):
        train(replace(tiny, output=str(tmp_path / "2"), model=saved))
    started = train(replace(tiny, output=str(tmp_path / "3"), model=replace(saved, architecture="my_nets:Net")))
    assert started.reloaded_identical is True


def test_the_config_may_describe_what_the_code_does_not(nets: Any, tiny: Config) -> None:
    model = ModelConfig("my_nets:Undescribed", "silu", input_size=(1, 28, 28), mean=(0.3,), std=(0.3,))
    outcome = train(replace(tiny, epochs=1, model=model))
    loaded: Any = from_pretrained(outcome.folder.best, architecture=nets.Undescribed)
    assert loaded.pretrained_cfg["mean"] == (0.3,)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "my_nets:nothing"}, "is int, not a class or function"),
        ({"name": "my_nets:Undescribed"}, "does not say"),
        ({"name": "resnet10_28px", "architecture": "my_nets:Net"}, "model.architecture is for a saved model"),
        ({"architecture": "resnet18"}, "give an import path"),
    ],
)
def test_what_a_training_config_cannot_ask_for(options: dict[str, Any], message: str, nets: Any, tiny: Config) -> None:
    with pytest.raises(SmoothifyError, match=message):
        train(replace(tiny, model=ModelConfig(**options)))
    assert not (Path(tiny.output) / "best").exists()


def test_the_current_folder_is_enough_for_the_command_line(nets: Any) -> None:
    command = [sys.executable, "-m", "smoothify", "inspect", "my_nets:Net"]
    folder = Path(nets.__file__).parent
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "relu" in done.stdout, done.stderr
