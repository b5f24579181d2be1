"""What an evaluation of a saved model refuses: one line, exit code 2, and nothing left beside the model."""

from pathlib import Path

import pytest

import smoothify
from smoothify import evaluate
from smoothify.errors import HubError
from smoothify.hub import push_folder
from tests.command_line.test_bad_input import answer

RELU = str(Path(__file__).parents[2] / "zoo" / "fashion_mnist" / "models" / "relu")
pytestmark = pytest.mark.xdist_group("command line")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--epsilon", "8"], "epsilon=8 is not in [0, 1] pixel units; did you mean '8/255'?"),
        (["--epsilon", "four"], "epsilon='four' is not a number in [0, 1] pixel units; write 0.1 or '8/255'"),
        (["--step_size", "2"], "step_size=2 is not in [0, 1] pixel units; did you mean '2/255'?"),
        (["--attack", "pdg-50"], "unknown attack 'pdg-50'; did you mean 'pgd-50'"),
        (["--attack", "autoattack", "--step_size", "0.1"], "AutoAttack, which chooses its own; leave it out"),
        (["--attack", "apgd-dlr"], "APGD-DLR needs 3 classes, the model has 2; use apgd-ce"),
        (["--attack", "pgd-2", "--attack", "apgd-dlr", "--images", "10"], "APGD-DLR needs 3 classes, the model has 2"),
        (["--norm", "l3"], "unknown norm 'l3'; did you mean 'l2'"),
        (["--surrogate", "slu"], "unknown activation 'slu'; did you mean 'silu'"),
        (["--data", "fashion_mnist_sample"], "label 9 is outside the model's 2 classes; use a model with a head for"),
        (["--data", "fashion_mnist_sample", "--sanity"], "label 9 is outside the model's 2 classes"),
        (["--epsilon", "0", "--report", "{best}/r.html"], "--report {best}/r.html: its pictures need an epsilon above"),
        (["--split", "tset"], "did you mean 'test'"),
        (["--images", "0"], "--images 0: at least 1 is needed"),
        (["--images", "-5"], "--images -5: at least 1 is needed"),
        (["--batch_size", "0"], "--batch_size 0: at least 1 is needed"),
        (["--sanity_images", "0"], "--sanity_images 0: at least 1 is needed"),
        (["--threads", "0"], "--threads 0: at least 1 is needed"),
        (["--seed", "one"], "seed=one: expected int"),
        (["--beside", "{best}"], "is for the report's pictures; give --report FILE as well"),
        (
            ["--through", "{best}", "--sanity"],
            "--sanity is about the model's own gradients; measure it without --through",
        ),
        (["--through", "{best}", "--surrogate", "silu"], "--surrogate is about the model's own gradients"),
        (["--through", "{best}", "--attack", "square"], "Square through another model: Square gives back clean images"),
        (["--through", RELU], "through: it has 10 classes, the measured model 2; give one of the same classes"),
        (["--through", "no/model/there"], "neither a folder nor a repository id"),
        (["--beside", "missing/deep/er", "--report", "{best}/r.html"], "neither a folder nor a repository id"),
    ],
)
def test_it_is_refused(
    arguments: list[str], words: str, run: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    best = run[0] / "best"
    before = sorted(best.iterdir())
    asked = [str(best), *(one.format(best=best) for one in arguments)]
    asked += [] if "--threads" in asked else ["--threads", "1"]
    asked += [] if "--attack" in asked else ["--attack", "pgd-2"]
    code, error = answer(evaluate.main, evaluate.PROGRAM, asked, monkeypatch, capsys)
    assert words.format(best=best) in error
    assert (code, error.count("\n")) == (2, 1)
    assert sorted(best.iterdir()) == before


def test_the_folder_of_a_run_is_pointed_into(run: tuple[Path, str], monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    words = f"{run[0]}: is the folder of a run; its model is {run[0] / 'best'}"
    assert answer(evaluate.main, evaluate.PROGRAM, [str(run[0])], monkeypatch, capsys) == (
        2,
        f"{evaluate.PROGRAM}: {words}\n",
    )
    for load in (smoothify.from_pretrained, lambda folder: push_folder(folder, "me/model")):
        with pytest.raises(HubError, match="its model is "):
            load(run[0])
