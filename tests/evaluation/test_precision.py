"""Whatever precision a user has asked for, a measurement is in float32, and leaves the settings as they were."""

from collections.abc import Callable, Iterator

import pytest
import torch

from smoothify.evaluation import full_precision

NEW = hasattr(torch.backends, "fp32_precision")
since_2_9 = pytest.mark.skipif(not NEW, reason="torch before 2.9 has only the old interface")
BACKENDS = (
    (
        torch.backends.cuda.matmul,
        torch.backends.cudnn.conv,
        torch.backends.cudnn.rnn,
        torch.backends.mkldnn.matmul,
        torch.backends.mkldnn.conv,
    )
    if NEW
    else ()
)
GENERIC = (torch.backends,) if NEW else ()


def old_tf32() -> None:
    torch.backends.cuda.matmul.allow_tf32 = True


def new_tf32() -> None:
    torch.backends.cuda.matmul.fp32_precision = "tf32"


def new_everywhere() -> None:
    torch.backends.fp32_precision = "tf32"


def new_bfloat16_on_cpu() -> None:
    torch.backends.mkldnn.matmul.fp32_precision = "bf16"


SETTINGS = [
    lambda: None,
    old_tf32,
    lambda: torch.set_float32_matmul_precision("medium"),
    pytest.param(new_tf32, marks=since_2_9),
    pytest.param(new_everywhere, marks=since_2_9),
    pytest.param(new_bfloat16_on_cpu, marks=since_2_9),
]


def new_interface() -> list[str]:
    return [backend.fp32_precision for backend in (*GENERIC, *BACKENDS)]


def old_interface() -> tuple[str, bool, bool] | str:
    try:
        return (
            torch.get_float32_matmul_precision(),
            torch.backends.cuda.matmul.allow_tf32,
            torch.backends.cudnn.allow_tf32,
        )
    except RuntimeError:
        return "mixed"


@pytest.fixture
def restored() -> Iterator[None]:
    before = new_interface()
    yield
    for backend, precision in zip((*GENERIC, *BACKENDS), before, strict=True):
        backend.fp32_precision = precision
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = True
    for backend, precision in zip(BACKENDS, before[len(GENERIC) :], strict=True):
        backend.fp32_precision = precision


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.usefixtures("restored")
def test_float32_inside_and_as_before_outside(setting: Callable[[], None]) -> None:
    setting()
    before, old = new_interface(), old_interface()
    with torch.autocast("cpu", dtype=torch.bfloat16), full_precision(torch.device("cpu")):
        assert new_interface()[len(GENERIC) :] == ["ieee"] * len(BACKENDS)
        assert old_interface() in (("highest", False, False), "mixed")
        assert old == "mixed" or old_interface() != "mixed", "code that reads the old interface still can"
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
    assert new_interface() == before
    assert old_interface() == old
