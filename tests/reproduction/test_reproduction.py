"""Tables are read strictly, run through the public commands, resumed, and become a page of figures with evidence."""

import json
import os
import random
import shlex
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from smoothify.__main__ import main
from smoothify.errors import ConfigError, DataError, SmoothifyError, UnknownNameError
from smoothify.reproduction import (
    Divergence,
    Machine,
    Measurement,
    Record,
    Row,
    Table,
    difference,
    differences,
    find_tables,
    gap_against_accuracy,
    held_out_curves,
    read_divergences,
    read_records,
    read_table,
    reproduce,
    results_page,
)
from smoothify.reproduction.guide import commands
from smoothify.reproduction.job import Job
from smoothify.reproduction.record import file_of

RECIPE = """
epochs: 1
batch_size: 16
data: {{path: {data}, held_out: 16}}
attack: {{epsilon: 0.03, check: pgd-1, final: pgd-2}}
"""
TABLE = """
title: Two activations (Figure 3)
about: On stripes.
recipe: base.yaml
seeds: [0, 1]
measure:
- {attack: pgd-1, images: 24}
rows:
  relu:
    options: {model.activation: keep}
    paper: {clean: 68.8, robust: 33.0}
  silu:
    options: {model.activation: silu}
    paper: {clean: 69.7, robust: 42.3}
    note: the paper's best.
"""


