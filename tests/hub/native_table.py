"""Writes docs/hub_families.md: which families of timm and transformers load without smoothify.

``python -m tests.hub.native_table ROWS.jsonl`` saves the smallest architecture of every family that has a non-smooth
activation, converted to SiLU and to SmoothReLU, and asks the exporter what it proved. It takes most of an hour; when it
is stopped, it goes on after the rows that the file holds.
"""

from __future__ import annotations

import json
import sys
import tempfile
import textwrap
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import torch
from torch import nn

from smoothify import __version__, surgery
from smoothify.errors import SmoothifyError
from smoothify.hub import save_pretrained

PAGE = Path(__file__).parents[2] / "docs" / "hub_families.md"
ACTIVATIONS = ("silu", "smoothrelu")
LARGEST = 200_000_000
LIBRARIES = ("timm", "transformers")
ALONE, ROUNDED, OURS = "{} alone", "{} alone, to rounding", "with smoothify"


@dataclass(frozen=True)
class Row:
    """A family, the architecture tried, how many activations were converted, and who loads it with each of them.

    ``skipped`` says why there is nothing to tell.
    """

    library: str
    family: str
    name: str = ""
    activations: int = 0
    loads: tuple[str, ...] = ()
    skipped: str = ""


def families() -> Iterator[tuple[str, str, list[str]]]:
    """Every (library, family, its architectures)."""
    import timm
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES as CLASSES

    for family in timm.list_modules():
        yield "timm", family, timm.list_models(module=family)
    for family in sorted(set(CLASSES)):
        yield "transformers", family, [family]


def build(library: str, name: str) -> nn.Module:
    """Build an architecture with random weights; a transformer of transformers with two layers."""
    if library == "timm":
        import timm

        return timm.create_model(name)
    import transformers
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES as CLASSES

    config = transformers.AutoConfig.for_model(name)
    if isinstance(getattr(config, "num_hidden_layers", None), int):
        config.num_hidden_layers = 2
    kind = CLASSES[name] if isinstance(CLASSES[name], str) else CLASSES[name][0]
    return getattr(transformers, kind)(config)


def smallest(library: str, names: list[str]) -> str:
    """The architecture with the fewest parameters, if there is one below ``LARGEST``."""
    sizes = {}
    for name in names:
        with torch.device("meta"):
            sizes[name] = sum(parameter.numel() for parameter in build(library, name).parameters())
    name = min(sizes, key=lambda name: sizes[name])
    if sizes[name] > LARGEST:
        raise ValueError(f"{name} has {sizes[name]:,} parameters")
    return name


def measure(library: str, family: str, names: list[str]) -> Row:
    """Convert, save, and ask for what was proven."""
    try:
        name = smallest(library, names)
        loads = []
        for to in ACTIVATIONS:
            torch.manual_seed(0)
            model = build(library, name)
            surgery.convert_(model, to=to)
            converted = surgery.conversions(model)
            if not converted:
                return Row(library, family, name, skipped="executes no non-smooth activation")
            loads.append(proven(library, name, model))
    except Exception as error:  # whatever a host raises for its own default is a row that says so
        return Row(library, family, skipped=f"{type(error).__name__}: {str(error)[:300]}")
    return Row(library, family, name, len(converted[0]["sites"]), tuple(loads))


def proven(library: str, name: str, model: nn.Module) -> str:
    with tempfile.TemporaryDirectory() as parent:
        try:
            folder = save_pretrained(model, Path(parent) / "out")
        except SmoothifyError as error:
            print(f"{library}/{name}: {error}", file=sys.stderr)
            return "not saved"
        block = json.loads((folder / "config.json").read_text())["smoothify"]
    return (ALONE if block["native_exact"] else ROUNDED).format(library) if block["native"] else OURS


def rows_of(file: Path, advance: Callable[[Row], None]) -> list[Row]:
    """The rows that the file holds, and after them those that were missing, each appended once it is measured."""
    kept = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    rows = [Row(**{**row, "loads": tuple(row["loads"])}) for row in kept]
    known = {(row.library, row.family) for row in rows}
    for library, family, names in families():
        if (library, family) not in known:
            row = measure(library, family, names)
            with file.open("a") as lines:
                lines.write(json.dumps(asdict(row)) + "\n")
            rows.append(row)
            advance(row)
    return rows


def page(rows: list[Row]) -> str:
    """The page's text."""
    versions = ", ".join(f"{name} {version(name).partition('+')[0]}" for name in ("torch", *LIBRARIES))
    parts = [
        "# Which families load without smoothify",
        f"Measured by `python -m tests.hub.native_table` with smoothify {__version__}, {versions}: the smallest "
        "architecture of every family that executes a non-smooth activation (a default config of transformers, with "
        "two layers where it counts them), converted, saved, and rebuilt by its own library alone, with bit-equal "
        "logits or not. Hard activations become what they approximate, whatever the conversion asks for, so a family "
        "without ReLU "
        "loads in the same way in both columns. A family that is not listed executes nothing but smooth activations "
        "and is saved and loaded as it is.",
    ]
    parts[-1] += (
        ' "Not saved" is a class of transformers whose output are features, no logits. torchvision loads nothing from '
        "the Hub: its classifiers always load with smoothify."
    )
    parts[-1] = textwrap.fill(parts[-1], 120)
    names = [(library, family) for library, family, _ in families()]
    for library in LIBRARIES:
        found = [row for row in rows if row.library == library and row.loads]
        alone = sum("alone" in row.loads[0] for row in found)
        parts.append(f"## {library}\n\n{alone} of these {len(found)} load with SiLU by {library} alone.")
        heads = ("family", "architecture tried", "activations", *(f"`{to}` loads" for to in ACTIVATIONS))
        cells = [(row.family, row.name, str(row.activations), *row.loads) for row in found]
        lines = (heads, ("---",) * len(heads), *cells)
        parts.append("\n".join("| " + " | ".join(line) + " |" for line in lines))
        tried = {(row.library, row.family) for row in rows if row.name}
        untried = [family for kind, family in names if kind == library and (kind, family) not in tried]
        if untried:
            parts.append(f"Not tried, or not built from a default config: {', '.join(untried)}.")
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    measured = rows_of(Path(sys.argv[1]), lambda row: print(row, flush=True))
    PAGE.write_text(page(measured))
