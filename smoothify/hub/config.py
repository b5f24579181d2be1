"""config.json: timm's own description of a model and, beside it, a versioned ``smoothify`` block."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from smoothify.errors import HubError
from smoothify.hub.checks import Checks, brief, parse_object
from smoothify.hub.timm_fields import read_model_args, read_pretrained_cfg
from smoothify.models.importing import Factory

FORMAT = 1
HOST_NAMES = ("timm", "torchvision", "transformers", "user")
# Standing where timm looks for an architecture, this makes a load without smoothify fail instead of giving
# ReLU.
NEEDS_SMOOTHIFY = "load_with_smoothify_"
MAX_SITES = 20_000
_BLOCK_KEYS = {
    *("format", "host", "architecture", "model_args", "pretrained_cfg", "conversions", "native", "native_exact"),
    *("weights_file", "weights_sha256", "signature", "versions"),
}
CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
# Where transformers would load the weights into a model with ReLU, whatever its config says, they are named so.
HIDDEN_WEIGHTS = "smoothify.safetensors"
_CONVERSION_KEYS = {"to", "replace", "only", "exclude", "strict", "sites", "imports"}


@dataclass(frozen=True)
class ModelConfig:
    """What a checked config.json says. ``architecture`` and ``model_args`` build the model before any
    conversion.

    ``native`` names the libraries that were proven to load the repository by themselves, ``native_exact`` whether
    bit for bit or to rounding; ``conversions`` are
    replayed by smoothify; ``weights_sha256`` is the hex digest of model.safetensors, or None in a foreign
    repository. Of a model of the user's own code, ``architecture`` only says what that code was called; ``factory`` is
    what the caller gave for it, and ``signature`` some logits that it must give.
    """

    architecture: str
    host: str = "timm"
    num_classes: int | None = None
    model_args: Mapping[str, Any] = field(default_factory=dict)
    pretrained_cfg: Mapping[str, Any] = field(default_factory=dict)
    conversions: tuple[dict[str, Any], ...] = ()
    native: tuple[str, ...] = ()
    native_exact: bool = True
    weights_sha256: str | None = None
    weights_file: str = WEIGHTS
    signature: tuple[tuple[float, ...], ...] = ()
    factory: Factory | None = field(default=None, compare=False)
    ours: bool = False

    @property
    def imports(self) -> tuple[str, ...]:
        """The author's own modules that brought activations or rules; none of them is ever imported."""
        return tuple(sorted({name for conversion in self.conversions for name in conversion.get("imports", ())}))


def read_config(data: bytes, source: str = "config.json") -> ModelConfig:
    """Check every value of a timm config.json, with or without our block, and return it; nothing is executed.

    Raises ``HubError`` with everything that is wrong: unknown format version, values of a wrong type or size,
    arguments that name files, activations that are not in the catalogue. Whether the architecture exists and
    how large it is are checked when it is built.

    >>> read_config(b'{"architecture": "resnet18", "num_classes": 10}').num_classes
    10
    """
    raw = parse_object(data, source)
    checks = Checks(source)
    block = raw.get("smoothify")
    if block is not None:
        config = _read_ours(raw, checks.mapping("smoothify", block), checks)
    elif "architecture" in raw:
        config = _read_timm(raw, checks)
    else:
        raise HubError(f"{source}: names no architecture; this is not a timm or smoothify model")
    checks.raise_if_any()
    return config


def _read_timm(raw: dict[str, Any], checks: Checks) -> ModelConfig:
    # Older timm repositories are flat: what is now pretrained_cfg stood at the top.
    pretrained_cfg = read_pretrained_cfg(raw.get("pretrained_cfg", raw), checks)
    for key in ("label_names", "label_descriptions"):
        if raw.get(key) is not None:
            pretrained_cfg |= read_pretrained_cfg({key: raw[key]}, checks)
    model_args = read_model_args(raw.get("model_args") or {}, checks, "model_args")
    num_classes = model_args.pop("num_classes", raw.get("num_classes", pretrained_cfg.get("num_classes")))
    return ModelConfig(
        architecture=checks.text("architecture", raw["architecture"], r"\w+", 100) or "",
        num_classes=None if num_classes is None else checks.integer("num_classes", num_classes, 0, 1_000_000),
        model_args=model_args,
        pretrained_cfg=pretrained_cfg,
    )