@pytest.fixture
def zoo(stripes: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "zoo" / "stripes" / "figure_3"
    folder.mkdir(parents=True)
    (folder / "base.yaml").write_text(RECIPE.format(data=stripes))
    (folder / "table.yaml").write_text(TABLE)
    return tmp_path / "zoo"


def only_table(zoo: Path) -> Table:
    (table,) = find_tables(zoo)
    return table


def test_a_table_is_run_resumed_and_written_down(zoo: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    options = ["--runs", str(tmp_path / "runs"), "--zoo", str(zoo), "--seeds", "[0]"]
    main(["reproduce", "stripes/figure_3", *options])
    said = capsys.readouterr().out
    assert "stripes/figure_3: 2 runs to do" in said and "stripes/figure_3 silu, seed 0: clean" in said

    table = only_table(zoo)
    (record,) = read_records(table, table.rows[1])
    final, measured = record.measured
    assert (final.attack, measured.attack, measured.robust.images) == ("PGD-2", "PGD-1", 24)
    saved = tmp_path / "runs" / f"{table.rows[1].digest}.seed-0" / "evaluation.json"
    assert final.robust.value == json.loads(saved.read_text())["robust_accuracy"]

    page = (zoo / "RESULTS.md").read_text()
    assert page.rpartition("## ")[2].splitlines()[4] in (tmp_path / "docs" / "paper" / "figure_3.md").read_text()
    assert (record.epochs, record.epoch, len(record.held_out), len(record.held_out_single_step)) == (1, 1, 1, 1)
    took = json.loads((saved.parent / "evaluation-pgd-1-24.json").read_text())["seconds"]
    assert record.attack_precision in ("replica", "folded") and record.measuring_seconds == took
    figures = (record.train_accuracy, record.single_step_gap, final.clean.value, final.robust.value)
    shown = [f"{100 * share:.1f}" for share in figures]
    assert f"| silu | 69.7 | 42.3 | 1 | {' | '.join(shown)} |" in page
    assert "2 runs of 4" in page and record.versions["torch"] in page

    main(["reproduce", "stripes/figure_3", *options])
    assert "0 runs to do" in capsys.readouterr().out

    file = zoo / "stripes" / "figure_3" / "table.yaml"
    file.write_text(
        file.read_text().replace(
            "images: 24}", "images: 24}\n- {attack: pgd-1, images: 8, step_size: 0.01, sanity: true}"
        )
    )
    trained = saved.stat().st_mtime_ns
    main(["reproduce", "stripes/figure_3", *options])
    assert "2 runs to do" in capsys.readouterr().out, "a measure that the table did not have is made"
    (record,) = read_records(only_table(zoo), only_table(zoo).rows[1])
    assert [one.robust.images for one in record.measured[1:]] == [24, 8] and saved.stat().st_mtime_ns == trained
    assert record.measured[2].column == "PGD-1, step 0.01, Linf 0.03 (8 images)"
    assert len(record.columns) == 2, "what is for the sanity checks has no column, but a line"
    assert (
        f"- silu, seed 0: sanity of PGD-1 on 8 images: {record.measured[2].sanity}." in (zoo / "RESULTS.md").read_text()
    )

    base = zoo / "stripes" / "figure_3" / "base.yaml"
    base.write_text(base.read_text().replace("epochs: 1", "epochs: 2"))
    assert read_records(only_table(zoo), only_table(zoo).rows[1]) == [], "a record of another recipe is out of date"


def test_a_run_that_fails_names_its_log_and_stops_no_other(zoo: Path, tmp_path: Path) -> None:
    file = zoo / "stripes" / "figure_3" / "table.yaml"
    file.write_text(file.read_text().replace("model.activation: keep", "model.activation: reluu"))
    with pytest.raises(SmoothifyError, match=r"1 of 2 runs failed: .*did you mean 'relu'.*\w+\.seed-0\.log"):
        reproduce(only_table(zoo), runs=tmp_path / "runs", seeds=[0])
    assert [path.name for path in only_table(zoo).results.iterdir()] == ["silu.seed-0.json"]


def test_a_run_that_diverges_is_a_result(zoo: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    file = zoo / "stripes" / "figure_3" / "table.yaml"
    file.write_text(file.read_text().replace("{model.activation: keep}", "{model.activation: keep, lr: 1.0e+30}"))
    options = ["--runs", str(tmp_path / "runs"), "--zoo", str(zoo), "--seeds", "[0]"]
    main(["reproduce", "stripes/figure_3", *options])
    assert "relu, seed 0: diverged in epoch 1: the loss is not finite, at step" in capsys.readouterr().out
    table = only_table(zoo)
    (diverged,) = read_divergences(table, table.rows[0])
    run = tmp_path / "runs" / f"{table.rows[0].digest}.seed-0"
    told = json.loads((run / "diverged.json").read_text())
    assert (diverged.step, diverged.epoch, diverged.what) == (told["step"], 1, "the loss is not finite")
    assert "--lr=1e+30" in diverged.command and diverged.versions == told["versions"]
    assert not read_records(table, table.rows[0]) and len(read_records(table, table.rows[1])) == 1

    page = (zoo / "RESULTS.md").read_text()
    assert "| relu | 68.8 | 33.0 | 1 (1 diverged) |  |  |  |" in page and "2 runs of 4 (1 diverged)" in page
    assert f"- relu, seed 0: {diverged}." in page and diverged.machine == told["machine"]

    main(["reproduce", "stripes/figure_3", *options])
    assert "0 runs to do" in capsys.readouterr().out, "it would diverge again"
    (written,) = table.results.glob("*.diverged.json")
    written.unlink()
    before = (run / "config.yaml").stat().st_mtime_ns
    assert reproduce(table, runs=tmp_path / "runs", seeds=[0]) == []
    assert Divergence.read(written) == diverged and (run / "config.yaml").stat().st_mtime_ns == before
    record_of(table.rows[0], seed=0, verdicts=[True]).write(table.results)
    assert not written.exists(), "the same run has one record"
    diverged.write(table.results)
    assert not file_of(table.results, "relu", 0).exists()
    written.write_text("{}")
    with pytest.raises(DataError, match="does not say where a run diverged"):
        read_divergences(table, table.rows[0])


def test_a_run_with_other_settings_than_its_rows_is_none_of_the_table(zoo: Path, tmp_path: Path) -> None:
    table, runs = only_table(zoo), tmp_path / "runs"
    folder = runs / f"{table.rows[0].digest}.seed-0"
    folder.mkdir(parents=True)
    for name in ("changes.jsonl", "evaluation.json"):
        (folder / name).write_text("{}")
    with pytest.raises(SmoothifyError, match=r"resumed with settings that are not the table's .*changes\.jsonl"):
        reproduce(table, runs=runs, seeds=[0], only=["relu"])
    assert not table.results.exists()


def test_a_run_killed_before_its_first_checkpoint_is_begun_anew(zoo: Path, tmp_path: Path) -> None:
    """Twice: while the checkpoint was being written, and while the config was."""
    table, runs = only_table(zoo), tmp_path / "runs"
    checkpoint, config = (runs / f"{row.digest}.seed-0" for row in table.rows)
    parts = [
        checkpoint / "checkpoints" / ".step-00000005.0123456789abcdef.pt.4711.part",
        checkpoint / ".last.x_1abcde.part" / "config.json",
        config / ".config.yaml.4711.part",
    ]
    for part in parts:
        part.parent.mkdir(parents=True, exist_ok=True)
        part.write_text("the beginn")
    (checkpoint / "config.yaml").write_text("seed: 0\nsmoothify: 0.1.0\n")
    assert len(reproduce(table, runs=runs, seeds=[0])) == 2
    assert not [part for part in parts if part.exists()]


def test_ctrl_c_starts_no_further_run(zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started, interrupted = [], threading.Event()

    def fail(job: Job) -> Record:
        started.append(job)
        if len(started) > 1:
            interrupted.wait(10)  # not longer, should nobody cancel the others
        raise SmoothifyError("failed")

    def say(line: str) -> None:
        if line == "failed":
            threading.Timer(0.2, interrupted.set).start()  # when the pool has heard of it
            raise KeyboardInterrupt

    monkeypatch.setattr("smoothify.reproduction.run._do", fail)
    with pytest.raises(KeyboardInterrupt):
        reproduce(only_table(zoo), runs=tmp_path / "runs", say=say)
    assert len(started) <= 2, "of 4: the one that failed, and one that its thread took up at once"


def test_a_row_starts_from_the_model_of_another(zoo: Path, tmp_path: Path) -> None:
    file = zoo / "stripes" / "figure_3" / "table.yaml"
    from_scratch = only_table(zoo).rows[1].digest
    file.write_text(file.read_text().replace("note: the", "start: relu\n    note: the"))
    table, runs = only_table(zoo), tmp_path / "runs"
    relu, silu = table.rows
    assert silu.digest != from_scratch
    done = reproduce(table, runs=runs, only=["silu"], seeds=[0])
    assert [record.row for record in done] == ["relu", "silu"], "what it starts from was trained first"
    config = yaml.safe_load((runs / f"{silu.digest}.seed-0" / "config.yaml").read_text())["model"]
    assert (config["name"], config["pretrained"]) == (str(runs / f"{relu.digest}.seed-0"), True)
    assert "--model.name=(the run of relu)" in done[1].command
    file_of(table.results, "silu", 0).unlink()
    assert [record.row for record in reproduce(table, runs=runs, only=["silu"], seeds=[0])] == ["silu"]


def test_a_row_is_left_out_where_the_one_that_it_starts_from_failed(zoo: Path, tmp_path: Path) -> None:
    file = zoo / "stripes" / "figure_3" / "table.yaml"
    failing = file.read_text().replace("model.activation: keep", "model.activation: reluu")
    file.write_text(failing.replace("note: the", "start: relu\n    note: the"))
    with pytest.raises(
        SmoothifyError, match=r"2 of 2 runs failed: .*did you mean 'relu'.*silu, seed 0: left out, since"
    ):
        reproduce(only_table(zoo), runs=tmp_path / "runs", seeds=[0])
    assert len(list((tmp_path / "runs").glob("*.log"))) == 1


def test_a_page_without_runs_is_blank(zoo: Path) -> None:
    page = results_page(find_tables(zoo))
    assert "| relu | 68.8 | 33.0 | not run |  |" in page and "**Nobody ran this table here.**" in page
    file = zoo / "stripes" / "figure_3" / "table.yaml"
    for paper in ("    paper: {clean: 68.8, robust: 33.0}\n", "    paper: {clean: 69.7, robust: 42.3}\n"):
        file.write_text(file.read_text().replace(paper, ""))
    page = results_page(find_tables(zoo))
    assert "Its rows: `relu`, `silu`.\n\n- silu: the paper's best." in page and "not run |" not in page


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("title:", "titel:", "unknown key 'titel'; did you mean 'title'"),
        ("recipe: base.yaml", "recipe: no.yaml", "there is no recipe"),
        ("seeds: [0, 1]", "seeds: 3", "seeds=3 is not a list"),
        ("{attack: pgd-1, images: 24}", "{images: 24}", "needs an attack"),
        ("{attack: pgd-1, images: 24}", "{attack: pgd-1, image: 24}", "did you mean 'images'"),
        ("seeds: [0, 1]", "seeds: [0, 0]", "names a seed twice"),
        ("attack: pgd-1", "attack: pgdd-1", "measure 'pgdd-1': unknown attack 'pgdd-1'"),
        ("images: 24", "images: many", "images='many' is no number of images"),
        ("images: 24", "sanity: very", "sanity='very' is neither true nor false"),
        ("images: 24", "epsilon: [1]", r"measure 'pgd-1': .*epsilon"),
        ("attack: pgd-1, images: 24", "attack: square, step_size: 0.1", "which chooses its own"),
        ("- {attack: pgd-1, images: 24}", "", "measure=None is not a list"),
        ("clean: 68.8", "clean: n/a", "does not map columns to numbers"),
        ("  relu:", "  ../../relu:", "row '../../relu': results are files of its name"),
        ("options: {model.activation: keep}", "option: {}", "row 'relu': unknown key 'option'"),
        ("{model.activation: silu}", "{model.activaton: silu}", "row 'silu': .*did you mean 'model.activation'"),
        ("{model.activation: silu}", "{model: {activaton: silu}}", "row 'silu': .*did you mean 'model.activation'"),
        ("rows:", "rows: []\nabout2:", "unknown key 'about2'"),
        ("title: Two", "title: {Two", "cannot be read as YAML"),
        ("model.activation: silu", "model.activation: keep", "rows 'relu' and 'silu' are the same run"),
        (
            "note: the",
            "start: relus\n    note: the",
            "row 'silu': unknown row to start from 'relus'; did you mean 'relu'",
        ),
        ("note: the", "start: [relu]\n    note: the", r"unknown row to start from \"\['relu'\]\""),
        ("silu}", "silu, model.name: x}\n    start: relu", "it names its model twice"),
        ("note: the", "start: silu\n    note: the", "it starts from a row that itself starts from another"),
        ("note: the", "against: rel\n    note: the", "unknown row to compare with 'rel'; did you mean 'relu'"),
        ("note: the", "against: silu\n    note: the", "unknown row to compare with 'silu'"),
        ("silu}", "silu, data.test_split: train}", "row 'silu': it is measured on other images than 'relu'"),
        (
            "images: 24}",
            "epsilon: 0.01}\n- {attack: pgd-1, step_size: 0.01}",
            "two entries of measure would write the file 'pgd-1-0.01'",
        ),
    ],
)
def test_bad_tables_are_refused(zoo: Path, before: str, after: str, message: str) -> None:
    file = zoo / "stripes" / "figure_3" / "table.yaml"
    assert before in file.read_text()
    file.write_text(file.read_text().replace(before, after))
    with pytest.raises(ConfigError, match=message):
        read_table(file)


def test_a_recipe_with_a_misspelt_option_is_refused_before_anything_is_trained(zoo: Path) -> None:
    with (zoo / "stripes" / "figure_3" / "base.yaml").open("a") as file:
        file.write("engine: {}\nmodel: {arguments: {width: 4}}\nlr_peak: 0.1\n")
    with pytest.raises(ConfigError, match=r"base.yaml: unknown option 'lr_peak'"):
        only_table(zoo)


def test_a_run_belongs_to_every_table_that_asks_for_it(zoo: Path, tmp_path: Path) -> None:
    folder = zoo / "stripes" / "table_1"
    folder.mkdir()
    recipe = RECIPE.format(data="elsewhere").replace("epochs: 1", "epochs: 7")
    (folder / "base.yaml").write_text(recipe + "model: {activation: relu}\n")
    (folder / "table.yaml").write_text(TABLE)
    table, other = find_tables(zoo)
    assert table.rows[0].digest != other.rows[0].digest, "another recipe is another run"

    stripes = (zoo / "stripes" / "figure_3" / "base.yaml").read_text()
    (folder / "base.yaml").write_text(f"# the same, said otherwise\n{stripes}\nmodel: {{activation: relu}}\n")
    other = read_table(folder / "table.yaml")
    assert [row.digest for row in table.rows] == [row.digest for row in other.rows]
    reproduce(table, runs=tmp_path / "runs", seeds=[0], only=["relu"])
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "runs").rglob("*") if file.is_file()}
    (record,) = reproduce(other, runs=tmp_path / "runs", seeds=[0], only=["relu"])
    assert record.row == "relu" and before == {file: file.stat().st_mtime_ns for file in before}
    file_of(other.results, "relu", 0).unlink()
    with pytest.raises(SmoothifyError, match=r"was trained on .*, not on /data/others; leave --data"):
        reproduce(other, runs=tmp_path / "runs", seeds=[0], only=["relu"], machine=Machine(data="/data/others"))


