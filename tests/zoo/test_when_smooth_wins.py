"""What docs/when-smooth-wins.md and other pages say of the runs is computed here again, from the records."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from statistics import correlation, mean, stdev

import pytest
import torch

from smoothify.activations import create, is_smooth
from smoothify.reproduction import (
    Difference,
    Record,
    Row,
    difference,
    find_tables,
    read_divergences,
    read_records,
    read_table,
)
from smoothify.reproduction.compare import paired

ROOT = Path(__file__).parents[2]
PAGE = " ".join((ROOT / "docs" / "when-smooth-wins.md").read_text(encoding="utf-8").split())
README = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
APGD = "APGD-DLR, Linf 0.1 (1,000 images)"
AUTO_ATTACK = "AutoAttack, Linf 0.1 (1,000 images)"
PGD = "PGD-50, Linf 0.1 (2,000 images)"
CLEAN = None  # as `paired` calls the clean images


@cache
def records(table: str, row: str) -> list[Record]:
    read = read_table(ROOT / "zoo" / "fashion_mnist" / table / "table.yaml")
    (found,) = (one for one in read.rows if one.name == row)
    return read_records(read, found)


def accuracies(table: str, row: str, column: str | None) -> list[float]:
    """Give a row's accuracies in [0, 1], in the order of its seeds."""
    found = (one.measured[0].clean if column is None else one.columns[column].robust for one in records(table, row))
    return [share.value for share in found]


def said(number: float | Difference, digits: int = 1) -> str:
    shown = str(number) if isinstance(number, Difference) else f"{number:.{digits}f}"
    return shown.replace("-", "−")


def spread(shares: Sequence[float]) -> str:
    shown = f"{100 * mean(shares):.1f}"
    return shown if len(shares) == 1 else f"{shown} ± {100 * stdev(shares):.1f}"


def between(ours: tuple[str, str], theirs: tuple[str, str], column: str | None) -> Difference:
    pairs = paired(records(*ours), records(*theirs), column)
    return difference([one for one, _ in pairs], [other for _, other in pairs])


def seed_by_seed(ours: tuple[str, str], theirs: tuple[str, str], column: str | None) -> list[float]:
    pairs = paired(records(*ours), records(*theirs), column)
    return [round(100 * difference([one], [other]).value, 6) for one, other in pairs]


@cache
def adversarial_runs() -> list[tuple[Row, Record]]:
    """Every network that was trained with an adversary from the start, once."""
    tables = [table for table in find_tables(ROOT / "zoo") if table.name != "fashion_mnist/conversion"]
    found = ((row, record) for table in tables for row in table.rows for record in read_records(table, row))
    runs = [(row, record) for row, record in found if row.settings["objective"] != "standard"]
    runs.sort(key=lambda run: APGD in run[1].columns)  # of the records of one run, one that tells what is asked for
    return list({record.network: (row, record) for row, record in runs}.values())


def single_step(row: Row) -> bool:
    attack = row.settings["attack"]
    return attack["steps"] == 1 and "method" not in attack and "surrogate" not in row.settings


def is_of(row: Row, activation: str) -> bool:
    return bool(row.settings["model"]["activation"] == activation)


def is_smooth_of(row: Row) -> bool:
    spec = row.settings["model"]["activation"]
    return spec != "keep" and is_smooth(spec)


def is_relu(row: Row) -> bool:
    return is_of(row, "keep") and "surrogate" not in row.settings


def robust(record: Record, column: str = APGD) -> float:
    return 100 * record.columns[column].robust.value


SETTINGS = {
    "the default: 25 epochs, learning rate 0.4": ("replica", "relu-replica", "parametric_softplus-replica"),
    "training attacks in float32": ("replica", "relu-same", "parametric_softplus-same"),
    "learning rate 0.1": ("learning_rate", "relu-0.1", "parametric_softplus-0.1"),
    "learning rate 0.2": ("learning_rate", "relu-0.2", "parametric_softplus-0.2"),
    "learning rate 0.8": ("learning_rate", "relu-0.8", "parametric_softplus-0.8"),
    "weight decay 1e-4 instead of 5e-4": ("recipe", "relu-weight-decay-1e-4", "parametric_softplus-weight-decay-1e-4"),
    "weight decay 2e-3": ("recipe", "relu-weight-decay-2e-3", "parametric_softplus-weight-decay-2e-3"),
    "weight decay 5e-3": ("recipe", "relu-weight-decay-5e-3", "parametric_softplus-weight-decay-5e-3"),
    "10 epochs": ("recipe", "relu-10-epochs", "parametric_softplus-10-epochs"),
    "50 epochs": ("recipe", "relu-50-epochs", "parametric_softplus-50-epochs"),
    "50 epochs, weight decay 2e-3": (
        "recipe",
        "relu-50-epochs-weight-decay-2e-3",
        "parametric_softplus-50-epochs-weight-decay-2e-3",
    ),
    "residual branches that do not start at zero": (
        "recipe",
        "relu-without-zero-init",
        "parametric_softplus-without-zero-init",
    ),
    "steps of 0.05 instead of 0.1": ("one_step", "relu-half-step", "parametric_softplus-half-step"),
    "twice as deep": ("table_3", "relu-deeper", "parametric_softplus-deeper"),
    "twice as wide": ("table_3", "relu-wider", "parametric_softplus-wider"),
    "images of 40×40 instead of 28×28": ("table_3", "relu-larger-images", "parametric_softplus-larger-images"),
    "epsilon 8/255": ("epsilon", "relu", "parametric_softplus"),
}


Run = tuple[str, str]
"""A table and a row of it."""


def together(rows: Sequence[Run], column: str | None = APGD, seeds: int = 3) -> list[list[float]]:
    """Give for each of the first seeds the mean verdict of several rows on each image."""

    def verdicts(record: Record) -> Sequence[bool]:
        return record.measured[0].clean_correct if column is None else record.columns[column].robust_correct

    by_row = [[verdicts(record) for record in records(*row) if record.seed < seeds] for row in rows]
    return [[mean(image) for image in zip(*seed, strict=True)] for seed in zip(*by_row, strict=True)]