def _read_ours(raw: dict[str, Any], block: dict[str, Any], checks: Checks) -> ModelConfig:
    version = block.get("format")
    if version != FORMAT or isinstance(version, bool):
        checks.complain(
            "smoothify.format",
            f"is {version!r}; this version of smoothify reads format {FORMAT}: upgrade smoothify",
        )
        checks.raise_if_any()
    checks.mapping("smoothify", block, _BLOCK_KEYS)
    versions = checks.mapping("smoothify.versions", block.get("versions", {}))
    for name, value in versions.items():
        checks.text(f"smoothify.versions.{name}", value, r"[\w.+\-]+", 50)
    host = checks.text("smoothify.host", block.get("host", "timm"), "|".join(HOST_NAMES)) or ""
    num_classes = raw.get("num_classes")
    arguments = block.get("model_args", {})
    if host == "transformers":  # its values are checked against the class of config that takes them
        model_args = checks.mapping("smoothify.model_args", arguments)
    else:
        model_args = read_model_args(arguments, checks, "smoothify.model_args")
        checks.integer("num_classes", num_classes, 0, 1_000_000)
    name = r"[\w.<>]+:[\w.<>]+" if host == "user" else r"\w+"
    return ModelConfig(
        architecture=checks.text("smoothify.architecture", block.get("architecture"), name, 200) or "",
        host=host,
        num_classes=num_classes,
        model_args=model_args,
        pretrained_cfg=read_pretrained_cfg(block.get("pretrained_cfg", raw.get("pretrained_cfg", {})), checks),
        conversions=checks.sequence(
            "smoothify.conversions",
            block.get("conversions", []),
            range(33),
            lambda where, value: _read_conversion(where, value, checks),
        ),
        native=checks.sequence(
            "smoothify.native",
            block.get("native", []),
            range(5),
            lambda w, v: checks.text(w, v, r"\w+", 50) or "",
        ),
        weights_sha256=checks.text("smoothify.weights_sha256", block.get("weights_sha256"), r"[0-9a-f]{64}"),
        native_exact=bool(checks.flag("smoothify.native_exact", block.get("native_exact", True))),
        weights_file=weights_file(raw),
        signature=checks.sequence(
            "smoothify.signature",
            block.get("signature", []),
            range(3),
            lambda where, row: checks.sequence(
                where, row, range(65), lambda w, v: checks.number(w, v, -math.inf, math.inf) or 0.0
            ),
        ),
        ours=True,
    )


def _read_conversion(where: str, value: object, checks: Checks) -> dict[str, Any]:
    found = dict(checks.mapping(where, value, _CONVERSION_KEYS))
    sites = found.get("sites")
    if not isinstance(sites, dict) or len(sites) > MAX_SITES:
        checks.complain(f"{where}.sites", f"is not an object of at most {MAX_SITES} sites")
        sites = {}
    for path, spec in sites.items():
        if len(path) > 500 or ".." in path or path.startswith(("/", "\\")) or not path.isprintable():
            checks.complain(f"{where}.sites", f"holds the path {path[:80]!r}, which no module has")
        # A composite's text, "τ + silu(x − τ)", is no spec: it is only compared with what the replay gives.
        checks.text(f"{where}.sites[{path[:80]!r}]", spec, r"[^\x00-\x1f\x7f]*", 200)
    imports = checks.sequence(
        f"{where}.imports",
        found.get("imports", []),
        range(33),
        lambda w, v: checks.text(w, v, r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", 100) or "",
    )
    to = found.get("to")
    if isinstance(to, dict):
        for name, spec in checks.mapping(f"{where}.to", to).items():
            checks.text(f"{where}.to", name, r"\w+", 100)
            _check_spec(f"{where}.to.{name[:80]}", spec, imports, checks)
    elif to is not None:
        _check_spec(f"{where}.to", to, imports, checks)
    for name in ("replace", "only", "exclude"):
        item = found.get(name)
        if isinstance(item, list):
            checks.sequence(f"{where}.{name}", item, range(1001), lambda w, v: checks.text(w, v, limit=200))
        elif item is not None:
            checks.text(f"{where}.{name}", item, limit=200)
    if not isinstance(found.get("strict", True), bool):
        checks.complain(f"{where}.strict", "is neither true nor false")
    return found


def remedy(imports: Sequence[str]) -> str:
    """Say what to do about modules of an author's own that are not imported here ('' if all are).

    >>> remedy(["my_acts", "math"])
    "; its author's own my_acts brought that, and what a repository names is never imported: if you have it and trust
    it, `import my_acts` first (--imports my_acts)"
    """
    missing = [name for name in imports if name not in sys.modules]
    if not missing:
        return ""
    return (
        f"; its author's own {', '.join(missing)} brought that, and what a repository names is never imported: if you "
        f"have it and trust it, `import {', '.join(missing)}` first (--imports {','.join(missing)})"
    )


def _check_spec(where: str, spec: object, imports: Sequence[str], checks: Checks) -> None:
    from smoothify import activations
    from smoothify.errors import SmoothifyError

    if checks.text(where, spec, limit=200) is None:
        return
    try:
        activations.parse(str(spec))
    except SmoothifyError as error:
        told = remedy(imports) or f" ({error})"
        checks.complain(where, f"is {brief(spec)}, no activation of the catalogue{told}")


def weights_file(raw: Mapping[str, Any]) -> str:
    """Return the name of the file that holds the weights of a repository with this config.json.

    >>> weights_file({"smoothify": {"weights_file": "../../evil.bin"}})
    'model.safetensors'
    """
    block = raw.get("smoothify")
    hidden = isinstance(block, dict) and block.get("weights_file") == HIDDEN_WEIGHTS
    return HIDDEN_WEIGHTS if hidden else WEIGHTS


def render_config(config: ModelConfig, document: Mapping[str, Any], versions: Mapping[str, str]) -> str:
    """Return the text of config.json: ``document`` is what other libraries read, our block is added to it.

    What transformers reads has no ``pretrained_cfg``, by which it tells timm's models, so that stands in our block.
    """
    block = {
        "format": FORMAT,
        "host": config.host,
        "architecture": config.architecture,
        "model_args": dict(config.model_args),
        **({} if "pretrained_cfg" in document else {"pretrained_cfg": dict(config.pretrained_cfg)}),
        "conversions": list(config.conversions),
        "native": list(config.native),
        "native_exact": config.native_exact,
        "weights_file": config.weights_file,
        "weights_sha256": config.weights_sha256,
        **({"signature": config.signature} if config.signature else {}),
        "versions": dict(versions),
    }
    return json.dumps({**document, "smoothify": block}, indent=2, allow_nan=False) + "\n"
