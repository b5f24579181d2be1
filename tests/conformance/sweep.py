"""The whole zoo, one row each: ``python -m tests.conformance.sweep [--every N] [--match GLOB]``.

A sweep that was stopped goes on where it was; rows that did not hold are run again.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import sys
import warnings
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

# Models until the workers are renewed, for what the libraries leave in memory. The executor's own max_tasks_per_child
# hangs in Python 3.11 once it is reached.
PART = 400


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
        if row.failures or row.extra.get("skipped"):  # it reads values while it is built or runs: built for real
            zoo.ON_CPU = True
            row = sweep_row(name, _ZOO[name])
            zoo.ON_CPU = False
        return asdict(row)


_ZOO = None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=1, help="only every N-th model")
    parser.add_argument("--match", default="*", help="a glob over names such as timm/resnet*")
    parser.add_argument("--out", type=Path, default=Path("sweep.jsonl"), help="a JSON-lines file for the rows")
    parser.add_argument("--fresh", action="store_true", help="run the rows again that --out already holds")
    parser.add_argument("--sample", action="store_true", help="one small member of every family")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    from rich.progress import Progress

    from .sample import sample
    from .zoo import every_model

    zoo = sample() if options.sample else every_model()
    names = [name for name in zoo if fnmatch(name, options.match)][:: options.every]
    rows = [] if options.fresh or not options.out.exists() else finished(options.out)
    known = {str(row["name"]) for row in rows}
    left = [name for name in names if name not in known]
    context = multiprocessing.get_context("spawn")
    with options.out.open("w") as out, Progress() as progress:
        for row in rows:
            out.write(json.dumps(row) + "\n")
        out.flush()
        task = progress.add_task("sweep", total=len(left))
        for start in range(0, len(left), PART):
            with ProcessPoolExecutor(options.workers, context, bound_memory, (options.workers,)) as pool:
                for future in as_completed([pool.submit(one, name) for name in left[start : start + PART]]):
                    rows.append(future.result())  # a worker that was killed ends the sweep here; run it again to go on
                    out.write(json.dumps(rows[-1]) + "\n")
                    out.flush()
                    progress.advance(task)
    return summary([row for row in rows if row["name"] in set(names)])


def finished(path: Path) -> list[dict[str, Any]]:
    """Return the rows of an earlier sweep that held; the others are run again."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [row for row in rows if not row["failures"] and not row["extra"].get("skipped")]


def bound_memory(workers: int) -> None:
    """Give a worker its share of the machine's memory: beyond it a row fails, and nothing is killed."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    share = int(0.8 * physical / workers)
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (share if most == resource.RLIM_INFINITY else min(share, most), most))


def summary(rows: list[dict[str, Any]]) -> int:
    hosts = Counter(str(row["name"]).partition("/")[0] for row in rows)
    failed = [row for row in rows if row["failures"]]
    skipped = [row for row in rows if row["extra"].get("skipped")]
    rows = [row for row in rows if not row["extra"].get("skipped")]
    seconds = sum(float(row["seconds"]) for row in rows)
    print(f"\n{'host':<14}{'rows':>6}{'changed':>9}{'verified':>10}{'fail':>6}")
    for host, count in hosts.items():
        mine = [row for row in rows if str(row["name"]).startswith(f"{host}/")]
        changed = sum(bool(row["converted"]) for row in mine)
        verified = sum(bool(row["verified"]) for row in mine)
        failing = sum(bool(row["failures"]) for row in mine)
        print(f"{host:<14}{count:>6}{changed:>9}{verified:>10}{failing:>6}")
    for row in failed:
        print(f"FAILS  {row['name']}: {row['failures']}")
    for row in skipped:
        print(f"no row  {row['name']}: {row['extra']['skipped'][:120]}")
    print(f"{len(rows)} rows, {len(failed)} fail, {len(skipped)} not to be had; {seconds / 60:.0f} minutes of one core")
    return 1 if failed else 0


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
