"""What docs/when-smooth-wins.md counts over all runs is counted again here, from the records."""

from __future__ import annotations

from pathlib import Path
from statistics import correlation, mean

from smoothify.reproduction import Record, Row, find_tables, read_records, read_table
from smoothify.reproduction.plots import setting_of

ROOT = Path(__file__).parents[2]
PAGE = " ".join((ROOT / "docs" / "when-smooth-wins.md").read_text(encoding="utf-8").split())
ATTACK = "APGD-DLR, Linf 0.1 (1,000 images)"


def adversarial_runs() -> dict[tuple[str, int, str], tuple[Row, Record]]:
    tables = [table for table in find_tables(ROOT / "zoo") if table.name != "fashion_mnist/conversion"]
    found = ((row, record) for table in tables for row in table.rows for record in read_records(table, row))
    return {record.run: (row, record) for row, record in found if row.settings["objective"] != "standard"}


def single_step(row: Row) -> bool:
    attack = row.settings["attack"]
    return attack["steps"] == 1 and "method" not in attack and "surrogate" not in row.settings


def is_of(row: Row, activation: str) -> bool:
    return bool(row.settings["model"]["activation"] == activation)


def said(number: float, digits: int) -> str:
    return f"{number:.{digits}f}".replace("-", "−")


def test_pairs_of_runs() -> None:
    """A pair is of one setting, activation apart, and one seed; of a seed that ran on two machines, the last."""
    by_setting: dict[tuple[str, int], dict[str, Record]] = {}
    for row, record in adversarial_runs().values():
        if single_step(row) and ATTACK in record.columns:
            setting = repr(sorted(setting_of(row).items()))
            by_setting.setdefault((setting, record.seed), {})[row.settings["model"]["activation"]] = record
    pairs = {key: found for key, found in by_setting.items() if {"keep", "parametric_softplus"} <= {*found}}

    def gains(accuracy: str) -> list[float]:
        def of(record: Record) -> float:
            measured = record.columns[ATTACK] if accuracy == "robust" else record.measured[0]
            return float(100 * getattr(measured, accuracy).value)

        return [round(of(found["parametric_softplus"]) - of(found["keep"]), 6) for found in pairs.values()]

    robust = gains("robust")
    assert len({setting for setting, _ in pairs}) == 12
    ahead = sum(gain > 0 for gain in robust)
    assert f"in {ahead} of {len(pairs)} pairs of runs at epsilon 0.1, in twelve settings" in PAGE
    assert f"by {mean(robust):.1f} points of APGD-DLR accuracy in the mean" in PAGE
    assert f"never more than {-min(robust):.1f} behind" in PAGE
    assert f"Clean accuracy is {mean(gains('clean')):.1f} points higher" in PAGE


def test_what_the_single_step_gap_goes_with() -> None:
    runs = [record for _, record in adversarial_runs().values() if ATTACK in record.columns]
    robust = [100 * record.columns[ATTACK].robust.value for record in runs]
    gaps = [100 * record.single_step_gap for record in runs]
    small = mean(share for share, gap in zip(robust, gaps, strict=True) if gap < 6.5)
    large = mean(share for share, gap in zip(robust, gaps, strict=True) if gap > 7.5)
    assert f"Of {len(runs)} runs" in PAGE
    assert f"come to {small:.1f}% in the mean, those above 7.5 to {large:.1f}%" in PAGE
    assert f"the correlation is {said(correlation(gaps, robust), 2)}." in PAGE
    one_step = [record.held_out_single_step[record.epoch - 1] for record in runs]
    assert f"does not tell them apart ({said(correlation(one_step, robust), 2)})" in PAGE
    training = [record.train_accuracy for record in runs]
    assert f"accuracy on attacked training images ({said(correlation(training, robust), 2)})" in PAGE


def test_how_many_runs_overfit_to_their_step() -> None:
    def largest_gaps(activation: str, *epsilons: object) -> list[float]:
        return [
            max(one - ten for one, ten in zip(record.held_out_single_step[3:], record.held_out[3:], strict=True))
            for row, record in adversarial_runs().values()
            if single_step(row) and is_of(row, activation) and row.settings["attack"]["epsilon"] in epsilons
        ]

    relu, smooth = largest_gaps("keep", 0.1), largest_gaps("parametric_softplus", 0.1)
    assert f"in {sum(gap > 0.15 for gap in relu)} of {len(relu)} runs with ReLU" in PAGE
    (late,) = (gap for gap in smooth if gap > 0.15)
    assert f"in 1 of {len(smooth)} with parametric softplus ({100 * late:.0f} points)" in PAGE
    first, second, third = (f"{100 * gap:.0f}" for gap in sorted(largest_gaps("smoothrelu", 0.1), reverse=True))
    assert f"does as ReLU does ({first}, {second} and {third} points in its three runs)" in PAGE
    assert max(largest_gaps("keep", "8/255") + largest_gaps("parametric_softplus", "8/255")) <= 0.05 + 1e-9


def percents(table: str, row: str, column: str) -> list[str]:
    """Give a row's robust accuracies, in percent, in the order of its seeds."""
    read = read_table(ROOT / "zoo" / "fashion_mnist" / table / "table.yaml")
    (found,) = (one for one in read.rows if one.name == row)
    records = sorted(read_records(read, found), key=lambda record: record.seed)
    return [f"{100 * record.columns[column].robust.value:.1f}" for record in records]


def test_what_single_runs_came_to() -> None:
    auto_attack = "AutoAttack, Linf 0.1 (1,000 images)"
    by_seed = {
        "ReLU, PGD-1": "relu",
        "parametric softplus, PGD-1": "parametric_softplus",
        "ReLU, PGD-2": "relu-pgd-2",
        "parametric softplus, PGD-2": "parametric_softplus-pgd-2",
        "parametric softplus, PGD-1, weight decay 2e-3": "parametric_softplus-weight-decay-2e-3",
        "ReLU, PGD-1, smooth gradients in training": "relu-smooth-gradients",
    }
    for named, row in by_seed.items():
        assert f"| {named} | {' | '.join(percents('headline', row, auto_attack))} |" in PAGE
    (one,) = percents("headline", "relu-pgd-2-weight-decay-2e-3", auto_attack)
    assert f"ReLU with two steps came to {one}% at that weight decay in seed 0" in PAGE
    gradients = percents("headline", "relu-smooth-gradients", auto_attack)
    for row, after in (("relu-pgd-2", "over ReLU with two steps"), ("parametric_softplus", "over the smooth networks")):
        others = percents("headline", row, auto_attack)
        *gains, last = (said(float(one) - float(other), 1) for one, other in zip(gradients, others, strict=True))
        assert f"{', '.join(gains)} and {last} {after}" in PAGE
    first, second, third = percents("section_3_3", "parametric_softplus-twice-as-long", ATTACK)
    assert f"softplus comes to {first}, {second} and {third}%" in PAGE
    first, second, third = percents("recipe", "parametric_softplus-weight-decay-2e-3", ATTACK)
    assert f"come to {first}, {second} and {third}%" in PAGE
    first, second, third = percents("recipe", "relu-weight-decay-5e-3", ATTACK)
    assert f"At 5e-3 ReLU's come to {first}, {second} and {third}%" in PAGE