def over_settings(column: str | None) -> Difference:
    """What parametric softplus gains over ReLU in the settings at epsilon 0.1, taken as fixed."""
    here = [rows for setting, rows in SETTINGS.items() if setting != "epsilon 8/255"]
    relu, smooth = ([(rows[0], rows[which]) for rows in here] for which in (1, 2))
    assert len(here) == 16
    return difference(together(smooth, column), together(relu, column))


def test_all_settings_together() -> None:
    gains: list[float] = []
    for table, relu, smooth in SETTINGS.values():
        (column,) = (column for column in records(table, relu)[0].columns if column.startswith("APGD-DLR"))
        gains += seed_by_seed((table, smooth), (table, relu), column)
    assert f"it is ahead in {sum(gain > 0 for gain in gains)} of the {len(gains)} pairs of runs below" in PAGE
    assert f"never more than {-min(gains):.1f} points behind" in PAGE
    apgd, clean, pgd = (said(over_settings(column)).lstrip("+") for column in (APGD, CLEAN, PGD))
    assert f"Over the sixteen settings at epsilon 0.1 it gains {apgd} points, and {clean} on clean images" in PAGE
    assert f"as sixteen fixed settings in seeds 0 to 2, they show {apgd}; seeds 3 and 4," in PAGE
    later = [
        [said(gain) for gain in seed_by_seed((table, smooth), (table, relu), APGD)[3:]]
        for table, relu, smooth in SETTINGS.values()
    ]
    assert not any(later[2:])
    told = "which only three settings have, gain {} and {} in the first, {} and {} in the second, and those of weight"
    assert told.format(*later[0], *later[1]) in PAGE
    assert f"gains {apgd} points over ReLU under APGD-DLR" in README and f"and {pgd} under PGD-50, over six" in README


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_setting(setting: str) -> None:
    table, relu, smooth = SETTINGS[setting]
    (column,) = (column for column in records(table, relu)[0].columns if column.startswith("APGD-DLR"))
    both = [accuracies(table, row, column) for row in (relu, smooth)]
    gain = between((table, smooth), (table, relu), column)
    cells = [str(len(both[0])), *map(spread, both), said(gain)]
    assert PAGE.partition(f"| {setting} (")[2].partition(") | ")[2].startswith(" | ".join(cells) + " |"), cells


def test_what_the_single_step_gap_goes_with() -> None:
    runs = [(row, record) for row, record in adversarial_runs() if APGD in record.columns]

    def correlated(of: Callable[[Record], float], among: Callable[[Row], bool] = lambda row: True) -> str:
        found = [(of(record), robust(record)) for row, record in runs if among(row)]
        return said(correlation(*zip(*found, strict=True)), 2)

    def gap(record: Record) -> float:
        return 100 * record.single_step_gap

    assert f"Over {len(runs)} runs of all kinds" in PAGE
    assert f"under APGD-DLR (correlation {correlated(gap)})" in PAGE
    ten_steps = correlated(lambda record: record.held_out[record.epoch - 1])
    assert f"which is part of the gap, tells about as much ({ten_steps})." in PAGE
    smooth = correlated(gap, lambda row: is_of(row, "parametric_softplus"))
    assert f"it tells less ({smooth})" in PAGE

    def means(among: Callable[[Record], bool]) -> tuple[list[float], list[float]]:
        here = [(row, record) for row, record in runs if single_step(row) and among(record)]
        smooth = [robust(one) for row, one in here if is_smooth_of(row)]
        return [robust(one) for row, one in here if is_of(row, "keep")], smooth

    relu, smooth_ones = means(lambda record: gap(record) < 6.5)
    small = f"{len(relu)} runs with ReLU come to {mean(relu):.1f}% in the mean and {len(smooth_ones)} with smooth"
    assert f"a gap below 6.5 points, {small} activations to {mean(smooth_ones):.1f}%" in PAGE
    softplus, others = (
        [
            robust(record)
            for row, record in runs
            if single_step(row)
            and gap(record) < 6.5
            and is_smooth_of(row)
            and is_of(row, "parametric_softplus") == softplus
        ]
        for softplus in (True, False)
    )
    apart = f"({len(softplus)} with parametric softplus to {mean(softplus):.1f}%, the others to {mean(others):.1f}%)"
    assert apart in PAGE
    relu, smooth_ones = means(lambda record: gap(record) >= 6.5)
    counts = f"{len(relu)} and {len(smooth_ones)} runs"
    assert f"with a larger gap, {counts} come to {mean(relu):.1f}% and {mean(smooth_ones):.1f}%" in PAGE


def test_elu_and_celu_away_from_one() -> None:
    elu, celu = (
        [robust(one) for row, one in adversarial_runs() if row.settings["model"]["activation"].startswith(f"{name}(")]
        for name in ("elu", "celu")
    )
    both = f"{len(elu)} runs of ELU with a kink come to {mean(elu):.1f}% in the mean and {len(celu)} of CELU to"
    assert f"{both} {mean(celu):.1f}%, against {spread(accuracies('table_2', 'elu-1.0', APGD))} at α = 1" in PAGE
    (table,) = (table for table in find_tables(ROOT / "zoo") if table.name == "fashion_mnist/table_2")
    paper = {row.name: row.paper["robust"] for row in table.rows}
    lost = [paper["elu-1.0"] - paper[row] for row in ("elu-2.0", "celu-2.0")]
    assert "ELU loses {:.1f} points from α = 1 to 2, and CELU {:.1f}".format(*lost) in PAGE
    gained, lost_here = (
        said(between(("table_2", row), ("table_2", "elu-1.0"), APGD)) for row in ("elu-2.0", "celu-2.0")
    )
    assert f"From α = 1 to 2 ELU gains {gained.lstrip('+')} points and CELU loses {lost_here.lstrip('−')}." in PAGE