def test_a_row_is_compared_with_the_one_that_it_names(zoo: Path) -> None:
    file = zoo / "stripes" / "figure_3" / "table.yaml"
    more = {"gelu": {"options": {"model.activation": "gelu"}, "against": "silu"}}
    content = yaml.safe_load(file.read_text())
    file.write_text(yaml.safe_dump({**content, "rows": {**content["rows"], **more}}, sort_keys=False))
    table = only_table(zoo)
    robust = {"relu": (1, 0, 0, 0), "silu": (1, 1, 0, 0), "gelu": (1, 1, 1, 1)}
    for row in table.rows:
        record_of(row, seed=0, verdicts=[bool(verdict) for verdict in robust[row.name]]).write(table.results)
    page = results_page([table])
    assert "| clean against (a row) | PGD-2 against (a row) |" in page
    relu, silu, gelu = [
        line.split("|")[-3:-1] for line in page.splitlines() if line[:6] in ("| relu", "| silu", "| gelu")
    ]
    assert relu == ["  ", "  "]
    assert silu == [" +0.0 (relu) ", " +25.0 (relu) "] and gelu == [" +0.0 (silu) ", " +50.0 (silu) "]


def record_of(row: Row, *, seed: int, verdicts: list[bool]) -> Record:
    measured = Measurement("PGD-2", "linf", 0.03, 0.0375, 0, (True,) * len(verdicts), tuple(verdicts))
    return Record(
        row=row.name,
        seed=seed,
        digest=row.digest,
        command=(),
        epochs=2,
        epoch=1,
        train_accuracy=0.5,
        train_loss=1.0,
        held_out=(0.5, 0.25),
        held_out_single_step=(0.75, 0.375),
        attack_precision="same",
        measures=(),
        measured=(measured,),
        training_seconds=3600.0,
        measuring_seconds=None,
        versions={"torch": "2", "commit": "abc"},
    )


