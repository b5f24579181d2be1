"""Every recipe can be read, says what it is evidence for, builds its model, and trains a step of a shrunken one."""

import dataclasses
import re
import shlex
from functools import cache
from pathlib import Path

import pytest
import torch
import yaml
from accelerate import Accelerator

from smoothify.activations import is_smooth, parse
from smoothify.attacks import ThreatModel, attack, sample_keys
from smoothify.evaluate import parser as evaluate_parser
from smoothify.models import PixelClassifier, build, input_size
from smoothify.objectives import objective
from smoothify.reproduction import Row, Table, find_tables, guides, results_page
from smoothify.reproduction.guide import commands
from smoothify.reproduction.reading import TABLE_FILE
from smoothify.surgery import convert_
from smoothify.train import read
from smoothify.training import Config, train
from smoothify.training.steps.attacked import attacked_model
from smoothify.training.steps.batches import Batch
from smoothify.training.steps.mixing import mixing
from smoothify.training.steps.schedule import optimizer
from smoothify.training.steps.update import Update
from tests.zoo.shrunken import shrunken, some_images

ROOT = Path(__file__).parents[2]
ZOO = ROOT / "zoo"
TABLES = find_tables(ZOO)
RECIPES = sorted(path for path in ZOO.glob("**/*.yaml") if path.name not in (TABLE_FILE, "training.yaml"))
CLASSES = {"imagenet": 1000, "cifar10": 10, "fashion_mnist": 10}
ROWS = {row.digest: (table, row) for table in reversed(TABLES) for row in table.rows}  # the same run once


@cache
def config_of(digest: str) -> Config:
    return read(ROWS[digest][1].arguments).config


def params(rows: dict[str, tuple[Table, Row]]) -> list:
    return [pytest.param(digest, id=f"{table.name}-{row.name}") for digest, (table, row) in rows.items()]


def architectures() -> dict[str, tuple[Table, Row]]:
    """One row for each network and input that a table asks for."""
    found = {}
    for digest, (table, row) in ROWS.items():
        model = yaml.safe_load(row.recipe.read_text(encoding="utf-8"))["model"]
        model |= {name.removeprefix("model."): value for name, value in row.options.items() if "model." in name}
        found[repr([model["name"], model.get("arguments"), model.get("input_size")])] = (digest, table, row)
    return {digest: (table, row) for digest, table, row in found.values()}


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_recipe_states_its_evidence(recipe: Path) -> None:
    """That nobody has run it, or a section of RESULTS.md and a row in it that was run."""
    (stated,) = re.findall(r"^# Evidence: (.*)", recipe.read_text(encoding="utf-8"), re.M)
    if re.match(r"nobody has run it here[.;] ", stated):
        return
    named = re.fullmatch(r'zoo/RESULTS\.md, "(?P<title>.+)", row (?P<row>\S+)\.', stated)
    assert named, stated
    sections = (ZOO / "RESULTS.md").read_text(encoding="utf-8").split("\n## ")[1:]
    lines = [line for section in sections if section.startswith(named["title"]) for line in section.splitlines()]
    rows = [line for line in lines if line.startswith(f"| {named['row']} |")]
    assert any("not run" not in row for row in rows), stated


def test_default_recipe_is_the_default_run_and_trains(stripes: Path, tmp_path: Path) -> None:
    """The file that documents the default run must not drift from it."""
    config = read(["--config", str(ZOO / "fashion_mnist" / "default.yaml")]).config
    assert config == Config()
    small = dataclasses.replace(
        config,
        output=str(tmp_path / "run"),
        epochs=1,
        batch_size=16,
        data=dataclasses.replace(config.data, path=str(stripes), held_out=16),
        attack=dataclasses.replace(config.attack, check="pgd-1", final="pgd-1"),
    )
    assert train(small).best_epoch == 1


@pytest.mark.parametrize("digest", params(architectures()))
def test_network_takes_its_images_at_full_size(digest: str) -> None:
    model, classes = config_of(digest).model, CLASSES[ROWS[digest][0].folder.parent.name]
    with torch.device("meta"):
        built = build(model.name, num_classes=classes, arguments=model.arguments)
        images = torch.empty(1, *(model.input_size or input_size(built)))
    assert built.eval()(images).shape == (1, classes)


