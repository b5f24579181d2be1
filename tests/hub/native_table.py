"""Writes docs/hub_families.md: for which timm families a converted model loads without smoothify. Takes minutes.

``python -m tests.hub.native_table`` saves the smallest architecture of every family that has a non-smooth
activation, converted to SiLU and to SmoothReLU, and asks the exporter what it proved.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import timm
import torch
from timm.models import list_modules

from smoothify import __version__, surgery
from smoothify.errors import SmoothifyError
from smoothify.hub import save_pretrained

PAGE = Path(__file__).parents[2] / "docs" / "hub_families.md"
LARGEST = 40_000_000  # parameters
ACTIVATIONS = ("silu", "smoothrelu")


def smallest(family: str) -> str | None:
    """The architecture of a family with the fewest parameters, or None if all are above ``LARGEST``."""
    sizes = {}
    for name in timm.list_models(module=family):
        with torch.device("meta"):
            model = timm.create_model(name)
        sizes[name] = sum(parameter.numel() for parameter in model.parameters())
    found = min(sizes, key=lambda name: sizes[name], default=None)
    return found if found is not None and sizes[found] <= LARGEST else None


def measure(name: str, to: str) -> tuple[int, str] | None:
    """The number of converted activations and what the exporter proved; None if nothing had to be converted."""
    torch.manual_seed(0)
    model = timm.create_model(name)
    try:
        surgery.convert_(model, to=to)
        converted = surgery.conversions(model)
        if not converted:
            return None
        with tempfile.TemporaryDirectory() as parent:
            folder = save_pretrained(model, Path(parent) / "out")
            native = json.loads((folder / "config.json").read_text())["smoothify"]["native"]
    except SmoothifyError as error:
        print(f"{name} to {to}: {error}", file=sys.stderr)
        return 0, "not saved"
    return len(converted[0]["sites"]), "timm alone" if native else "with smoothify"


def main() -> None:
    rows = []
    for family in list_modules():
        name = smallest(family)
        found = [measure(name, to) for to in ACTIVATIONS] if name else [None]
        if None not in found:
            rows.append((family, name, str(found[0][0]), *(how for _, how in found)))
            print(*rows[-1], flush=True)
    heads = ("family", "architecture tried", "activations", *(f"`{to}` loads" for to in ACTIVATIONS))
    table = "\n".join("| " + " | ".join(row) + " |" for row in (heads, ("---",) * len(heads), *rows))
    natively = sum(row[3] == "timm alone" for row in rows)
    PAGE.write_text(
        f"# Which families load without smoothify\n\nMeasured by `python -m tests.hub.native_table` with smoothify "
        f"{__version__}, timm {timm.__version__} and torch {torch.__version__.partition('+')[0]}: the smallest "
        f"architecture of every timm family that executes a non-smooth activation, converted, saved, and rebuilt by "
        f"timm alone with bit-equal logits or not. {natively} of {len(rows)} families load natively with SiLU.\n\n"
        f"{table}\n"
    )


if __name__ == "__main__":
    main()
