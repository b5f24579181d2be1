"""Results in a card: as ``model-index`` metadata, which the Hub reads, and as a table, which people do."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData
from huggingface_hub.repocard import REGEX_YAML_BLOCK

from smoothify.hub.results import Result

_TABLE = re.compile(r"## Results\n\n(?:\|.*(?:\n|$))+")


def entries(results: Sequence[Result], dataset: str, dataset_types: Mapping[str, str]) -> list[EvalResult]:
    """Return the metadata of results; ``dataset_types`` are the Hub's ids of the data sets that have one."""
    found = []
    for result in results:
        name = result.dataset or dataset
        found.append(
            EvalResult(
                task_type="image-classification",
                task_name="Image classification",
                dataset_type=dataset_types.get(name) or _slug(name),
                dataset_name=name,
                dataset_split=result.split,
                metric_type="accuracy",
                metric_name=result.name,
                metric_value=round(result.accuracy, 6),
                metric_args=_arguments(result),
            )
        )
    return found


def results_table(results: Sequence[Result]) -> str:
    """Return a table of what was measured; columns that no result fills are left out, and splits where all are "test".

    >>> print(results_table([Result("none", 0.5), Result("pgd-2", 0.25, epsilon=8 / 255, images=100)]))
    | measured | value [95% interval] | images |
    | --- | --- | --- |
    | clean accuracy | 50.0% |  |
    | robust accuracy under pgd-2 (linf, epsilon 8/255) | 25.0% | 100 |
    """
    elsewhere = any(result.split != "test" for result in results)
    columns: dict[str, list[object]] = {
        "measured": [result.name for result in results],
        "value [95% interval]": [result.value for result in results],
        "images": [result.images for result in results],
        "data": [result.dataset for result in results],
        "split": [result.split if elsewhere else None for result in results],
        "sanity": [result.verdict for result in results],
    }
    filled = {head: cells for head, cells in columns.items() if any(cell is not None for cell in cells)}
    rows = [tuple("" if cell is None else cell for cell in row) for row in zip(*filled.values(), strict=True)]
    return table(tuple(filled), rows)


def table(head: tuple[str, ...], rows: Sequence[tuple[object, ...]]) -> str:
    """Return a table in Markdown.

    >>> table(("a",), [("1 | 2",)]).splitlines()[-1]
    '| 1 \\\\| 2 |'
    """
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(_cell(str(cell)) for cell in line) + " |" for line in lines)


def plain(text: str) -> str:
    """Return text as one line that ends no cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")


def _cell(text: str) -> str:
    """Return text that Markdown shows as it is: no link, no code, no HTML."""
    return plain(re.sub(r"[\\`*<]|(?<=\])\(", r"\\\g<0>", text))


def with_results(text: str, added: Sequence[Result]) -> tuple[str, list[Result]]:
    """Put results into a card's text, beside those that it has.

    A new one replaces an old one of the same name, data set and split, unless that is of more images. Everything else
    of the card, also what was written by hand, stays.

    Returns:
        The text, and the card's own robust accuracies in whose place a new one was left out.
    """
    card = ModelCard(text)
    data = cast(ModelCardData, card.data)
    if isinstance(written := _metadata(text).get("tags"), str):
        data.tags = [written]  # huggingface_hub 0.34 takes its letters for tags
    kept: list[EvalResult] = list(data.eval_results or [])
    types = {entry.dataset_name: entry.dataset_type for entry in kept}
    only = kept[0].dataset_name if kept else (_listed(data.datasets) or ["unknown"])[0]
    new = entries(added, only, types)
    measured = {_identity(entry): _images(entry) for entry in new}
    kept = [entry for entry in kept if _images(entry) > measured.get(_identity(entry), -1)]
    stronger = {_identity(entry): entry for entry in kept}
    weaker = [stronger[_identity(entry)] for entry in new if _identity(entry) in stronger]
    new = [entry for entry in new if _identity(entry) not in stronger]
    heading = re.search(r"^# (.+)$", card.text, re.MULTILINE)
    data.model_name = data.model_name or (heading[1] if heading else "model")
    data.eval_results = [*kept, *new]
    data.metrics = sorted({*_listed(data.metrics), "accuracy"})
    if any(result.epsilon is not None for result in added):
        data.tags = list(dict.fromkeys([*_listed(data.tags), "robust"]))
    for name in ("datasets", "tags"):
        if getattr(data, name):
            setattr(data, name, _listed(getattr(data, name)))
    results = [_result_of(entry, only) for entry in kept if (entry.metric_args or {}).get("attack")]
    results += [_result_of(entry, only) for entry in new]
    section = f"## Results\n\n{results_table(results)}\n"
    body = _TABLE.sub(lambda _: section, card.text, count=1)
    if not _TABLE.search(card.text):
        before, recipe, after = card.text.partition("\n## Recipe\n")
        body = f"{before.rstrip()}\n\n{section}{recipe}{after}"
    own = [_result_of(entry, only) for entry in weaker if (entry.metric_args or {}).get("attack")]
    return f"---\n{data.to_yaml()}\n---\n{body}", [result for result in own if result.epsilon is not None]


def _metadata(text: str) -> dict[str, Any]:
    """Return what stands between a card's ---, as it was written."""
    found = REGEX_YAML_BLOCK.search(text)
    written = yaml.safe_load(found[2]) if found else None
    return written if isinstance(written, dict) else {}


def _listed(value: str | list[str] | None) -> list[str]:
    """Return what the Hub takes as one text or as a list."""
    return [value] if isinstance(value, str) else list(value or ())


def _arguments(result: Result) -> dict[str, Any]:
    found = {
        "attack": result.attack,
        "norm": result.norm if result.epsilon is not None else None,
        "epsilon": result.epsilon,
        "interval_95": list(result.interval) if result.interval else None,
        "images": result.images,
        "sanity": result.verdict,
    }
    return {name: value for name, value in found.items() if value is not None}


def _result_of(entry: EvalResult, dataset: str) -> Result:
    arguments = entry.metric_args or {}
    return Result(
        arguments["attack"],
        float(entry.metric_value),
        epsilon=arguments.get("epsilon"),
        norm=arguments.get("norm", "linf"),
        interval=tuple(arguments["interval_95"]) if "interval_95" in arguments else None,
        images=arguments.get("images"),
        verdict=arguments.get("sanity"),
        dataset=None if entry.dataset_name == dataset else entry.dataset_name,
        split=entry.dataset_split or "test",
    )


def _identity(entry: EvalResult) -> tuple[str | None, str, str]:
    """As `Result.identity`; a card that was written by hand need not name the split."""
    return entry.metric_name, entry.dataset_name, entry.dataset_split or "test"


def _images(entry: EvalResult) -> int:
    """Return on how many images an entry says that it was measured, 0 where it does not say."""
    count = (entry.metric_args or {}).get("images")
    return count if isinstance(count, int) else 0


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "unknown"