MONOTONE = ("parametric_softplus", "softplus", "elu", "smoothrelu", "smelu", "squareplus")
DIPPING = ("silu", "gelu", "mish", "tanhsoft_1", "tanhsoft_2", "tanhsoft_3", "tanhexp", "serf", "logish", "pssilu")
NAMED = {
    "parametric_softplus": "parametric softplus", "elu": "ELU", "smoothrelu": "SmoothReLU", "smelu": "SmeLU",
    "silu": "SiLU", "gelu": "GELU", "mish": "Mish", "tanhsoft_1": "TanhSoft-1", "tanhsoft_2": "TanhSoft-2",
    "tanhsoft_3": "TanhSoft-3", "tanhexp": "TanhExp", "serf": "Serf", "logish": "Logish", "pssilu": "PSSiLU",
}  # fmt: skip
FIRST = ("parametric_softplus", "softplus", "elu", "smoothrelu", "silu", "gelu", "mish")
"""The activations that were run before anybody asked whether a dip makes a difference."""


def monotone_against_dipping(among: Callable[[str], bool] = lambda row: True) -> Difference:
    monotone, dipping = ([row for row in rows if among(row)] for rows in (MONOTONE, DIPPING))
    return difference(*(together([("figure_3", row) for row in rows]) for rows in (monotone, dipping)))


def test_activations_that_dip_and_those_that_do_not() -> None:
    x = torch.linspace(-30, 30, 6001, dtype=torch.float64)
    gaps: dict[str, float] = {}
    for row in (*MONOTONE, *DIPPING):
        value = create(row).double()(x).detach()
        dip = f"{float((value.cummax(0).values - value).max()):.2f}"
        assert (dip == "0.00") == (row in MONOTONE)
        found = records("figure_3", row)
        gaps[row] = 100 * mean(record.single_step_gap for record in found)
        assert len(found) == 3
        cells = [spread(accuracies("figure_3", row, CLEAN)), spread(accuracies("figure_3", row, APGD))]
        cells += [spread([record.single_step_gap for record in found]), "none" if row in MONOTONE else dip]
        assert f"| {NAMED.get(row, row)} | {' | '.join(cells)} |" in PAGE
    largest, smallest = max(gaps[row] for row in MONOTONE), min(gaps[row] for row in DIPPING)
    gap_of_all = (
        f"a gap of {largest:.1f} points or less, and all with a dip one of {smallest:.1f} or more, in the mean of"
    )
    assert gap_of_all in PAGE

    def percent(rows: Sequence[str], column: str | None = APGD) -> float:
        return 100 * mean(mean(accuracies("figure_3", row, column)) for row in rows)

    without = percent([row for row in MONOTONE if row != "parametric_softplus"])
    apart = f"{percent(MONOTONE):.1f}% in the mean ({without:.1f}% without parametric softplus), the ten to"
    behind = percent(DIPPING, CLEAN) - percent(MONOTONE, CLEAN)
    assert f"The six come to {apart} {percent(DIPPING):.1f}%; on clean images they are {behind:.1f} points" in PAGE
    known, new = (monotone_against_dipping(lambda row, of=of: (row in FIRST) == of) for of in (True, False))
    assert f"in the first seven that were run ({said(known)}). The nine others point" in PAGE
    assert f"not show it by themselves ({said(new)}); together {said(monotone_against_dipping())}, which is no" in PAGE
    assert f"the nine others do not show it by themselves ({said(new)})." in PAGE
    assert f"the nine others do not show it by themselves ({said(new).lstrip('+')})." in README
    table = read_table(ROOT / "zoo" / "fashion_mnist" / "figure_3" / "table.yaml")
    lost = read_divergences(table, next(row for row in table.rows if row.name == "hermite"))
    assert [one.seed for one in lost] == [0, 1, 2] and max(one.step for one in lost) < 10
    assert "names too, diverged within ten steps in all three seeds" in PAGE
    silu, elu = (said(between(("figure_3", row), ("figure_3", "relu"), APGD)) for row in ("silu", "elu"))
    assert f"Here SiLU is level with ReLU ({silu}), and ELU above it ({elu})" in PAGE


OVER_RATES = (("parametric_softplus", "silu"), ("parametric_softplus", "relu"), ("silu", "relu"))


def over_rates(ours: str, theirs: str) -> Difference:
    """Compare two activations over the four learning rates, taken as fixed."""
    rates = ("0.1", "0.2", "0.4", "0.8")
    return difference(*(together([("learning_rate", f"{name}-{rate}") for rate in rates]) for name in (ours, theirs)))


def test_silu_at_learning_rates_of_its_own() -> None:
    ahead = 0
    for rate in ("0.1", "0.2", "0.4", "0.8"):
        rows = [("learning_rate", f"{name}-{rate}") for name in ("relu", "silu", "parametric_softplus")]
        cells = " | ".join(spread(accuracies(*row, APGD)) for row in rows)
        assert f"| learning rate {rate} | {cells} |" in PAGE
        gains = seed_by_seed(rows[2], rows[1], APGD)
        ahead += sum(gain > 0 for gain in gains)
    assert ahead == 12 and "Parametric softplus is ahead of it in all of these 12 pairs of runs" in PAGE
    softplus_silu, softplus_relu, silu_relu = (said(over_rates(*two)) for two in OVER_RATES)
    assert (
        f"over the four rates by {softplus_silu.lstrip('+')} points, and of ReLU by {softplus_relu.lstrip('+')};"
        in PAGE
    )
    assert f"SiLU is level with ReLU, {silu_relu}." in PAGE
    behind = said(between(("learning_rate", "silu-0.8"), ("learning_rate", "relu-0.8"), APGD)).lstrip("−")
    assert f"there {behind} points behind ReLU" in PAGE
    smaller = ("epsilon", "silu"), ("epsilon", "relu"), "APGD-DLR, Linf 8/255 (1,000 images)"
    assert min(seed_by_seed(*smaller)) > 0
    assert f"SiLU is ahead of ReLU in each of three seeds, by {said(between(*smaller)).lstrip('+')}" in PAGE


def largest_gap(record: Record) -> float:
    """Give a run's largest single-step gap after its third epoch, in points."""
    return 100 * max(one - ten for one, ten in zip(record.held_out_single_step[3:], record.held_out[3:], strict=True))


