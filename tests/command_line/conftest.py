"""How the commands are run, and one run of training that several files share."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

BIN = Path(sys.executable).parent
TINY = [
    "--epochs",
    "2",
    "--batch_size",
    "16",
    "--data.held_out",
    "16",
    "--attack.check",
    "pgd-2",
    "--lr",
    "0.05",
    "--threads",
    "1",
]


def environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ACCELERATE_", "WORLD", "RANK"))}
    return {**kept, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "COLUMNS": "120"}


def launch(*arguments: str, processes: int = 1, timeout: float = 240) -> subprocess.CompletedProcess[str]:
    command = [str(BIN / "accelerate"), "launch", "--quiet", "--num_machines", "1", "--mixed_precision", "no"]
    command += ["--dynamo_backend", "no", "--num_processes", str(processes)]
    command += ["--multi_gpu", "--main_process_port", "0"] if processes > 1 else []
    return subprocess.run(
        [*command, "-m", *arguments], env=environment(), capture_output=True, text=True, timeout=timeout, check=False
    )


@pytest.fixture(scope="session")
def run(stripes: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """One run through the launcher, and what it printed."""
    folder = tmp_path_factory.mktemp("runs") / "one"
    done = launch("smoothify.train", "--output", str(folder), "--data.path", str(stripes), *TINY)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout
