"""Two processes share the checks and come to what one comes to; none waits for another that failed."""

import json

import pytest

from tests.evaluation.ranks import found
from tests.training.test_processes import two

pytestmark = pytest.mark.xdist_group("two processes")


def test_two_processes_share_the_checks() -> None:
    done = two("tests.evaluation.ranks")
    assert done.returncode == 0, done.stderr
    shared, alone = json.loads(done.stdout.splitlines()[-1]), found(None)
    assert shared["honest"]["verdicts"] == alone["honest"]["verdicts"] == ["pass", "pass", "pass"]
    assert shared["honest"]["passed"] < 0.7 * alone["honest"]["passed"]
    assert shared["cut off"]["verdicts"] == alone["cut off"]["verdicts"] == ["fail", "fail", "fail"]
    assert len(shared["noisy"]["verdicts"]) == 3, "they disagree about which images are right, and still finish"