def largest_gaps(among: Callable[[Row], bool], epsilon: object = 0.1) -> list[float]:
    """Give the `largest_gap` of every run, in ascending order."""
    return sorted(
        largest_gap(record)
        for row, record in adversarial_runs()
        if among(row) and row.settings["attack"]["epsilon"] == epsilon
    )


def test_how_many_runs_overfit_to_their_step() -> None:
    def overfit(among: Callable[[Row], bool], above: int = 15) -> list[str]:
        of_both = (is_relu, lambda row: is_of(row, "parametric_softplus"))
        found = [largest_gaps(lambda row, of=of: among(row) and of(row)) for of in of_both]
        return [f"{sum(gap > above for gap in gaps)} of {len(gaps)}" for gaps in found]

    relu, smooth = overfit(single_step)
    assert f"after the third in {relu} runs with ReLU, and in {smooth} with parametric softplus" in PAGE
    relu, smooth = overfit(lambda row: row.settings["attack"]["steps"] == 2)
    assert f"{relu} runs with ReLU rise above 15, and {smooth} with parametric softplus do" in PAGE

    relu, smooth = (counted.partition(" of ")[0] for counted in overfit(single_step, 10))
    assert f"(above 10 points in {relu} and {smooth})" in PAGE

    kept = {True: [], False: []}
    for row, record in adversarial_runs():
        if single_step(row) and is_relu(row) and APGD in record.columns:
            kept[largest_gap(record) > 15].append(robust(record))
    broken, sound = kept[True], kept[False]
    assert f"the {len(broken)} runs with ReLU that did" in PAGE
    assert f"come to {mean(broken):.1f}%, and the {len(sound)} that did not to {mean(sound):.1f}%." in PAGE
    without, dipping = (
        [largest_gap(record) > 15 for row in rows for record in records("figure_3", row)]
        for rows in (MONOTONE, DIPPING)
    )
    counts = f"{sum(without)} of {len(without)} runs without a dip do, and {sum(dipping)} of {len(dipping)} with one."
    assert counts in PAGE
    low = largest_gaps(lambda row: is_relu(row) or is_of(row, "parametric_softplus"), "8/255")
    assert max(low) <= 5 + 1e-9 and "At epsilon 8/255 no run comes above 5" in PAGE


def test_activations_and_gradients() -> None:
    rows = {
        "ReLU": ("figure_3", "relu"),
        "SiLU": ("figure_3", "silu"),
        "GELU": ("figure_3", "gelu"),
        "Mish": ("figure_3", "mish"),
        "SmoothReLU": ("figure_3", "smoothrelu"),
        "ELU": ("figure_3", "elu"),
        "softplus": ("figure_3", "softplus"),
        "parametric softplus": ("figure_3", "parametric_softplus"),
        "neither: smooth gradients nowhere": ("table_1", "neither"),
        "attacker: in the training attack": ("table_1", "attacker"),
        "optimizer: in the update": ("table_1", "optimizer"),
        "both": ("table_1", "both"),
    }
    for named, run in rows.items():
        gaps = spread([record.single_step_gap for record in records(*run)])
        assert f"| {named} | {spread(accuracies(*run, CLEAN))} | {spread(accuracies(*run, APGD))} | {gaps} |" in PAGE
    smooth = rows["parametric softplus"]
    silu, gelu, mish = (said(between(smooth, rows[name], APGD)).lstrip("+") for name in ("SiLU", "GELU", "Mish"))
    assert f"the paper's strongest, by {silu} points, of GELU by {gelu} and of Mish by {mish}" in PAGE
    assert f"SiLU, the paper's strongest, by {silu} points, of GELU by {gelu} and of Mish by {mish}" in README

    neither, attacker = ("table_1", "neither"), ("table_1", "attacker")
    both = between(("table_1", "both"), neither, APGD), between(("table_1", "both"), smooth, APGD)
    over_relu, over_smooth = (said(one).lstrip("+") for one in both)
    assert f"it gains {over_relu} points over ReLU and {over_smooth} over the network of parametric softplus" in PAGE
    first, second, third = (f"{gain:.1f}" for gain in seed_by_seed(attacker, neither, APGD))
    pgd = said(between(attacker, neither, PGD)).lstrip("+")
    update = said(between(("table_1", "optimizer"), neither, APGD)).lstrip("+")
    assert f"gains {first}, {second} and {third} points, but {pgd} under PGD-50, the update alone {update}." in PAGE


def test_the_side_results_of_section_3_2() -> None:
    clean = [spread(accuracies("section_3_2", row, CLEAN)) for row in ("standard-surrogate", "standard")]
    assert "changes next to nothing: {} clean instead of {}.".format(*clean) in PAGE

    def left(row: str, epsilon: str) -> list[str]:
        return [
            spread(accuracies("section_3_2", row, f"PGD-1{through}, Linf {epsilon} (2,000 images)"))
            for through in (" through parametric_softplus", "")
        ]

    assert "{} are left instead of {} of standardly trained".format(*left("standard", "4/255")) in PAGE
    assert "{} instead of {} of adversarially trained".format(*left("adversarial", "0.1")) in PAGE
    surrogate, own = left("adversarial", "4/255")
    assert surrogate == own and "and no more of these at 4/255" in PAGE
    everywhere = [record for row in ("standard", "adversarial") for record in records("section_3_2", row)]
    for record in everywhere:  # in every network, where it is said to find more
        epsilon = "4/255" if record.row == "standard" else "0.1"
        assert robust(record, f"PGD-1 through parametric_softplus, Linf {epsilon} (2,000 images)") < robust(
            record, f"PGD-1, Linf {epsilon} (2,000 images)"
        )


N_FGSM = between(("one_step", "parametric_softplus-n_fgsm"), ("one_step", "relu-n_fgsm"), APGD)


