"""Whatever is asked for wrongly is answered with one line, the nearest valid names, exit code 2 and no traceback."""

from collections.abc import Callable
from pathlib import Path

import pytest

from smoothify import __main__, cli, evaluate, train


def answer(
    command: Callable[[], None], program: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys
) -> tuple[int, str]:
    monkeypatch.setattr("sys.argv", [program, *arguments])
    with pytest.raises(SystemExit) as exit_:
        cli.run(command, program)
    return exit_.value.code, capsys.readouterr().err


NO_DATA = ("--data.path", "no_such")  # what is refused all the same was refused before any data is read


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--lrr", "0.1"], "unknown option 'lrr'; did you mean 'lr'?"),
        (["--modle.name", "x"], "did you mean 'model.name'"),
        (["--learning_rate", "0.1"], "unknown option 'learning_rate'; --help shows all of them\n"),
        (["--modl", "x"], "unknown option 'modl'; "),
        (
            ["--model", "timm/resnet50"],
            "--model timm/resnet50: is a group of options, --model.name, --model.activation, --model.recalibrate and "
            "others; did you mean --model.name timm/resnet50?",
        ),
        (["--model.name", "me/x"], "'me' is no library (timm, torchvision, transformers); a model on the Hub that"),
        (["--lr", "abc"], "lr=abc: expected float\n"),
        (["--optimizer.milestones", "1,2"], "optimizer.milestones=1,2: expected a list such as [1,2]\n"),
        (["--model.input_size", "3,32,32"], "model.input_size=3,32,32: expected a list such as [1,2] or null\n"),
        (["--model.arguments", "drop_rate"], "model.arguments=drop_rate: expected a mapping such as '{name: 1}'\n"),
        (["--lr", "-1"], "lr=-1.0: it must be a positive number"),
        (["--lr", ".inf"], "lr=inf: it must be a positive number"),
        (["--objective", "trades(beta=nan)"], "objective trades(beta=nan): it must be a number from 0 on"),
        (["--optimizer.weight_decay", ".nan"], "optimizer.weight_decay=nan: at least 0 is needed, and finite"),
        (["--optimizer.clip_norm", ".inf"], "optimizer.clip_norm=inf: it must be a positive number"),
        (["--data.mixup", ".inf"], "data.mixup=inf: at least 0 is needed, and finite"),
        (["--objective", "trades(beta=6) + awp", "--attack.targeted", "true"], "set attack.targeted to false"),
        (
            ["--objective", "standard", "--surrogate.attacker", "silu", "--model.activation", "keep"],
            "objective='standard' attacks no image; leave surrogate.attacker out",
        ),
        (["--epochs", "0"], "epochs=0: at least 1"),
        (["--model.activation", "slu"], "unknown activation 'slu'; did you mean 'silu'"),
        (["--model.activation", "celu(alhpa=2)"], "alpha"),
        (["--model.name", "resnt18"], "unknown architecture 'resnt18'; did you mean 'resnet18'"),
        (["--model.name", "tim/resnet18"], "'tim' of 'tim/resnet18', which is no folder either; did you mean 'timm'"),
        (["--data.path", "fashion"], "unknown data set 'fashion'; did you mean 'fashion_mnist'"),
        (["--data.path", "my_images"], "data set 'my_images': no such folder; give an existing folder or a Hub id"),
        (["--data.train_split", "trian"], "unknown split 'trian' of data set 'fashion_mnist_sample'; did you mean"),
        (["--data.augmentation", "flop"], "did you mean 'flip' or 'crop'"),
        (["--data.held_out", "10000"], "cannot hold 10000 of 10000"),
        (["--attack.norm", "l3"], "did you mean 'l2'"),
        (["--attack.norm", "xyz"], "unknown attack.norm 'xyz'; it is one of 'linf' or 'l2'\n"),
        (["--attack.epsilon", "8"], "epsilon=8 is not in [0, 1] pixel units; did you mean '8/255'?"),
        (["--attack.final", "pdg-50"], "unknown attack 'pdg-50'; did you mean 'pgd-50'"),
        (["--objective", "trade"], "unknown objective 'trade'"),
        (["--optimizer.momentum", "1"], "optimizer.momentum=1.0"),
        (["--config", "missing.yaml"], "missing.yaml"),
        (["--resume", "missing"], "no run there"),
        (["--resume", "missing", "--overwrite"], "no run there"),
        (["--resume", "{run}", "--output", "else"], "goes on in that folder; leave --output else out"),
        (["--output", "{occupied}"], "choose another folder"),
        (["--config", "{unknown_key}"], "unknown option 'lrr'; did you mean 'lr'?"),
        (["--config", "{unknown_nested_key}"], "unknown option 'model.nme'; did you mean 'model.name'"),
        (["--config", "{not_yaml}"], "not_yaml.yaml cannot be read as YAML: while parsing a flow sequence"),
        (["--config", "{newer}"], "newer.yaml is of smoothify 99.1.0, newer than the installed"),
        (["--resume", "{newer_run}"], "config.yaml is of smoothify 99.1.0, newer than the installed"),
        (["--model.name", "resnt18", "--data.path", "no_such"], "unknown architecture 'resnt18'"),  # before any data
        (["--model.arguments.bogus", "1", "--data.path", "no_such"], "unexpected keyword argument 'bogus'"),
        (["--attack.epsilon", "1.5", "--data.path", "no_such"], "epsilon=1.5 is not in [0, 1]"),
        (["--patience", "0"], "patience=0: at least 1"),
        (["--data.auto_augment", "v0"], "changes random crops, and data.augmentation='flip' makes none"),
        (["--data.augmentation", "imagenet", "--data.auto_augment", "v1"], "data.auto_augment='v1' is no policy"),
        (["--model.crop_pct", "1.5"], "model.crop_pct=1.5: it must be in (0, 1]"),
        (["--model.interpolation", "cubic"], "unknown model.interpolation 'cubic'; did you mean 'bicubic'"),
        (["--model.crop_pct", "all"], "model.crop_pct=all: expected float or null"),
        (
            ["--attack.random_start", "false", "--objective", "trades"],
            "objective='trades' has no gradient at the image",
        ),
        (["--attack.clean_start", "0.5", "--objective", "trades(beta=3) + awp"], "attack.clean_start to 0"),
        (["--averaging.decay", "0.9"], "averaging.decay is of averaging.kind ema, not of none; leave it out"),
        (["--averaging.kind", "ema", "--averaging.start", "2"], "averaging.start is of averaging.kind swa, not of ema"),
        (["--optimizer.milestones", "[9]"], "optimizer.milestones is of optimizer.schedule step, not of one_cycle"),
        (["--optimizer.milestones", "[9,9]"], "optimizer.milestones=[9, 9]: epochs from 1 on, in order, are needed"),
        (["--optimizer.schedule", "cosine", "--optimizer.warmup", "0.1"], "warmup is of optimizer.schedule one_cycle"),
        (["--optimizer.schedule", "step"], "milestones=[30, 60, 90]: none comes before the end of 25 epochs"),
        (["--attack.epsilon_warmup", "25"], "attack.epsilon_warmup=25 leaves nothing of 25 epochs"),
        (["--attack.step_warmup", "30"], "attack.step_warmup=30 leaves nothing of 25 epochs"),
        (["--model.mean", "[123.7]", "--model.std", "[58.4]"], "divide what was measured in [0, 255] by 255"),
        (["--model.mean", "[0.5]", "--model.std", "[0]"], "model.std=[0.0]: each is in (0, 1]"),
        (["--averaging.kind", "swa", "--averaging.start", "26"], "averaging.start=26 comes after all of 25 epochs"),
        (["--engine.log_with", "wnadb", *NO_DATA], "unknown engine.log_with 'wnadb'; did you mean 'wandb'"),
        (["--engine.log_with", "swanlab", *NO_DATA], "engine.log_with='swanlab' is not installed"),
        (["--push", "me", *NO_DATA], "'me' is neither a folder nor a repository id such as 'owner/name'"),
        (["--model.arguments.num_classes", "5", *NO_DATA], "model.arguments.num_classes: the data says how many"),
        (["--model.input_size", "[4,28,28]", *NO_DATA], "model.input_size=[4, 28, 28]: 1 or 3 channels"),
        (["--optimizer.schedule", "step", "--optimizer.warmup_epochs", "25", *NO_DATA], "leaves nothing of 25 epochs"),
        (
            ["--optimizer.layer_decay", "0.5", "--model.name", "torchvision/resnet18", *NO_DATA],
            "does not say which its",
        ),
        (["--data.mixup", "0.5", "--batch_size", "127", *NO_DATA], "mix pairs, but 127 images are computed together"),
        (["--engine.fsdp", "true", *NO_DATA], "engine.fsdp shards over several processes, and this run has one"),
        (["--output", "{occupied}", *NO_DATA], "choose another folder"),
        (["--engine.accumulation", "0"], "engine.accumulation=0: at least 1"),
        (["--engine.accumulation", "3"], "batch_size=128 cannot be shared evenly by 1 processes in 3 pieces each"),
    ],
)
def test_train(arguments: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    files = {
        "occupied": (tmp_path / "occupied" / "thesis.tex", "years of work"),
        "unknown_key": (tmp_path / "unknown_key.yaml", "epochs: 2\nlrr: 1\n"),
        "unknown_nested_key": (tmp_path / "unknown_nested_key.yaml", "model:\n  nme: x\n"),
        "newer": (tmp_path / "newer.yaml", "smoothify: 99.1.0\nnot_yet_invented: 1\n"),
        "newer_run": (tmp_path / "newer_run" / "config.yaml", "smoothify: 99.1.0\nnot_yet_invented: 1\n"),
        "run": (tmp_path / "run" / "config.yaml", "epochs: 2\n"),
        "not_yaml": (tmp_path / "not_yaml.yaml", "epochs: [2\n"),
    }
    for path, content in files.values():
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
    named = {name: str(path if path.stem == name else path.parent) for name, (path, _) in files.items()}
    monkeypatch.chdir(tmp_path)
    code, error = answer(
        train.main, train.PROGRAM, [argument.format(**named) for argument in arguments], monkeypatch, capsys
    )
    assert code == 2
    assert words in error
    assert error.count("\n") == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "required: model"),
        (["{empty}"], "config.json"),
        (["missing/folder/deep"], "neither a folder nor a repository id"),
        (["./missing"], "no such folder"),
        (["{empty}", "--atack", "pgd-5"], "did you mean 'attack'"),
        (["{empty}", "--output", "nowhere/x.json"], "there is no folder nowhere"),
        (["{empty}", "--output", "{existing}"], "pass --overwrite"),
        (["{empty}", "--output", "{empty}", "--overwrite"], "is a folder; name a file, such as "),
        (["{empty}", "--report", "{empty}", "--overwrite"], "is a folder; name a file, such as "),
        (["{empty}", "--output", "new.html", "--report", "./new.html"], "--report new.html: --output is the same file"),
        (["{empty}", "--seed", "99999999999999999999999"], "--seed 99999999999999999999999: it must be from 0 to"),
        (["{empty}", "--seed", "-1"], "--seed -1: it must be from 0 to"),
        (["hf-hub:missing/folder/deep"], "'missing/folder/deep' is neither a folder nor a repository id"),
    ],
)
def test_evaluate(arguments: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "existing.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    named = {"empty": str(tmp_path / "empty"), "existing": str(tmp_path / "existing.json")}
    code, error = answer(
        evaluate.main, evaluate.PROGRAM, [argument.format(**named) for argument in arguments], monkeypatch, capsys
    )
    assert code == 2
    assert words in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "inspect"),
        (["inspct", "resnet18"], "inspect"),
        (["inspect"], "model"),
        (["train", "--lr", "1"], "train is a program of its own: accelerate launch -m smoothify.train"),
        (["--version"], "unknown option 'version'; --help shows all of them"),
        (["inspect", "resnt18"], "did you mean 'resnet18'"),
        (["inspect", "torchvision/resnt18"], "did you mean 'resnet18'"),
        (["inspect", "transformers/resnt"], "did you mean 'resnet'"),
        (["inspect", "resnet18", "--architecture", "nosuch:thing"], "--architecture nosuch:thing is for a saved model"),
    ],
)
def test_inspect(arguments: list[str], words: str, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    code, error = answer(__main__.main, __main__.PROGRAM, arguments, monkeypatch, capsys)
    assert code == 2
    assert words in error
    assert error.count("\n") == 1


def test_inspect_prints_a_table_and_json(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    import json

    __main__.main(["inspect", "resnet18"])
    assert "17 not smooth" in capsys.readouterr().out
    __main__.main(["inspect", "resnet18", "--json"])
    assert len(json.loads(capsys.readouterr().out)["sites"]) == 17


def test_every_option_is_explained_with_its_unit(capsys) -> None:
    with pytest.raises(SystemExit):
        train.parser().parse_args(["--help"])
    unexplained = []
    for action in train.parser()._actions:
        explained = (action.help or "").split("(type:")[0].strip()
        if action.option_strings and not explained:
            unexplained.append(action.option_strings)
    assert unexplained == []


def test_printed_config_is_read_back(capsys, tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        train.parser().parse_args(["--lr", "0.125", "--attack.epsilon", "4/255", "--print_config"])
    (tmp_path / "config.yaml").write_text(capsys.readouterr().out)
    config = train.read(["--config", str(tmp_path / "config.yaml"), "--epochs", "7"]).config
    assert (config.lr, config.attack.threat.radius, config.epochs) == (0.125, 4 / 255, 7)
