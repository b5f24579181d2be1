"""The mapping, proven: TensorFlow writes a checkpoint under the authors' names, and both sides give the same logits."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from smoothify.hub.sat import import_sat

SIDE = Path(__file__).with_name("tensorflow_side.py")
SIZES = (64, 75, 97)  # SAME pads an even and an odd size differently

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("tensorflow") is None,
    reason="tensorflow is not installed: pip install tensorflow-cpu runs this comparison",
)


@pytest.mark.parametrize(
    ("kind", "model", "activation", "arguments"),
    [
        ("resnet", "resnet50", "smoothrelu", {}),
        ("resnext", "resnext50_32x4d", "smoothrelu", {"layers": (1, 1, 1, 1)}),
        ("efficientnet", "efficientnet_b0", "silu", {}),
    ],
)
def test_logits_equal(kind: str, model: str, activation: str, arguments: dict[str, object], tmp_path: Path) -> None:
    prefix = tmp_path / kind
    command = [sys.executable, str(SIDE), kind, str(prefix), *map(str, SIZES)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    imported = import_sat(prefix, model=model, activation=activation, arguments=arguments)
    assert imported.averaged == (kind == "efficientnet")
    recorded = np.load(f"{prefix}.npz")
    for size in SIZES:
        images = torch.from_numpy(recorded[f"images{size}"]).permute(0, 3, 1, 2)
        with torch.no_grad():
            logits = imported.model(images)
        expected = torch.from_numpy(recorded[f"logits{size}"])
        assert expected.std() > 0.1
        torch.testing.assert_close(logits, expected, rtol=0, atol=1e-4 * expected.abs().max().item())