FIVE = {
    "relu": [("replica", "relu-replica")],
    "parametric_softplus": [("replica", "parametric_softplus-replica")],
    "relu-smooth-gradients": [("table_1", "both"), ("fresh_seeds", "relu-smooth-gradients")],
    **{
        row: [(table, row), ("fresh_seeds", row)]
        for table, row in (
            ("section_3_3", "relu-pgd-2"),
            ("section_3_3", "relu-pgd-2-weight-decay-2e-3"),
            ("section_3_3", "parametric_softplus-pgd-2"),
            ("section_3_3", "parametric_softplus-pgd-2-weight-decay-2e-3"),
            ("recipe", "relu-weight-decay-2e-3"),
            ("recipe", "parametric_softplus-weight-decay-2e-3"),
            ("recipe", "parametric_softplus-50-epochs-weight-decay-2e-3"),
        )
    },
}
"""Where five seeds of a recipe under APGD-DLR are: the first table's, and those that nothing was chosen by."""


def five(row: str) -> list[Record]:
    found = [record for run in FIVE[row] for record in records(*run)]
    assert [record.seed for record in found] == [0, 1, 2, 3, 4]
    return found


def of_five(row: str) -> list[float]:
    return [record.columns[APGD].robust.value for record in five(row)]


def between_five(ours: str, theirs: str) -> Difference:
    pairs = paired(five(ours), five(theirs), APGD)
    return difference([one for one, _ in pairs], [other for _, other in pairs])


def test_seeds_that_nothing_was_chosen_by() -> None:
    def new(row: str) -> str:
        return "{:.1f} and {:.1f}%".format(*(100 * one for one in of_five(row)[3:]))

    gradients = "relu-smooth-gradients"
    stands = f"come to {new(gradients)}, and over five seeds it stands at {spread(of_five(gradients))}"
    over = [said(between_five(gradients, row)) for row in ("relu", "parametric_softplus")]
    assert "{}, {} from ReLU and {} from parametric softplus".format(stands, *over) in PAGE
    assert f"| ReLU, smooth gradients in training | {spread(of_five(gradients))} |" in README
    two = [spread(of_five(row)) for row in ("relu-pgd-2", "parametric_softplus-pgd-2", "relu-pgd-2-weight-decay-2e-3")]
    assert "brings ReLU to {} under APGD-DLR and parametric softplus to {}".format(*two[:2]) in PAGE
    tuned = "parametric_softplus-pgd-2-weight-decay-2e-3"
    assert f"At weight decay 2e-3 they come to {two[2]} and {spread(of_five(tuned))}" in PAGE
    later = [
        said(100 * (ours - theirs))
        for ours, theirs in zip(
            of_five("parametric_softplus-weight-decay-2e-3")[3:], of_five("relu-weight-decay-2e-3")[3:], strict=True
        )
    ]
    assert "and those of weight decay 2e-3 ([fresh seeds](paper/fresh_seeds.md)) {} and {}.".format(*later) in PAGE
    short, long = "parametric_softplus-weight-decay-2e-3", "parametric_softplus-50-epochs-weight-decay-2e-3"
    assert f"as other networks, come to {new(short)}, and to {new(long)}: none as high as the three" in PAGE
    assert max(of_five(short)[3:]) < min(of_five(short)[:3]) and max(of_five(long)[3:]) < min(of_five(long)[:3])


def test_silu_and_gelu_with_two_steps() -> None:
    silu, gelu, relu = (("section_3_3", f"{name}-pgd-2") for name in ("silu", "gelu", "relu"))
    shown = [spread(accuracies(*row, APGD)) for row in (silu, gelu)]
    behind = [said(between(row, relu, APGD)) for row in (silu, gelu)]
    assert "SiLU comes to {} and GELU to {} with two steps, {} and {} from ReLU".format(*shown, *behind) in PAGE
    pgd = [said(between(row, relu, PGD)) for row in (silu, gelu)]
    gaps = [spread([record.single_step_gap for record in records(*row)]) for row in (silu, gelu, relu)]
    stay = "and {} and {} under PGD-50; their single-step gaps stay at {} and {}, those of ReLU come to {}."
    assert stay.format(*pgd, *gaps) in PAGE
    of_all = f"is behind ReLU, by {behind[0].lstrip('−')}"
    assert f"SiLU with two steps {of_all}." in PAGE and f"SiLU with two steps {of_all} under APGD-DLR" in README


def test_n_fgsm_costs_clean_accuracy() -> None:
    costs = (
        said(between(("one_step", f"{name}-n_fgsm"), ("one_step", name), CLEAN)).lstrip("−")
        for name in ("relu", "parametric_softplus")
    )
    assert "it costs {} points with ReLU and {} with parametric softplus".format(*costs) in PAGE


def test_how_much_less_auto_attack_leaves() -> None:
    def taken(name: str) -> str:
        apgd = {record.run: robust(record) for record in records("replica", f"{name}-replica")}
        both = [apgd[one.run] - robust(one, AUTO_ATTACK) for one in records("headline", name) if one.run in apgd]
        assert len(both) == 5
        return f"{min(both):.1f} to {max(both):.1f}"

    relu, smooth = taken("relu"), taken("parametric_softplus")
    assert f"it leaves {relu} points less of those five than APGD-DLR does, and {smooth} less of the five with" in PAGE


ONE_STEP = ("", "-same", "-weight-decay-2e-3")
"""How the rows of table headline end that have both activations with one step, in five seeds."""


def over_one_step(column: str | None = AUTO_ATTACK) -> Difference:
    """What parametric softplus gains over ReLU in the settings with one step that met AutoAttack, taken as fixed."""
    rows = [[("headline", f"{name}{setting}") for setting in ONE_STEP] for name in ("parametric_softplus", "relu")]
    return difference(*(together(all_of_one, column, seeds=5) for all_of_one in rows))