@pytest.mark.parametrize("digest", params(ROWS))
def test_a_step_of_a_shrunken_copy(digest: str) -> None:
    """The row's activation, surrogate, attack, objective, schedule and optimizer, on a network of its structure."""
    config = config_of(digest)
    torch.manual_seed(0)
    host = shrunken(config.model, num_classes=10)
    if config.model.activation != "keep":
        convert_(host, to=config.model.activation, strict=is_smooth(config.model.activation))
    classifier = PixelClassifier.from_host(host)
    images, labels = some_images(config.model, input_size(host), num_classes=10)
    accelerator = Accelerator(cpu=True)
    model, descent = accelerator.prepare(classifier, optimizer(classifier, config.lr, config.optimizer))
    update = Update(
        accelerator=accelerator,
        model=model,
        attacked=attacked_model("same", accelerator.unwrap_model(model), classifier, images, compiled=False),
        optimizer=descent,
        objective=objective(config.objective, label_smoothing=config.label_smoothing),
        surrogate=config.surrogate,
        attack=lambda step: config.attack.at(step + 1),
        mixing=mixing(config, classes=10),
        learning_rate=lambda step: config.lr,
        clip_norm=config.optimizer.clip_norm,
        seed=config.seed,
    )
    before = {name: parameter.detach().clone() for name, parameter in host.named_parameters()}
    count, loss, _ = update(0, [Batch(images, labels, sample_keys(0, 0, torch.arange(len(images))))]).tolist()
    assert count == len(images)
    assert 0 < loss / count < 10
    moved = [not torch.equal(parameter, before[name]) for name, parameter in host.named_parameters()]
    assert sum(moved) > 0.8 * len(moved)
    assert all(torch.isfinite(parameter).all() for parameter in host.parameters())


def test_imagenet_is_measured_as_the_paper_measures_it() -> None:
    """§3.1: PGD-200 with epsilon 4/255 and step 1/255 on the validation images, whatever it was trained with."""
    for digest, (table, _) in ROWS.items():
        if table.folder.parent.name == "imagenet":
            config = config_of(digest)
            final = config.attack.build_final()
            assert (str(final), final.threat, final.step) == ("PGD-200", ThreatModel("linf", 4 / 255), 1 / 255)
            assert config.data.test_split == "validation"


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_measures_can_be_asked_for(table: Table) -> None:
    for measure in table.measures:
        evaluate_parser().parse_args(["best", *measure.arguments])
        attack(measure.attack, ThreatModel("linf", measure.epsilon or "4/255"), step_size=measure.step_size)
        assert measure.surrogate is None or parse(measure.surrogate)


def test_pages_are_those_that_the_records_give() -> None:
    written = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "docs" / "paper").iterdir()}
    assert written == guides(TABLES), "run `python -m smoothify results`"
    assert (ZOO / "RESULTS.md").read_text(encoding="utf-8") == results_page(TABLES)
    contents = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert re.findall(r"paper/(\w+\.md)", contents) == sorted(written, key=contents.index)


def test_commands_of_a_page_train_what_the_table_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    table = next(table for table in TABLES if table.name == "imagenet/section_3_2")
    train_line, plain, through = (shlex.split(line) for line in commands(table, table.rows[1]))
    assert train_line[:4] == ["accelerate", "launch", "-m", "smoothify.train"]
    asked = read(train_line[4:]).config
    assert dataclasses.replace(asked, output="", seed=0) == dataclasses.replace(
        read(table.rows[1].arguments).config, output="", seed=0
    )
    assert f"{asked.output}/best" == plain[4] == through[4]
    assert "--surrogate=parametric_softplus" in through and "--surrogate=parametric_softplus" not in plain
    assert plain[-1] != through[-1]


def test_commands_of_a_row_start_where_the_row_starts() -> None:
    table = next(table for table in TABLES if table.name == "fashion_mnist/conversion")
    scratch, further = (shlex.split(commands(table, row)[0]) for row in table.rows[:2])
    assert not any(word.startswith("--model.name") for word in scratch)
    start = scratch[-1].removeprefix("--output=")
    asked = read(further[4:]).config.model
    assert (asked.name, asked.pretrained, dict(asked.arguments)) == (start, True, {})
