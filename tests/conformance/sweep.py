"""The whole zoo, one row each: ``python -m tests.conformance.sweep [--every N] [--match GLOB]``."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import warnings
from collections import Counter
from dataclasses import asdict
from fnmatch import fnmatch
from pathlib import Path
from typing import Any


def one(name: str) -> dict[str, object]:
    import torch

    from . import zoo
    from .rows import sweep_row
    from .zoo import every_model

    torch.set_num_threads(1)
    global _ZOO
    if _ZOO is None:
        _ZOO = every_model()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        row = sweep_row(name, _ZOO[name])
        if row.failures or row.extra.get(
            "skipped"
        ):  # some models read values while they are built or run: these are built for real
            zoo.ON_CPU = True
            row = sweep_row(name, _ZOO[name])
            zoo.ON_CPU = False
        return asdict(row)


_ZOO = None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=1, help="only every N-th model")
    parser.add_argument("--match", default="*", help="a glob over names such as timm/resnet*")
    parser.add_argument("--out", type=Path, help="a JSON-lines file for the rows")
    parser.add_argument("--sample", action="store_true", help="one small member of every family")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    from rich.progress import track

    from .sample import sample
    from .tolerated import TOLERATED
    from .zoo import every_model

    zoo = sample() if options.sample else every_model()
    names = [name for name in zoo if fnmatch(name, options.match)][:: options.every]
    rows = []
    out = options.out.open("w") if options.out else None
    context = multiprocessing.get_context("spawn")
    with context.Pool(options.workers, maxtasksperchild=200) as pool:
        for row in track(pool.imap_unordered(one, names), total=len(names), description="sweep"):
            rows.append(row)
            if out:
                out.write(json.dumps(row) + "\n")
                out.flush()
    return summary(rows, TOLERATED)


def summary(rows: list[dict[str, Any]], tolerated: dict[str, str]) -> int:
    hosts = Counter(str(row["name"]).partition("/")[0] for row in rows)
    failed = [row for row in rows if row["failures"]]
    bad = [row for row in failed if row["name"] not in tolerated]
    skipped = [row for row in rows if row["extra"].get("skipped")]
    rows = [row for row in rows if not row["extra"].get("skipped")]
    print(f"\n{'host':<14}{'rows':>6}{'changed':>9}{'verified':>10}{'fail':>6}")
    for host, count in hosts.items():
        mine = [row for row in rows if str(row["name"]).startswith(f"{host}/")]
        changed = sum(bool(row["converted"]) for row in mine)
        verified = sum(bool(row["verified"]) for row in mine)
        failing = sum(bool(row["failures"]) for row in mine)
        print(f"{host:<14}{count:>6}{changed:>9}{verified:>10}{failing:>6}")
    for row in failed:
        reason = tolerated.get(str(row["name"]))
        print(f"{'tolerated' if reason else 'FAILS'}  {row['name']}: {reason or row['failures']}")
    for row in skipped:
        print(f"no row  {row['name']}: {row['extra']['skipped'][:120]}")
    return 1 if bad else 0


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