def test_a_difference_is_bold_when_all_seeds_are_there(zoo: Path) -> None:
    file = zoo / "stripes" / "figure_3" / "table.yaml"
    file.write_text(file.read_text().replace("seeds: [0, 1]", "seeds: [0, 1, 2]"))
    table = only_table(zoo)
    for seed in range(3):
        assert "**+" not in results_page([table])
        for row, right in zip(table.rows, (400, 800), strict=True):
            verdicts = [index < right + seed for index in range(1000)]
            record_of(row, seed=seed, verdicts=verdicts).write(table.results)
        page = results_page([table])
        assert ("(2 seeds) |" in page) is (seed == 1)
    assert "**+40.0 ± 3.0** |" in page and "| 3 | 50.0 ± 0.0 | 25.0 ± 0.0 |" in page
    assert "6 runs of 6, 6.0 hours of training" in page and "attacks on the model itself; torch 2." in page


def test_the_page_says_which_part_of_an_ensemble_broke_how_many_images(zoo: Path) -> None:
    table = only_table(zoo)
    relu, silu = table.rows
    record = record_of(relu, seed=0, verdicts=[True, False, False, False])
    (alone,) = record.measured
    result = {**{name: value for name, value in vars(alone).items() if name != "fell_to"}, "step_size": None}
    ensemble = Measurement.read({**result, "attack": "AutoAttack", "fell_to": ["", "Square", "APGD-CE", "Square"]})
    pgd = Measurement.read({**result, "fell_to": ["", "PGD-2", "PGD-2", "PGD-2"]})
    replace(record, measured=(pgd, ensemble)).write(table.results)
    record_of(silu, seed=0, verdicts=[True] * 4).write(table.results)
    lines = [line for line in results_page([table]).splitlines() if "fell to" in line]
    assert lines == ["- relu, seed 0: under AutoAttack, Linf 0.03 (4 images), 2 fell to Square, 1 fell to APGD-CE."]


