"""The model card: what a model is, how to load it in the ways proven, its numbers with their attack."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from smoothify.errors import HubError
from smoothify.hub.config import ModelConfig
from smoothify.hub.tokens import refuse_tokens

# Stands for the repository's id until push_folder knows it.
YOUR_REPO = "your-name/your-model"
_NATIVE_LOADING = {
    "timm": f'import timm\n\nmodel = timm.create_model("hf-hub:{YOUR_REPO}", pretrained=True)',
    "transformers": "from transformers import AutoModelForImageClassification\n\n"
    f'model = AutoModelForImageClassification.from_pretrained("{YOUR_REPO}")',
}
_FILE_NAME = r"\w[\w.\-]*"


@dataclass(frozen=True)
class Result:
    """One measured accuracy. ``attack`` is "none" for clean accuracy, else for example "pgd-50"; ``accuracy``
    and ``interval`` (95%, low and high) are fractions; ``epsilon`` is in [0, 1] pixel units.

    >>> str(Result("pgd-50", 0.741, epsilon=0.1, interval=(0.721, 0.760)))
    'robust accuracy under pgd-50 (linf, epsilon 0.1): 74.1% [72.1, 76.0]'
    """

    attack: str
    accuracy: float
    epsilon: float | None = None
    norm: str = "linf"
    interval: tuple[float, float] | None = None
    images: int | None = None
    verdict: str | None = None

    def __post_init__(self) -> None:
        for value in (self.accuracy, *(self.interval or ())):
            if not 0 <= value <= 1:
                raise HubError(f"result of {self.attack}: {value} is no accuracy; pass a fraction from 0 to 1")
        if (self.epsilon is None) != (self.attack == "none"):
            raise HubError(f"result of {self.attack}: a robust accuracy needs its epsilon, a clean one has none")

    @property
    def name(self) -> str:
        """What was measured, in words."""
        if self.epsilon is None:
            return "clean accuracy"
        levels = self.epsilon * 255
        epsilon = f"{levels:.0f}/255" if abs(levels - round(levels)) < 1e-6 else f"{self.epsilon:.6g}"
        return f"robust accuracy under {self.attack} ({self.norm}, epsilon {epsilon})"

    @property
    def value(self) -> str:
        """The accuracy in percent and its interval."""
        bounds = f" [{self.interval[0]:.1%}, {self.interval[1]:.1%}]".replace("%", "") if self.interval else ""
        return f"{self.accuracy:.1%}{bounds}"

    def __str__(self) -> str:
        return f"{self.name}: {self.value}"


@dataclass(frozen=True)
class CardFacts:
    """What a model card tells. ``dataset`` is the name that people use and ``dataset_id`` its id on the Hub,
    if it has one; ``recipe`` is shown as a table; ``images`` are names of files that lie beside README.md.

    >>> CardFacts("resnet18-silu", activation="silu", dataset="Fashion-MNIST").license
    'apache-2.0'
    """

    model_name: str
    activation: str
    dataset: str
    dataset_id: str | None = None
    license: str = "apache-2.0"
    results: tuple[Result, ...] = ()
    recipe: Mapping[str, object] = field(default_factory=dict)
    images: tuple[str, ...] = ()
    about: str = ""


def render_card(card: CardFacts | str | None, config: ModelConfig) -> str:
    """Return the text of README.md, metadata and body, from facts or from a text about the model.

    >>> text = render_card(None, ModelConfig("resnet18", native=("timm",)))
    >>> "timm.create_model" in text, "library_name: timm" in text
    (True, True)
    """
    if isinstance(card, CardFacts):
        facts = card
    else:
        facts = CardFacts(config.architecture, _activations(config), "", about=card or "")
    for name in facts.images:
        if not re.fullmatch(_FILE_NAME, name):
            raise HubError(f"{name!r} is no file beside the card; pass a plain file name")
    text = f"---\n{_metadata(facts, config).to_yaml()}\n---\n\n{_body(facts, config)}\n"
    refuse_tokens(text, "the model card")
    return text


def with_repo_id(text: str, repo_id: str) -> str:
    """Return a card's text with the repository's id where ``save_pretrained`` could not know it.

    >>> with_repo_id('smoothify.from_pretrained("your-name/your-model")', "me/x")
    'smoothify.from_pretrained("me/x")'
    """
    return text.replace(YOUR_REPO, repo_id)


def _metadata(facts: CardFacts, config: ModelConfig) -> ModelCardData:
    robust = any(result.epsilon is not None for result in facts.results)
    results = [
        EvalResult(
            task_type="image-classification",
            task_name="Image classification",
            dataset_type=facts.dataset_id or _slug(facts.dataset),
            dataset_name=facts.dataset,
            dataset_split="test",
            metric_type="accuracy",
            metric_name=result.name,
            metric_value=round(result.accuracy, 6),
            metric_args=_metric_args(result),
        )
        for result in facts.results
    ]
    return ModelCardData(
        license=facts.license,
        library_name=config.host if config.native else "smoothify",
        pipeline_tag="image-classification",
        tags=["smoothify", *(["robust"] if robust else []), _library_tag(config), "image-classification"],
        datasets=[facts.dataset_id] if facts.dataset_id else None,
        metrics=["accuracy"] if results else None,
        model_name=facts.model_name if results else None,
        eval_results=results or None,
    )


def _library_tag(config: ModelConfig) -> str:
    return "pytorch" if config.host == "user" else config.host


def _metric_args(result: Result) -> dict[str, Any]:
    found = {
        "attack": result.attack,
        "norm": result.norm if result.epsilon is not None else None,
        "epsilon": result.epsilon,
        "interval_95": list(result.interval) if result.interval else None,
        "images": result.images,
        "sanity": result.verdict,
    }
    return {name: value for name, value in found.items() if value is not None}


def _body(facts: CardFacts, config: ModelConfig) -> str:
    parts = [f"# {_plain(facts.model_name)}", _introduction(facts, config), _loading(config)]
    if facts.results:
        parts.append("## Results\n\n" + _results(facts.results))
    for name in facts.images:
        parts.append(f"![{name.rsplit('.', 1)[0].replace('_', ' ')}]({name})")
    if facts.recipe:
        parts.append("## Recipe\n\n" + _table(("field", "value"), list(facts.recipe.items())))
    return "\n\n".join(part for part in parts if part)


def _results(results: Sequence[Result]) -> str:
    """A table of what was measured; columns that no result fills are left out."""
    columns: dict[str, list[object]] = {
        "measured": [result.name for result in results],
        "value [95% interval]": [result.value for result in results],
        "images": [result.images for result in results],
        "sanity": [result.verdict for result in results],
    }
    filled = {head: cells for head, cells in columns.items() if any(cell is not None for cell in cells)}
    rows = [tuple("" if cell is None else cell for cell in row) for row in zip(*filled.values(), strict=True)]
    return _table(tuple(filled), rows)


def _introduction(facts: CardFacts, config: ModelConfig) -> str:
    library = "of its author's own code" if config.host == "user" else f"of {config.host}"
    activation = f" with the activation `{facts.activation}`" if facts.activation else ""
    trained = f", trained on {_plain(facts.dataset)}" if facts.dataset else ""
    return f"`{config.architecture}` {library}{activation}{trained}.\n\n{facts.about}".strip()


def _loading(config: ModelConfig) -> str:
    ours = f'import smoothify\n\nmodel = smoothify.from_pretrained("{YOUR_REPO}")'
    if config.host == "user":
        return (
            f"## Loading\n\n```python\n{ours[:-1]}, "
            f'architecture="{config.architecture}")\n```\n\n'
            f"It needs smoothify, and its author's code, which holds `{config.architecture}`."
        )
    if not config.native:
        return (
            f"## Loading\n\n```python\n{ours}\n```\n\n"
            f"This model needs smoothify: {config.host} alone cannot load it with its activations, and does not."
        )
    native = _NATIVE_LOADING[config.host]
    how = "" if config.native_exact else " (with logits equal to rounding)"
    return f"## Loading\n\n```python\n{ours}\n```\n\nor, without smoothify{how}:\n\n```python\n{native}\n```"


def _activations(config: ModelConfig) -> str:
    specs = {spec for conversion in config.conversions for spec in conversion["sites"].values()}
    return specs.pop() if len(specs) == 1 else ""


def _table(head: tuple[str, ...], rows: Sequence[tuple[object, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(_plain(str(cell)) for cell in line) + " |" for line in lines)


def _plain(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "unknown"
