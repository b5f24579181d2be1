"""The model card: what a model is, how to load it in the ways proven, its numbers with their attack."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import yaml
from huggingface_hub import ModelCard, ModelCardData

from smoothify.errors import HubError
from smoothify.hub.checks import printable
from smoothify.hub.config import ModelConfig
from smoothify.hub.model_index import entries, plain, results_table, table, with_results
from smoothify.hub.results import Result
from smoothify.hub.tokens import refuse_tokens, without_tokens

# Stands for the repository's id until push_folder knows it.
YOUR_REPO = "your-name/your-model"
_NATIVE_LOADING = {
    "timm": f'import timm\n\nmodel = timm.create_model("hf-hub:{YOUR_REPO}", pretrained=True)',
    "transformers": "from transformers import AutoModelForImageClassification\n\n"
    f'model = AutoModelForImageClassification.from_pretrained("{YOUR_REPO}")',
}
_FILE_NAME = r"\w[\w.\-]*"


@dataclass(frozen=True)
class CardFacts:
    """What a model card tells. ``dataset`` is the name that people use and ``dataset_id`` its id on the Hub,
    if it has one; ``license`` is the Hub's id of one, such as "mit", and a model has none unless somebody chose it;
    ``recipe`` is shown as a table; ``images`` are names of files that lie beside README.md.

    >>> CardFacts("resnet18-silu", activation="silu", dataset="Fashion-MNIST", license="mit").license
    'mit'
    """

    model_name: str
    activation: str
    dataset: str
    dataset_id: str | None = None
    license: str | None = None
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


def published_card(
    content: bytes, source: str, repo_id: str, results: Sequence[Result], license_id: str | None = None
) -> str:
    """Return a README.md, which may have been edited by hand, as it is published.

    Args:
        content: what the file holds.
        source: what errors call it.
        repo_id: stands where ``save_pretrained`` could not know it.
        results: what was measured since; see `with_results`.
        license_id: of the licence that stands there from then on; the file's own if not given.

    Raises:
        HubError: it is not UTF-8, or has no metadata that can be read.

    Warns:
        UserWarning: a result was left out, since the card's own is of more images.

    >>> published_card(b'smoothify.from_pretrained("your-name/your-model")', "README.md", "me/x", ())
    'smoothify.from_pretrained("me/x")'
    """
    correct = "correct it, or write the card anew with save_pretrained(..., overwrite=True)"
    try:
        text = content.decode().replace("\r\n", "\n").replace(YOUR_REPO, repo_id)
        if not results and license_id is None:
            ModelCard(text, ignore_metadata_errors=True)
            return text
        text, stronger = with_results(text, results) if results else (text, [])
        if license_id is not None:
            text = _with_license(text, license_id)
    except UnicodeDecodeError as error:
        raise HubError(f"{source}: byte {error.start} is not UTF-8; save it as UTF-8 text") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" (its line {mark.line + 1})" if mark is not None else ""
        raise HubError(f"{source}: what stands between its --- is no YAML{line}; {correct}") from error
    except Exception as error:  # what was written by hand may hold anything where a text or a number stands
        reason = str(error).partition(" Pass `")[0]  # what callers of huggingface_hub would pass
        reason = printable(without_tokens(" ".join(reason.split()))[:200])
        raise HubError(
            f"{source}: what stands between its --- is no metadata of a card ({reason}); {correct}"
        ) from error
    for own in stronger:
        warnings.warn(f"{source}: keeps its {own}, which is of more images ({own.images})", stacklevel=2)
    return text


def check_license(license_id: str | None) -> None:
    """Raise ``HubError`` for what cannot be the id of a licence; whether there is such a one, the Hub knows.

    >>> check_license("my own")
    Traceback (most recent call last):
    smoothify.errors.HubError: license='my own': is no licence's id, such as mit, apache-2.0, or other for your own text
    """
    if license_id is not None and not re.fullmatch(r"[a-z0-9][a-z0-9.\-]{0,63}", license_id):
        raise HubError(
            f"license={license_id!r}: is no licence's id, such as mit, apache-2.0, or other for your own text"
        )


def _with_license(text: str, license_id: str) -> str:
    card = ModelCard(text)
    data = cast(ModelCardData, card.data)
    data.license = license_id
    return f"---\n{data.to_yaml()}\n---\n{card.text}"


def _metadata(facts: CardFacts, config: ModelConfig) -> ModelCardData:
    robust = any(result.epsilon is not None for result in facts.results)
    ids = {facts.dataset: facts.dataset_id} if facts.dataset_id else {}
    results = entries(facts.results, facts.dataset, ids)
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


def _body(facts: CardFacts, config: ModelConfig) -> str:
    parts = [f"# {plain(facts.model_name)}", _introduction(facts, config), _loading(config)]
    if facts.results:
        parts.append("## Results\n\n" + results_table(facts.results))
    for name in facts.images:
        parts.append(f"![{name.rsplit('.', 1)[0].replace('_', ' ')}]({name})")
    if facts.recipe:
        parts.append("## Recipe\n\n" + table(("field", "value"), list(facts.recipe.items())))
    return "\n\n".join(part for part in parts if part)


def _introduction(facts: CardFacts, config: ModelConfig) -> str:
    library = "of its author's own code" if config.host == "user" else f"of {config.host}"
    activation = f" with the activation `{facts.activation}`" if facts.activation else ""
    trained = f", trained on {plain(facts.dataset)}" if facts.dataset else ""
    return f"`{config.architecture}` {library}{_arguments(config)}{activation}{trained}.\n\n{facts.about}".strip()


def _arguments(config: ModelConfig) -> str:
    """Say what makes it another network than its architecture's name promises; too much of it is left to the config."""
    given = ", ".join(f"{name}={value!r}" for name, value in config.model_args.items())
    if not given or config.host not in ("timm", "torchvision"):
        return ""
    return f" built with `{given}`" if len(given) <= 300 and "`" not in given else " built with arguments of its own"


def _loading(config: ModelConfig) -> str:
    own = "".join(f"import {name}\n" for name in config.imports)
    ours = f'{own}import smoothify\n\nmodel = smoothify.from_pretrained("{YOUR_REPO}")'
    needs = "".join(
        f" Its author's own `{name}` has to be imported first: it brings an activation or a rule."
        for name in config.imports
    )
    if config.host == "user":
        return (
            f"## Loading\n\n```python\n{ours[:-1]}, "
            f'architecture="{config.architecture}")\n```\n\n'
            f"It needs smoothify, and its author's code, which holds `{config.architecture}`.{needs}"
        )
    if not config.native:
        return (
            f"## Loading\n\n```python\n{ours}\n```\n\n"
            f"This model needs smoothify: {config.host} alone cannot load it with its activations, and does not.{needs}"
        )
    native = _NATIVE_LOADING[config.host]
    how = "" if config.native_exact else " (with logits equal to rounding)"
    return f"## Loading\n\n```python\n{ours}\n```\n\nor, without smoothify{how}:\n\n```python\n{native}\n```"


def _activations(config: ModelConfig) -> str:
    specs = {spec for conversion in config.conversions for spec in conversion["sites"].values()}
    return specs.pop() if len(specs) == 1 else ""