# Does what `accelerate launch` does as far as the tables see: it is told a command, and files are there afterwards.
LAUNCHER = """#!{python}
import json, pathlib, sys
open({said!r}, "a").write(" ".join(sys.argv[1:]) + "\\n")
words = " ".join(sys.argv).replace("=", " ").split()
output = pathlib.Path(words[words.index("--output") + 1])
found = dict(sanity=None, norm="linf", epsilon=0.03, step_size=None, seed=0)
found |= dict(clean_correct=[1, 1, 0], robust_correct=[1, 0, 0])
if "smoothify.train" in words:
    output.mkdir()
    row = dict(epoch=1, train_accuracy=0.5, train_loss=1.0, seconds=2.0)
    row |= dict(held_out_robust_accuracy=0.25, held_out_single_step_accuracy=0.5)
    (output / "metrics.jsonl").write_text(json.dumps(row))
    found |= dict(attack="APGD-CE", surrogate=None, epoch=1, attack_precision="same")
    found |= dict(versions=dict(torch="2"), machine="8 GPUs")
    (output / "evaluation.json").write_text(json.dumps(found))
else:
    output.write_text(json.dumps(dict(seconds=1.0, results=[dict(found, attack="APGD-CE", surrogate="silu")])))
"""


def test_a_launcher_starts_the_runs_on_the_data_that_it_is_given(zoo: Path, tmp_path: Path) -> None:
    file = zoo / "stripes" / "figure_3" / "table.yaml"
    file.write_text(file.read_text().replace("{attack: pgd-1, images: 24}", "{attack: pgd-1, surrogate: silu}"))
    said, launcher = tmp_path / "said", tmp_path / "launcher"
    launcher.write_text(LAUNCHER.format(python=sys.executable, said=str(said)))
    launcher.chmod(0o755)
    machine = Machine((str(launcher), "--processes", "8"), data="/data/stripes")
    recipe = only_table(zoo).rows[0].recipe
    recipe.write_text(f"imports: [own_names]\n{recipe.read_text()}")
    (record,) = reproduce(only_table(zoo), runs=tmp_path / "runs", seeds=[0], only=["relu"], machine=machine)
    assert list(record.columns) == ["APGD-CE, Linf 0.03 (3 images)", "APGD-CE through silu, Linf 0.03 (3 images)"]
    assert "--data.path=/data/stripes" in record.command and record.versions == {"torch": "2"}
    assert record.command[-1] == f"(launched by {launcher} --processes 8)" and record.machine == "8 GPUs"
    assert Record.read(record.write(only_table(zoo).results)) == record
    trained, measured = said.read_text().splitlines()
    assert trained.startswith("--processes 8 -m smoothify.train --config") and "--data.path=/data/stripes" in trained
    assert measured.startswith("--processes 8 -m smoothify.evaluate") and "--attack=pgd-1 --surrogate=silu" in measured
    assert '--imports=["own_names"]' in measured
    trains, measures = map(shlex.split, commands(only_table(zoo), only_table(zoo).rows[0]))
    assert '--imports=["own_names"]' in measures and not any("imports" in word for word in trains)  # the recipe's own
    assert "--threads" not in trained, "the launcher's processes share the cores by themselves"


