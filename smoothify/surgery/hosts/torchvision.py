"""What conversion must know about torchvision. Qualified names only: nothing is imported."""

from __future__ import annotations

# FCOS ends its box branch in a ReLU that makes distances non-negative: part of the output, no activation.
OUTPUT_CONSTRAINTS: dict[str, str] = {
    "torchvision.models.detection.fcos.FCOSRegressionHead": "a constraint on FCOS's box distances",
}
