"""Every recipe can be read, says what it is evidence for, and trains a step on a tiny data set."""

import dataclasses
from pathlib import Path

import pytest
import torch

from smoothify.activations import is_smooth
from smoothify.models import build
from smoothify.reproduction import Row, find_tables, results_page
from smoothify.reproduction.table import TABLE_FILE
from smoothify.surgery import convert_
from smoothify.train import read
from smoothify.training import Config, train

ZOO = Path(__file__).parents[2] / "zoo"
TABLES = find_tables(ZOO)
RECIPES = sorted(path for path in ZOO.glob("**/*.yaml") if path.name != TABLE_FILE)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_recipe(recipe: Path, stripes: Path, tmp_path: Path) -> None:
    opening = [line for line in recipe.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    assert any(line.startswith("# Evidence: ") for line in opening), (
        "a recipe states its evidence, or that there is none"
    )
    config = read(["--config", str(recipe)]).config
    small = dataclasses.replace(
        config,
        output=str(tmp_path / "run"),
        epochs=1,
        batch_size=16,
        data=dataclasses.replace(config.data, path=str(stripes), held_out=16),
        attack=dataclasses.replace(config.attack, check="pgd-1", final="pgd-1"),
    )
    assert train(small).best_epoch == 1


def test_default_recipe_is_the_default_run() -> None:
    """The file that documents the default run must not drift from it."""
    recipe = next(path for path in RECIPES if path == ZOO / "fashion_mnist" / "default.yaml")
    assert read(["--config", str(recipe)]).config == Config()


@pytest.mark.parametrize(
    "row", [pytest.param(row, id=f"{table.name}-{row.name}") for table in TABLES for row in table.rows]
)
def test_row_of_a_table_can_be_asked_for(row: Row) -> None:
    """Its options are options of the command line, and its model can be built and made smooth."""
    config = read(row.arguments).config
    with torch.device("meta"):
        model = build(config.model.name, num_classes=10, arguments=config.model.arguments)
    if config.model.activation != "keep":
        convert_(model, to=config.model.activation, strict=is_smooth(config.model.activation))


def test_page_of_results_is_the_one_that_the_records_give() -> None:
    assert (ZOO / "RESULTS.md").read_text(encoding="utf-8") == results_page(TABLES)