def test_one_step_under_auto_attack() -> None:
    def compared(ours: str, theirs: str) -> str:
        return said(between(("headline", ours), ("headline", theirs), AUTO_ATTACK)).lstrip("+")

    bfloat16, gain, decay = (compared(f"parametric_softplus{setting}", f"relu{setting}") for setting in ONE_STEP)
    everything = said(over_one_step()).lstrip("+")
    in_three = f"it gains {bfloat16}, {gain} and {decay}, and {everything} over the three"
    assert f"AutoAttack, which was run in three of them, five seeds each, {in_three}" in PAGE
    assert f"AutoAttack was run in three of them, five seeds each: {in_three}" in README
    clean = said(over_one_step(CLEAN)).lstrip("+")
    assert f"As three fixed settings they show {everything}, and {clean} on clean images" in PAGE
    *some, last = (
        said(one)
        for one in seed_by_seed(("headline", "parametric_softplus-same"), ("headline", "relu-same"), AUTO_ATTACK)
    )
    same_one = "(`attack.precision: same`; other networks than in the first table) it gains"
    assert f"{same_one} {gain}, in the single seeds {', '.join(some)} and {last}." in PAGE
    assert "The sanity checks pass for nine of these ten networks;" in PAGE
    same = [record for row in ("relu-same", "parametric_softplus-same") for record in records("headline", row)]
    failing = [(record.row, record.seed) for record in same if "failed" in record.measured[1].sanity]
    assert len(same) == 10 and failing == [("parametric_softplus-same", 4)]
    assert "steps and restarts converge" in records("headline", "parametric_softplus-same")[4].measured[1].sanity
    page = " ".join((ROOT / "docs" / "speed.md").read_text(encoding="utf-8").split())
    changes = [compared(name, f"{name}-same") for name in ("parametric_softplus", "relu")]
    assert "it changes parametric softplus by {} and ReLU by {}; there".format(*changes) in page
    everyone = [
        record
        for name in ("relu", "parametric_softplus")
        for setting in ONE_STEP
        for record in records("headline", f"{name}{setting}")
    ]
    worst = [
        min(robust(one, AUTO_ATTACK) for one in everyone if one.row.startswith(name))
        for name in ("parametric_softplus", "relu")
    ]
    assert "of these smooth networks stands at {:.1f}%, the worst with ReLU at {:.1f}%.".format(*worst) in README


UNDER_AUTO_ATTACK = {
    "ReLU, PGD-1": "relu",
    "parametric softplus, PGD-1": "parametric_softplus",
    "ReLU, PGD-1 in float32": "relu-same",
    "parametric softplus, PGD-1 in float32": "parametric_softplus-same",
    "ReLU, PGD-1, weight decay 2e-3": "relu-weight-decay-2e-3",
    "parametric softplus, PGD-1, weight decay 2e-3": "parametric_softplus-weight-decay-2e-3",
    "parametric softplus, PGD-1, weight decay 2e-3, 50 epochs": "parametric_softplus-50-epochs-weight-decay-2e-3",
    "ReLU, PGD-2": "relu-pgd-2",
    "parametric softplus, PGD-2": "parametric_softplus-pgd-2",
    "ReLU, PGD-2, weight decay 2e-3": "relu-pgd-2-weight-decay-2e-3",
    "parametric softplus, PGD-2, weight decay 2e-3": "parametric_softplus-pgd-2-weight-decay-2e-3",
    "ReLU, PGD-1, smooth gradients in training": "relu-smooth-gradients",
}


