"""An evaluation that is killed goes on when the same command is given again, and comes to the same verdicts."""

import json
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from smoothify import evaluate
from tests.command_line.conftest import environment, launch

pytestmark = pytest.mark.xdist_group("command line")
BATCHES = 8
MEASURE = ["--attack", "pgd-60", "--step_size", "0.0007", "--batch_size", "6", "--threads", "1"]  # takes every step


def killed(command: list[str], kept: Path) -> int:
    """Start a command, kill all its processes once some batches are kept, and return how many were."""
    process = subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL)
    deadline, finished = time.monotonic() + 180, 0
    while finished < 2 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
        finished = sum(len(json.loads(file.read_text())) for file in kept.glob("*.json"))
    tree = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    for one in tree:
        one.kill()
    process.wait()
    psutil.wait_procs(tree, timeout=30)
    return sum(len(json.loads(file.read_text())) for file in kept.glob("*.json"))


@pytest.fixture(scope="module")
def whole(run: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, object]]:
    output = tmp_path_factory.mktemp("whole") / "figures.json"
    evaluate.main([str(run[0] / "best"), *MEASURE, "--output", str(output)])
    return json.loads(output.read_text())["results"]


@pytest.mark.parametrize("processes", [1, 2])
def test_killed_and_given_again(
    processes: int, run: tuple[Path, str], whole: list[dict[str, object]], tmp_path: Path
) -> None:
    output = tmp_path / "figures.json"
    arguments = ["smoothify.evaluate", str(run[0] / "best"), *MEASURE, "--output", str(output)]
    launcher = [] if processes == 1 else ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    kept = tmp_path / ".figures.json.partial"
    finished = killed([sys.executable, *launcher, "-m", *arguments], kept)
    assert 2 <= finished < BATCHES
    assert not output.exists()
    file = next(file for file in sorted(kept.glob("*.json")) if json.loads(file.read_text()))
    batches = json.loads(file.read_text())
    number = int(next(iter(batches)))
    batches[str(number)][2] = [1, 0, 1, 0, 1, 0]  # what is kept is believed: these verdicts are seen again
    file.write_text(json.dumps(batches))
    done = launch(*arguments, processes=processes)
    assert done.returncode == 0, done.stderr
    assert f"{kept} is of an evaluation that was interrupted" in done.stdout.replace("\n", " ")
    (expected,), (found,) = whole, json.loads(output.read_text())["results"]
    assert found["fell_to"][6 * number : 6 * number + 6] == ["PGD-60", ""] * 3
    assert {**found, "fell_to": None} == {**expected, "fell_to": None}
    assert not kept.exists()
