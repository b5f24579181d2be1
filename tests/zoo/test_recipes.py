"""Every recipe can be read, says what it is evidence for, and trains a step on a tiny data set."""

import dataclasses
from pathlib import Path

import pytest

from smoothify.train import read
from smoothify.training import Config, train

RECIPES = sorted((Path(__file__).parents[2] / "zoo").glob("**/*.yaml"))


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
    recipe = next(path for path in RECIPES if path.stem == "parametric_softplus")
    assert read(["--config", str(recipe)]).config == Config()