def test_auto_attack() -> None:
    for named, row in UNDER_AUTO_ATTACK.items():
        found = accuracies("headline", row, AUTO_ATTACK)
        shown = [f"{100 * one:.1f}" for one in found]
        seeds = " | ".join([*shown, *["not run"] * (5 - len(shown))])
        assert f"| {named} | {seeds} | {spread(found)} |" in PAGE

    def compared(ours: str, theirs: str, column: str | None = AUTO_ATTACK) -> str:
        return said(between(("headline", ours), ("headline", theirs), column)).lstrip("+")

    one_step = compared("parametric_softplus", "relu")
    single = [
        f"{gain:.1f}" for gain in seed_by_seed(("headline", "parametric_softplus"), ("headline", "relu"), AUTO_ATTACK)
    ]
    seeds = f"{', '.join(single[:-1])} and {single[-1]}"
    assert f"parametric softplus gains {one_step}, in the single seeds {seeds}: two carry the mean" in PAGE
    worst = [100 * min(accuracies("headline", row, AUTO_ATTACK)) for row in ("parametric_softplus", "relu")]
    assert "the worst smooth network stands at {:.1f}% and the worst ReLU network at {:.1f}%".format(*worst) in PAGE
    assert f"it is not ahead, {compared('parametric_softplus-pgd-2', 'relu-pgd-2')}" in PAGE
    two, clean, pgd = (compared("relu-pgd-2", "parametric_softplus", one) for one in (AUTO_ATTACK, CLEAN, PGD))
    assert f"has {two} points there, {clean} on clean images, and +{pgd} under PGD-50" in PAGE
    no_gain = compared("parametric_softplus-pgd-2", "relu-pgd-2")
    assert f"{no_gain} points under AutoAttack and {said(N_FGSM)} under APGD-DLR" in PAGE
    assert f"no difference is shown ({no_gain} under AutoAttack)" in README
    assert f"under AutoAttack ({two} for ReLU); on clean images ReLU is behind ({clean});" in README
    short, long = "parametric_softplus-weight-decay-2e-3", "parametric_softplus-50-epochs-weight-decay-2e-3"
    decay, longer, longer_clean = (
        said(between(("headline", row), ("headline", "relu-pgd-2"), column))
        for row, column in ((short, AUTO_ATTACK), (long, AUTO_ATTACK), (long, CLEAN))
    )
    told = f"against ReLU with two steps {decay} and {longer}, and with 50 epochs {longer_clean} on clean images"
    assert told in PAGE
    tuned = "relu-pgd-2-weight-decay-2e-3"
    same = [
        said(between(("headline", row), ("headline", tuned), column))
        for row, column in ((short, AUTO_ATTACK), (long, AUTO_ATTACK), (long, CLEAN))
    ]
    assert "at that same weight decay {} and {}, and {} on clean images".format(*same) in PAGE
    assert "steps at the same weight decay: a difference of {}, and {} on clean images".format(*same[1:]) in README
    over_others = [
        said(between(("headline", f"{name}-pgd-2-weight-decay-2e-3"), ("headline", f"{name}-pgd-2"), AUTO_ATTACK))
        for name in ("relu", "parametric_softplus")
    ]
    assert "is {} from that at 5e-4 with ReLU and {} with parametric softplus".format(*over_others) in PAGE
    new = [f"{100 * one:.1f}" for row in (short, long) for one in accuracies("headline", row, AUTO_ATTACK)[3:]]
    assert "the two new ones to less, {} and {}, and {} and {}%.".format(*new) in PAGE
    for row in (short, long):
        chosen = accuracies("headline", row, AUTO_ATTACK)[:3]
        assert min(chosen) >= 0.73 and max(accuracies("headline", row, AUTO_ATTACK)[3:]) < 0.73
    means = {row: mean(accuracies("headline", row, AUTO_ATTACK)) for row in UNDER_AUTO_ATTACK.values()}
    ours, theirs = ("headline", short), ("headline", "relu-weight-decay-2e-3")
    gain, clean = (said(between(ours, theirs, column)) for column in (AUTO_ATTACK, CLEAN))
    *some, last = (f"{one:.1f}" for one in seed_by_seed(ours, theirs, AUTO_ATTACK))
    told = f"it gains {gain.lstrip('+')}, in the single seeds {', '.join(some)} and {last}, and {clean} on clean images"
    assert told in PAGE
    assert f"no better there than at 5e-4 ({said(between(theirs, ('headline', 'relu'), AUTO_ATTACK))})" in PAGE
    relu = records(*theirs)
    assert not any("failed" in one.measured[1].sanity for one in relu)
    (again,) = (one for one in records("fresh_seeds", theirs[1]) if one.network == relu[-1].network)
    left = [f"{share:.1f}%" for share in (robust(again, PGD), robust(again), robust(relu[-1], AUTO_ATTACK))]
    assert "which has {} under PGD-50, {} under APGD-DLR and {} under AutoAttack".format(*left) in PAGE
    best = max((row for row in means if row.startswith("parametric")), key=means.__getitem__)
    smooth = "parametric_softplus-pgd-2-weight-decay-2e-3"
    shown = [spread(accuracies("headline", row, AUTO_ATTACK)) for row in (smooth, tuned)]
    shown += [said(between(("headline", smooth), ("headline", tuned), column)) for column in (AUTO_ATTACK, CLEAN)]
    assert "parametric softplus comes to {} there and ReLU to {}, a difference of {}, and {} on".format(*shown) in PAGE
    assert "with two steps at weight decay 2e-3 is {} behind ReLU of the same".format(shown[2].lstrip("−")) in README
    best_of_all = [spread(accuracies("headline", row, AUTO_ATTACK)) for row in (long, tuned)]
    assert best == long and "The best smooth mean is {}, the best with ReLU {}, with".format(*best_of_all) in README
    first, second = sorted((row for row in means if row.startswith("relu")), key=means.__getitem__)[:-3:-1]
    assert (first, second) == (tuned, "relu-smooth-gradients") and max(means.values()) == means[tuned]
    assert (
        f"ReLU's {100 * means[tuned]:.1f} is the highest mean of all, and not to be told apart from the next." in PAGE
    )
    both = f"the best means with ReLU are {100 * means[first]:.1f} (two steps, weight decay 2e-3) and"
    both += f" {100 * means[second]:.1f} (smooth gradients)"
    assert f"the best smooth mean is {100 * means[long]:.1f}%, {both}" in PAGE
    gains = [compared("relu-smooth-gradients", row) for row in ("relu", "relu-pgd-2", "parametric_softplus")]
    assert f"is not shown to be behind a smooth one (+{gains[2]})" in PAGE
    assert (
        "They gain {} points over ReLU trained without, {} over ReLU with two steps, and {} over the smooth".format(
            *gains
        )
        in PAGE
    )


def test_what_the_worst_network_shows() -> None:
    """ReLU's third seed falls to AutoAttack where gradients had left it standing, and the sanity checks see that."""
    (apgd,) = (one for one in records("replica", "relu-replica") if one.seed == 2)
    (one,) = (one for one in records("headline", "relu") if one.seed == 2)
    assert apgd.run == one.run and apgd.measured[0] == one.measured[0]
    assert f"still has {robust(one, PGD):.1f}% under PGD-50 and {robust(apgd):.1f}% under APGD-DLR" in PAGE
    verdicts = zip(apgd.columns[APGD].robust_correct, one.columns[AUTO_ATTACK].robust_correct, strict=True)
    assert f"AutoAttack takes {sum(before and not after for before, after in verdicts)} images" in PAGE
    failed = {
        row: [record.seed for record in records("headline", row) if record.measured[1].sanity.count("failed")]
        for row in ("relu", "parametric_softplus", "relu-pgd-2", "parametric_softplus-pgd-2", "relu-smooth-gradients")
    }
    assert failed["relu"] == [2] and not failed["parametric_softplus"] and not failed["relu-smooth-gradients"]
    black_box = {
        row: sum("white box, black box" in record.measured[1].sanity for record in records("headline", row))
        for row in failed
    }
    assert (black_box["parametric_softplus-pgd-2"], black_box["relu-pgd-2"]) == (3, 2)
    shown = [spread(accuracies("headline", row, PGD)) for row in ("parametric_softplus-pgd-2", "relu-pgd-2")]
    assert "with {} and {}".format(*shown) in PAGE


def test_what_single_runs_came_to() -> None:
    for table, row, text in (
        ("section_3_3", "parametric_softplus-twice-as-long", "Parametric softplus comes to {}, {} and {}%"),
        (
            "recipe",
            "parametric_softplus-weight-decay-2e-3",
            "best is weight decay 2e-3, for 25 epochs with {}, {} and {}%",
        ),
        ("recipe", "parametric_softplus-50-epochs-weight-decay-2e-3", "and for 50 with {}, {} and {}%"),
    ):
        assert text.format(*(f"{100 * one:.1f}" for one in accuracies(table, row, APGD))) in PAGE
    smooth, relu = (
        [one.training_seconds for one in records("headline", row) if one.machine.startswith("Intel")]
        for row in ("parametric_softplus-weight-decay-2e-3", "relu-pgd-2")
    )
    took_smooth, took_relu = (f"{min(seconds):.0f} to {max(seconds):.0f}" for seconds in (smooth, relu))
    assert f"took {took_smooth} seconds, one of ReLU with two steps {took_relu}," in PAGE


