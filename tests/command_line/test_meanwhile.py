"""An evaluation, and what else happens to its model and its files while it runs."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from smoothify import evaluate
from smoothify.errors import HubError, OutputExistsError
from smoothify.hub import save_pretrained, weights_digest

MODELS = Path(__file__).parents[2] / "zoo" / "fashion_mnist" / "models"
FEW = ["--images", "20", "--threads", "1"]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return Path(shutil.copytree(MODELS / "parametric_softplus", tmp_path / "best"))


def meanwhile(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Do something before the attack is measured."""
    measure = evaluate.robust_accuracy

    def measured(*given: Any, **options: Any) -> Any:
        act()
        return measure(*given, **options)

    monkeypatch.setattr(evaluate, "robust_accuracy", measured)


def test_the_numbers_are_of_the_weights_that_were_measured(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run replaces its best model whenever a better one comes."""
    before, output = weights_digest(model), tmp_path / "figures.json"
    meanwhile(monkeypatch, lambda: shutil.copytree(MODELS / "relu", model, dirs_exist_ok=True))
    evaluate.main([str(model), "--attack", "pgd-1", *FEW, "--output", str(output)])
    assert json.loads(output.read_text())["weights_sha256"] == before != weights_digest(model)
    assert "was replaced meanwhile" in " ".join(capsys.readouterr().out.split())


def test_a_model_that_changes_as_it_is_loaded_is_not_measured(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load = evaluate.from_pretrained

    def loaded(*given: Any, **options: Any) -> nn.Module:
        shutil.copytree(MODELS / "relu", model, dirs_exist_ok=True)
        return load(*given, **options)

    monkeypatch.setattr(evaluate, "from_pretrained", loaded)
    with pytest.raises(HubError, match="was replaced while it was loaded"):
        evaluate.main([str(model), "--attack", "pgd-1", *FEW])


def test_what_another_evaluation_has_finished_stays(model: Path) -> None:
    """The short one ends while the long one's batches lie there."""
    kept = model / ".evaluation.json.partial"
    kept.mkdir()
    (kept / "0123456789abcdef.0.json").write_text("{}")
    evaluate.main([str(model), "--attack", "pgd-1", *FEW])
    assert [file.name for file in kept.iterdir()] == ["0123456789abcdef.0.json"]


def test_what_another_evaluation_has_written_is_not_replaced(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output, written = model / "evaluation.json", '{"another": "evaluation"}'
    meanwhile(monkeypatch, lambda: output.write_text(written))
    with pytest.raises(OutputExistsError, match="pass --overwrite or another --output"):
        evaluate.main([str(model), "--attack", "pgd-1", *FEW])
    assert output.read_text() == written
    assert list((model / ".evaluation.json.partial").iterdir()), "what it has measured is not lost"


def grey(num_classes: int = 10) -> nn.Module:
    """A model of one's own."""
    host = nn.Sequential(nn.Flatten(), nn.Linear(784, num_classes))
    host.pretrained_cfg = {"input_size": (1, 28, 28), "mean": (0.3,), "std": (0.3,)}
    return host


@pytest.mark.parametrize("own_is_measured", [True, False])
def test_one_of_two_models_may_be_of_ones_own_code(own_is_measured: bool, tmp_path: Path) -> None:
    own = save_pretrained(grey(), tmp_path / "own", architecture=f"{__name__}:grey")
    models = [str(own), str(MODELS / "relu")]
    measured, other = models if own_is_measured else reversed(models)
    given = ["--data", "fashion_mnist_sample", "--norm", "linf", "--epsilon", "0.1", "--attack", "pgd-1", *FEW]
    output = tmp_path / "figures.json"
    evaluate.main([measured, "--through", other, "--architecture", f"{__name__}:grey", *given, "--output", str(output)])
    assert json.loads(output.read_text())["through"]["model"] == other