def test_a_launcher_that_is_not_there_is_refused_at_once() -> None:
    with pytest.raises(ConfigError, match="there is no command 'acelerate'"):
        Machine(("acelerate", "launch"))


def test_a_column_names_what_is_unusual() -> None:
    usual = Measurement("PGD-50", "linf", 8 / 255, 2.5 * 8 / 255 / 50, 0, (True,), (True,))
    assert usual.column == "PGD-50, Linf 8/255 (1 images)"
    through = replace(usual, step_size=1 / 255, surrogate="silu")
    assert through.column == "PGD-50, step 1/255 through silu, Linf 8/255 (1 images)"


@pytest.mark.parametrize(
    ("attack", "step_size", "shown"),
    [
        ("PGD-50x5", 2.5 * 0.03 / 50, "PGD-50x5"),
        ("PGD-50x5", 0.01, "PGD-50x5, step 0.01"),
        ("PGD-50x5", None, "PGD-50x5"),
        ("AutoAttack", None, "AutoAttack"),
        ("my_noise", None, "my_noise"),
        ("MyNoise", 0.01, "MyNoise, step 0.01"),
    ],
)
def test_an_attack_is_not_looked_up_to_be_shown(attack: str, step_size: float | None, shown: str) -> None:
    measured = Measurement(attack, "linf", 0.03, step_size, 0, (True,), (True,))
    assert measured.column == f"{shown}, Linf 0.03 (1 images)"


def test_measures_that_print_the_same_name_keep_a_column_each(zoo: Path) -> None:
    record = record_of(only_table(zoo).rows[0], seed=0, verdicts=[True, False])
    final = record.measured[0]
    columns = replace(record, measured=(final, replace(final, robust_correct=(False, False)))).columns
    assert {head: str(one.robust.value) for head, one in columns.items()} == {
        "PGD-2, Linf 0.03 (2 images)": "0.5",
        "PGD-2, Linf 0.03 (2 images), again": "0.0",
    }


