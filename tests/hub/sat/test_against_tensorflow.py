"""The mapping, proven: TensorFlow writes a checkpoint under the authors' names, and both sides give the same logits.

One small checkpoint that TensorFlow wrote lies beside the tests, so that this is checked where it is not installed.
"""

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from smoothify.hub.sat import Imported, import_sat

WRITTEN = Path(__file__).with_name("written_by_tensorflow")
SIDE = Path(__file__).with_name("tensorflow_side.py")
SIZES = (64, 75, 97)  # SAME pads an even and an odd size differently


@pytest.mark.skipif(
    importlib.util.find_spec("tensorflow") is None,
    reason="tensorflow is not installed: pip install tensorflow-cpu runs this comparison",
)
@pytest.mark.parametrize(
    ("model", "arguments"),
    [
        ("resnet50", {}),
        ("resnet101", {}),
        ("resnext50_32x4d", {"layers": (1, 1, 1, 1)}),
        ("efficientnet_b0", {}),
        ("efficientnet_b2", {}),
    ],
)
def test_logits_equal(model: str, arguments: dict[str, object], tmp_path: Path) -> None:
    prefix = tmp_path / model
    command = [sys.executable, str(SIDE), model, str(prefix), *map(str, SIZES)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    efficient = model.startswith("efficientnet")
    imported = import_sat(prefix, model=model, activation="silu" if efficient else "smoothrelu", arguments=arguments)
    assert imported.averaged == efficient
    compare(imported, prefix, SIZES)


def test_what_tensorflow_wrote_is_read_without_it() -> None:
    arguments = {"layers": (2, 1, 1, 1), "channels": (4, 6, 8, 10), "num_classes": 5}
    imported = import_sat(WRITTEN, model="resnet50", activation="smoothrelu", arguments=arguments)
    assert (imported.averaged, imported.unused) == (False, ())
    compare(imported, WRITTEN / "small", (33,))


def compare(imported: Imported, prefix: Path, sizes: tuple[int, ...]) -> None:
    recorded = np.load(f"{prefix}.npz")
    for size in sizes:
        images = torch.from_numpy(recorded[f"images{size}"]).permute(0, 3, 1, 2)
        with torch.no_grad():
            logits = imported.model(images)
        expected = torch.from_numpy(recorded[f"logits{size}"])
        assert expected.std() > 0.1
        torch.testing.assert_close(logits, expected, rtol=0, atol=1e-4 * expected.abs().max().item())