def test_the_readme_has_the_same_numbers() -> None:
    cells = {
        "ReLU": ("replica", "relu-replica", "relu", "relu-pgd-2"),
        "parametric softplus": (
            "replica",
            "parametric_softplus-replica",
            "parametric_softplus",
            "parametric_softplus-pgd-2",
        ),
    }
    for named, (table, apgd, one_step, two_steps) in cells.items():
        shown = [spread(accuracies(table, apgd, APGD))]
        shown += [spread(accuracies("headline", row, AUTO_ATTACK)) for row in (one_step, two_steps)]
        assert f"| {named} | {' | '.join(shown)} |" in README
    gradients = spread(of_five("relu-smooth-gradients"))
    gradients += f" | {spread(accuracies('headline', 'relu-smooth-gradients', AUTO_ATTACK))}"
    assert f"| ReLU, smooth gradients in training | {gradients} | |" in README
    (demo,) = (one for one in records("headline", "parametric_softplus") if one.seed == 0)
    assert f"{demo.columns[AUTO_ATTACK].robust}" in README


def test_fine_tuning_after_conversion() -> None:
    page = " ".join((ROOT / "docs" / "fine-tune.md").read_text(encoding="utf-8").split())

    def clean(row: str) -> str:
        return spread(accuracies("conversion", row, CLEAN))

    ways = [f"{name}-{way}" for name in ("silu", "parametric_softplus") for way in ("swap", "recalibrated", "annealed")]
    relu = f"ReLU has {clean('relu-1-epoch')} after another epoch and {clean('relu-5-epochs')} after five"
    assert f"trained for 25 epochs, {clean('standard')}," in page and relu in page
    means = [100 * mean(accuracies("conversion", f"{way}-{n}", CLEAN)) for way in ways for n in ("1-epoch", "5-epochs")]
    assert f"the other means lie between {min(means):.1f} and {max(means):.1f}." in page
    assert f"| ReLU | {spread(accuracies('conversion', 'relu-adversarial', APGD))} | | |" in page
    for name, three in (("silu", ways[:3]), ("parametric_softplus", ways[3:])):
        cells = " | ".join(spread(accuracies("conversion", f"{way}-adversarial", APGD)) for way in three)
        assert f"| {name} | {cells} |" in page
    over_relu = [
        between(("conversion", f"{way}-adversarial"), ("conversion", "relu-adversarial"), APGD) for way in ways
    ]
    assert not any(one.significant for one in over_relu)
    assert f"difference from ReLU is {said(max(over_relu, key=lambda one: abs(one.value)))}, a 95% interval" in page
    assert f"{spread(accuracies('figure_3', 'parametric_softplus', APGD))}: five epochs are a beginning" in page


FAMILIES = [(True,), (False,), (True, False)]
COMPARED = [  # here, and in no table
    (("headline", "parametric_softplus-weight-decay-2e-3"), ("headline", "relu-pgd-2"), AUTO_ATTACK),
    (
        ("headline", "parametric_softplus-pgd-2-weight-decay-2e-3"),
        ("headline", "parametric_softplus-pgd-2"),
        AUTO_ATTACK,
    ),
    *((("section_3_3", f"{name}-pgd-2"), ("section_3_3", "relu-pgd-2"), PGD) for name in ("silu", "gelu")),
    (("figure_3", "parametric_softplus"), ("figure_3", "silu"), APGD),
    (("figure_3", "parametric_softplus"), ("figure_3", "gelu"), APGD),
    (("figure_3", "parametric_softplus"), ("figure_3", "mish"), APGD),
    (("replica", "parametric_softplus-replica"), ("replica", "relu-replica"), APGD),
    (("table_1", "both"), ("figure_3", "parametric_softplus"), APGD),
    (("table_1", "attacker"), ("table_1", "neither"), PGD),
    (("one_step", "parametric_softplus-n_fgsm"), ("one_step", "parametric_softplus"), CLEAN),
    (("headline", "relu-pgd-2"), ("headline", "parametric_softplus"), PGD),
    (("headline", "parametric_softplus-same"), ("headline", "relu-same"), AUTO_ATTACK),
    (("headline", "relu"), ("headline", "relu-same"), AUTO_ATTACK),
    (("headline", "parametric_softplus"), ("headline", "parametric_softplus-same"), AUTO_ATTACK),
    (("headline", "relu-smooth-gradients"), ("headline", "relu-pgd-2"), AUTO_ATTACK),
    *(
        (
            ("headline", f"parametric_softplus{row}weight-decay-2e-3"),
            ("headline", "relu-pgd-2-weight-decay-2e-3"),
            column,
        )
        for row in ("-", "-50-epochs-")
        for column in (AUTO_ATTACK, CLEAN)
    ),
    (("headline", "relu-smooth-gradients"), ("headline", "parametric_softplus"), AUTO_ATTACK),
]


@pytest.mark.parametrize("page", ["README.md", "docs/speed.md", "docs/when-smooth-wins.md"])
def test_every_spread_and_interval_is_in_a_table_or_compared_here(page: str) -> None:
    known = (ROOT / "zoo" / "RESULTS.md").read_text(encoding="utf-8")
    known += " ".join(str(between(*comparison)) for comparison in COMPARED)
    known += " ".join(str(over_settings(column)) for column in (APGD, CLEAN, PGD))
    known += " ".join(f"{spread(of_five(row))} {between_five(row, 'relu')}" for row in FIVE)
    known += f" {between_five('relu-smooth-gradients', 'parametric_softplus')} "
    known += " ".join(str(over_rates(*two)) for two in OVER_RATES) + str(N_FGSM)
    known += f" {over_one_step()} {over_one_step(CLEAN)} "
    known += " ".join(str(monotone_against_dipping(lambda row, of=of: (row in FIRST) in of)) for of in FAMILIES)
    figures = re.findall(r"\d+\.\d ± \d+\.\d", (ROOT / page).read_text(encoding="utf-8"))
    assert figures and [figure for figure in figures if figure not in known] == []
