"""The commands as a person runs them, each in a process of its own."""

import html
import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import smoothify
from smoothify.attacks import PGD
from smoothify.data import Images, hold_out, labels_of, load
from smoothify.evaluation import robust_accuracy
from smoothify.models import PixelClassifier
from tests.command_line.conftest import TINY, environment, launch
from tests.evaluation.browser import CHROMIUM, errors_in_browser

pytestmark = pytest.mark.xdist_group("command line")  # one run is shared by several files


def test_train_prints_epochs_and_a_summary(run: tuple[Path, str]) -> None:
    _, printed = run
    assert len(re.findall(r"^epoch [12]/2  loss \d\.\d{3}  held out: clean .*%  PGD-2 .*%", printed, re.MULTILINE)) == 2
    for words in ("clean accuracy", "robust accuracy, PGD-50", "Linf, epsilon 0.1", "identical logits", "best"):
        assert words in printed


def test_evaluate_agrees_with_the_run(run: tuple[Path, str], tmp_path: Path) -> None:
    folder, _ = run
    output = tmp_path / "figures.json"
    done = launch("smoothify.evaluate", str(folder / "best"), "--attack", "pgd-50", "--attack", "pgd-2",
                  "--threads", "1", "--output", str(output))  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "robust accuracy" in done.stdout
    written = json.loads(output.read_text())
    measured = json.loads((folder / "evaluation.json").read_text())
    assert written["results"][0].items() <= measured.items()
    assert measured["epoch"] in (1, 2) and measured["versions"] == written["versions"]
    assert written["results"][1]["attack"] == "PGD-2"


def test_evaluate_checks_itself_and_says_so(run: tuple[Path, str], tmp_path: Path) -> None:
    folder, _ = run
    output = tmp_path / "figures.json"
    done = launch(
        "smoothify.evaluate",
        str(folder / "best"),
        "--attack",
        "pgd-2",
        "--attack",
        "square-5",
        "--sanity",
        "--sanity_images",
        "8",
        "--step_size",
        "4/255",
        "--threads",
        "1",
        "--output",
        str(output),
        "--report",
        str(tmp_path / "report.html"),
        "--beside",
        str(folder / "last"),
    )
    assert done.returncode == 0, done.stderr
    written = json.loads(output.read_text())
    page = (tmp_path / "report.html").read_text()
    assert f"--beside {folder / 'last'}" in page
    checked = written["sanity"]
    assert (checked["attack"], checked["images"], len(checked["checks"])) == ("PGD-2", 8, 18)
    assert f"sanity of PGD-2 on 8 images: {checked['verdict']}" in done.stdout.splitlines()
    assert html.escape(checked["verdict"]) in page
    for outcome in checked["checks"]:
        assert f"<td>{html.escape(outcome['check'])}</td>" in page
    failed = [one for one in checked["checks"] if one["verdict"] == "fail"]
    about_model = [one for one in failed if one["about"] != "attack"]
    for result, concerned in zip(written["results"], (failed, about_model), strict=True):
        assert result["warnings"][: len(concerned)] == [f"{one['check']}: {one['found']}" for one in concerned]
    assert written["results"][0]["sanity"] == checked["verdict"]
    assert [result["step_size"] for result in written["results"]] == [4 / 255, None]
    assert "WARNING" in done.stdout, "48 images are few"
    assert "PGD-2, step 4/255  " in done.stdout
    assert all("WARNING" in line for line in done.stdout.splitlines() if re.match("PGD-2, step|Square-5", line))
    assert "smoothify.evaluate " in written["command"] and "--sanity_images 8" in written["command"]
    assert {path.name for path in tmp_path.iterdir()} == {"figures.json", "report.html"}, (
        "what was kept for resuming is gone"
    )
    if CHROMIUM:
        assert errors_in_browser(tmp_path / "report.html") == []


def test_two_processes_do_the_same_job(run: tuple[Path, str], stripes: Path, tmp_path: Path) -> None:
    folder = tmp_path / "two"
    done = launch("smoothify.train", "--output", str(folder), "--data.path", str(stripes), *TINY, processes=2)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("epoch 1/2") == 1, "only the main process speaks"
    assert "identical logits" in done.stdout
    saved = PixelClassifier.from_host(smoothify.from_pretrained(folder / "last"))
    source = load(str(stripes))
    _, held_out = hold_out(labels_of(source), 16, seed=0)
    checked = robust_accuracy(saved, Images(source, input_size=(1, 28, 28), indices=held_out), PGD(steps=2))
    reported = json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])
    assert reported["held_out_clean_accuracy"] == checked.clean.value, "what was measured is not what was saved"
    assert reported["held_out_robust_accuracy"] == checked.robust.value
    single = launch(
        "smoothify.evaluate",
        str(folder / "best"),
        "--batch_size",
        "7",
        "--threads",
        "1",
        "--output",
        str(tmp_path / "1.json"),
    )
    double = launch("smoothify.evaluate", str(folder / "best"), "--batch_size", "7", "--threads", "1",
                    "--output", str(tmp_path / "2.json"),
                    processes=2)  # fmt: skip
    assert single.returncode == double.returncode == 0, double.stderr
    one, two = (json.loads((tmp_path / f"{count}.json").read_text()) for count in (1, 2))
    assert {**one, "command": "", "seconds": 0} == {**two, "command": "", "seconds": 0}


def test_an_uneven_batch_is_refused_by_two_processes(stripes: Path, tmp_path: Path) -> None:
    done = launch("smoothify.train", "--output", str(tmp_path / "x"), "--data.path", str(stripes), *TINY,
                  "--batch_size", "15", processes=2)  # fmt: skip
    assert done.returncode != 0
    assert "batch_size=15 cannot be shared evenly by 2 processes" in done.stderr
    assert not (tmp_path / "x").exists()


def test_ctrl_c_stops_cleanly_and_leaves_what_was_finished(stripes: Path, tmp_path: Path) -> None:
    folder = tmp_path / "stopped"
    command = [sys.executable, "-m", "smoothify.train", "--output", str(folder), "--data.path", str(stripes), *TINY]
    process = subprocess.Popen(
        [*command, "--epochs", "1000"],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # a suite that runs in the background hands on that Ctrl-C is ignored
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 120
    while not list((folder / "checkpoints").glob("step-00000015*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130, error
    assert "what was finished before is still in its folder; --resume and that folder go on" in error
    assert "Traceback" not in error
    assert smoothify.from_pretrained(folder / "best")
    assert smoothify.from_pretrained(folder / "last")


def test_bad_input_is_one_line_and_exit_code_2() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "smoothify.train", "--lrr", "1"], env=environment(), capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == "python -m smoothify.train: unknown option 'lrr'; did you mean 'lr'?\n"
