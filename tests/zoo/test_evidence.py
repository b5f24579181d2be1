"""Which runs the tables on Fashion-MNIST must hold: every row and seed, under both tiers of attacks."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import ModelCard

from smoothify.reproduction import Record, Table, find_tables, read_divergences, read_records

ROOT = Path(__file__).parents[2]
TABLES = {
    table.folder.name: table for table in find_tables(ROOT / "zoo") if table.folder.parent.name == "fashion_mnist"
}
FOR_A_GPU = {"full"}


def records(table: Table) -> list[Record]:
    return [record for row in table.rows for record in read_records(table, row)]


def test_every_table_is_whole() -> None:
    for name, table in TABLES.items():
        runs = len(records(table)) + sum(len(read_divergences(table, row)) for row in table.rows)
        assert runs == (0 if name in FOR_A_GPU else len(table.rows) * len(table.seeds)), name
        assert name in FOR_A_GPU or len(table.seeds) >= 3 or name == "fresh_seeds", name


def test_every_recipe_and_seed_met_pgd_50_on_all_images_and_apgd_dlr_on_1000() -> None:
    missing: dict[tuple[str, int], tuple[str, str]] = {}
    known: set[tuple[str, int]] = set()
    for name, table in TABLES.items():
        for record in records(table):
            run = record.digest, record.seed
            assert record.measured[0].attack == "PGD-50" and record.measured[0].robust.images == 2000
            apgd = [one for one in record.columns.values() if one.attack == "APGD-DLR" and one.robust.images == 1000]
            missing.setdefault(run, (name, record.row))
            known |= {run} if apgd else set()
    assert [row for run, row in missing.items() if run not in known] == []


def test_the_headline_pairs_met_auto_attack_and_the_sanity_checks_in_five_seeds() -> None:
    headline = TABLES["headline"]
    assert headline.seeds == (0, 1, 2, 3, 4)
    for record in records(headline):
        attacks = {one.attack: one for one in record.columns.values()}
        assert attacks["AutoAttack"].robust.images == 1000
        assert any(one.sanity is not None for one in record.measured)


def test_the_cards_of_the_shipped_models_say_what_the_records_say() -> None:
    headline = TABLES["headline"]
    for name in ("relu", "parametric_softplus"):
        card = ModelCard.load(
            ROOT / "zoo" / "fashion_mnist" / "models" / name / "README.md", ignore_metadata_errors=True
        )
        stated = {result.metric_name: result.metric_value for result in card.data.eval_results}
        (record,) = (one for one in records(headline) if one.row == name and one.seed == 0)
        attacks = {one.attack: one.robust.value for one in record.columns.values()}
        assert stated == {
            "clean accuracy": record.measured[0].clean.value,
            "robust accuracy under pgd-50 (linf, epsilon 0.1)": attacks["PGD-50"],
            "robust accuracy under autoattack (linf, epsilon 0.1)": attacks["AutoAttack"],
        }