OWN_ATTACK = """
from smoothify.attacks import Attack, register_attack

class MyNoise(Attack):
    def run(self, model, images, labels, generator):
        return images + self.threat.radius

register_attack("my_noise", MyNoise)
"""


def test_a_table_measures_with_an_attack_of_ones_own(
    zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """Pages are written by who need not have the module: not registered here, and its name no registry's."""
    (tmp_path / "my_attack.py").write_text(OWN_ATTACK)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    table = zoo / "stripes" / "figure_3" / "table.yaml"
    table.write_text(table.read_text().replace("{attack: pgd-1, images: 24}", "{attack: my_noise, images: 24}"))
    base = zoo / "stripes" / "figure_3" / "base.yaml"
    base.write_text(f"imports: [my_attack]\n{base.read_text()}")
    options = ["--runs", str(tmp_path / "runs"), "--zoo", str(zoo), "--seeds", "[0]", "--rows", "[relu]"]
    main(["reproduce", "stripes/figure_3", *options])
    assert "MyNoise, Linf 0.03 (24 images)" in capsys.readouterr().out
    main(["results", "--zoo", str(zoo)])
    assert "| MyNoise, Linf 0.03 (24 images) |" in (zoo / "RESULTS.md").read_text()


def test_unknown_names_are_refused(zoo: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'silu'"):
        reproduce(only_table(zoo), runs=tmp_path, only=["sliu"])
    with pytest.raises(ConfigError, match="has the seeds 0, 1, not 7; add it"):
        reproduce(only_table(zoo), runs=tmp_path, seeds=[7])
    with pytest.raises(UnknownNameError, match="did you mean 'stripes/figure_3'"):
        main(["reproduce", "stripes/figure3", "--zoo", str(zoo)])
    with pytest.raises(ConfigError, match="run this in a clone"):
        main(["results", "--zoo", str(tmp_path / "nowhere")])


def test_a_damaged_run_is_named_and_stops_no_other(zoo: Path, tmp_path: Path) -> None:
    table, runs = only_table(zoo), tmp_path / "runs"
    for row, final in zip(table.rows, ("{", "[]"), strict=True):
        folder = runs / f"{row.digest}.seed-0"
        folder.mkdir(parents=True)
        (folder / "evaluation.json").write_text(final)
        (folder / f"evaluation-{table.measures[0].slug}.json").write_text("{}")
    with pytest.raises(SmoothifyError, match=r"2 of 2 runs failed: .*does not say what a record needs .*delete it"):
        reproduce(table, runs=runs, seeds=[0])


def test_rows_are_drawn(zoo: Path) -> None:
    table = only_table(zoo)
    with pytest.raises(
        DataError, match="figure_3: no records to draw; python -m smoothify reproduce stripes/figure_3 makes"
    ):
        held_out_curves(table)
    for seed in (0, 1):
        record_of(table.rows[1], seed=seed, verdicts=[True]).write(table.results)
    (axes,) = held_out_curves(table).axes
    assert axes.get_title() == "silu" and [list(line.get_ydata()) for line in axes.lines] == [[50, 25], [50, 25]]


def test_accuracy_is_drawn_against_the_gap_of_the_model_that_was_kept(zoo: Path) -> None:
    file, column = zoo / "stripes" / "figure_3" / "table.yaml", "PGD-2, Linf 0.03 (4 images)"
    both = "  both:\n    options: {model.activation: keep, surrogate.attacker: silu}\n"
    kinked = "  kinked:\n    options: {model.activation: elu(alpha=2)}\n"
    standard = "  standard:\n    options: {model.activation: keep, objective: standard}\n"
    file.write_text(f"{file.read_text()}{both}{kinked}{standard}")
    table = only_table(zoo)
    table = replace(table, rows=(*table.rows, Row("default", table.rows[0].recipe, {}, {})))
    with pytest.raises(DataError, match=r"no records attacked by PGD-2, Linf 0\.03 \(4 images\) to draw"):
        gap_against_accuracy([table], column)
    for row, right, epoch in zip(table.rows, (1, 2, 3, 2, 0, 4), (1, 2, 2, 1, 2, 2), strict=True):
        record = record_of(row, seed=0, verdicts=[index < right for index in range(4)])
        replace(record, epoch=epoch).write(table.results)
    again = replace(table, folder=file.parents[1] / "again")
    for record in (one for row in table.rows for one in read_records(table, row)):
        replace(record, machine="another that rounds alike").write(again.results)
    (axes,) = gap_against_accuracy([table, again], column).axes
    drawn = {group.get_label(): group.get_offsets().tolist() for group in axes.collections}
    assert drawn == {
        "ReLU (1 runs)": [[25.0, 25.0]],
        "smooth (2 runs)": [[12.5, 50.0], [12.5, 100.0]],
        "ReLU, smooth gradients in training (1 runs)": [[12.5, 75.0]],
        "another kink (1 runs)": [[25.0, 50.0]],
    }
    assert axes.get_title() == "correlation -0.72", "without the network that was trained against no adversary"


def test_gains_over_relu_are_drawn_setting_by_setting(zoo: Path) -> None:
    table = only_table(zoo)
    relu, silu = table.rows
    record_of(relu, seed=0, verdicts=[True, False, False, False]).write(table.results)
    with pytest.raises(DataError, match="no records of a smooth row and of the ReLU row"):
        differences([table])
    record_of(silu, seed=0, verdicts=[True, True, False, False]).write(table.results)
    (axes,) = differences([table, table]).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["figure_3: silu"], "drawn once"
    assert [group.get_offsets().tolist() for group in axes.collections] == [[[25.0, 0.0]]]
    assert len(axes.lines) == 1, "the line at zero: one seed tells of no mean and no interval"
    (key,) = axes.figure.legends
    assert [text.get_text() for text in key.texts] == ["mean, 95% interval", "the same, zero excluded", "one seed"]
    for row, right in zip(table.rows, (2, 4), strict=True):
        record_of(row, seed=1, verdicts=[index < right for index in range(4)]).write(table.results)
    (axes,) = differences([table]).axes
    assert [float(line.get_xdata()[0]) for line in axes.lines] == [0.0, 37.5], "the mean over seeds"
    assert [group.get_offsets().tolist() for group in axes.collections][1] == [[25.0, 0.0], [50.0, 0.0]]
    assert [text.get_text() for text in axes.texts] == ["2", "seeds"]


def test_a_gain_that_stands_in_two_tables_is_drawn_where_it_has_most_seeds(zoo: Path) -> None:
    few = only_table(zoo)
    many = replace(few, folder=few.folder.with_name("figure_4"))
    for table, seeds in ((few, [1]), (many, [0, 1])):
        for row in table.rows:
            for seed in seeds:
                record_of(row, seed=seed, verdicts=[True, False]).write(table.results)
    for tables in ([few, many], [many, few]):
        (axes,) = differences(tables).axes
        assert [label.get_text() for label in axes.get_yticklabels()] == ["figure_4: silu"]


def test_a_gain_over_relu_of_another_setting_says_so(zoo: Path) -> None:
    file = zoo / "stripes" / "figure_3" / "table.yaml"
    file.write_text(TABLE.replace("{model.activation: silu}", "{model.activation: silu, epochs: 2}"))
    table = only_table(zoo)
    for row in table.rows:
        record_of(row, seed=0, verdicts=[True, False]).write(table.results)
    (axes,) = differences([table]).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["figure_3: silu\nover relu"]


def test_a_damaged_record_is_refused(zoo: Path) -> None:
    file = zoo / "record.json"
    file.write_text('{"row": "relu"')
    with pytest.raises(DataError, match="is not the record of a run"):
        Record.read(file)


@pytest.mark.parametrize(("gain", "found"), [(0.0, False), (0.1, True)])
def test_difference_finds_what_is_there(gain: float, found: bool) -> None:
    draw = random.Random(0)
    hard = [draw.random() for _ in range(2000)]  # what both rows share: some images are hard
    ours = [[draw.random() < 0.9 * image + gain for image in hard] for _ in range(5)]
    theirs = [[draw.random() < 0.9 * image for image in hard] for _ in range(5)]
    compared = difference(ours, theirs)
    assert compared.significant is found
    assert abs(compared.value - gain) < compared.half_width


def test_one_seed_is_no_evidence_of_seeds() -> None:
    assert difference([[True, True]], [[True, False]]).half_width is None
    assert difference([[True], [True]], [[True], [False]]).half_width is None, "nor one image of images"
    with pytest.raises(ValueError, match="same seeds and the same images"):
        difference([[True, True]], [[True]])
