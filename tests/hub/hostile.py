"""Repositories made to do harm: a valid one with one thing changed, and the words of its refusal."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from typing import Any

from hypothesis import strategies as st

Config = dict[str, Any]
Files = dict[str, bytes]


def _block(**changes: Any) -> Callable[[Config], Config]:
    return lambda config: {**config, "smoothify": {**config["smoothify"], **changes}}


def _arguments(**changes: Any) -> Callable[[Config], Config]:
    return lambda config: _block(model_args={**config["smoothify"]["model_args"], **changes})(config)


def _cfg(**changes: Any) -> Callable[[Config], Config]:
    return lambda config: {**config, "pretrained_cfg": {**config["pretrained_cfg"], **changes}}


def _conversion(**changes: Any) -> Callable[[Config], Config]:
    return lambda config: _block(conversions=[{**config["smoothify"]["conversions"][0], **changes}])(config)


def _top(**changes: Any) -> Callable[[Config], Config]:
    return lambda config: {**config, **changes}


def _foreign(**changes: Any) -> Callable[[Config], Config]:
    """A plain timm config without our block."""

    def change(config: Config) -> Config:
        return {"architecture": "resnet18", "num_classes": 10, "model_args": {}, **changes}

    return change


# What is changed in config.json, and what the error says.
CONFIGS: dict[str, tuple[Callable[[Config], Config], str]] = {
    "unknown format": (_block(format=99), "upgrade smoothify"),
    "format of another type": (_block(format="1"), "upgrade smoothify"),
    "format true": (_block(format=True), "upgrade smoothify"),
    "surplus key in the block": (_block(script="import os"), "unknown 'script'"),
    "block is a list": (_top(smoothify=[1]), "not an object"),
    "unknown architecture": (_block(architecture="resnet1800"), "no architecture 'resnet1800'; did you mean"),
    "architecture is a path": (_block(architecture="../../evil"), "architecture is '../../evil'"),
    "architecture is a source": (_block(architecture="hf-hub:evil/x"), "architecture is 'hf-hub:evil/x'"),
    "architecture is a number": (_block(architecture=3), "architecture is 3"),
    "pickle as checkpoint": (_arguments(checkpoint_path="/tmp/evil.pth"), "may not hold 'checkpoint_path'"),
    "pretrained": (_arguments(pretrained=True), "may not hold 'pretrained'"),
    "pretrained_cfg": (_arguments(pretrained_cfg={"url": "http://evil"}), "may not hold 'pretrained_cfg'"),
    "cache_dir": (_arguments(cache_dir="/etc"), "may not hold 'cache_dir'"),
    "features only": (_arguments(features_only=True), "may not hold 'features_only'"),
    "argument's name is no name": (_arguments(**{"a.b()": 1}), "may not hold 'a.b()'"),
    "unknown argument": (_arguments(no_such_argument=1), "timm cannot build resnet18"),
    "activation of no library": (_arguments(act_layer="os.system"), "timm cannot build resnet18"),
    "a billion blocks": (_arguments(layers=[10**5, 1, 1, 1]), "more than 20,000 modules"),
    "as many blocks as would fill the memory before the first is built": (
        lambda config: {"architecture": "convnext_tiny", "model_args": {"depths": [10**9, 1, 1, 1]}},
        "not a number below 1e+06",
    ),
    "as many blocks, each stage within bounds": (
        lambda config: {"architecture": "levit_128", "model_args": {"depths": [10**6] * 40}},
        "adds up to 40,000,000, which is more than 1,000,000",
    ),
    "a huge width": (_arguments(channels=[2 * 10**5] * 4), "more than 10,000,000,000 parameters"),
    "a number beyond bounds": (_arguments(stem_width=10**30), "not a number below"),
    "a negative width": (_arguments(stem_width=-8), "cannot build|missing|stored"),
    "another width than the weights'": (_arguments(channels=[16, 32, 64, 256]), "is stored as"),
    "another depth than the weights'": (_arguments(layers=[2, 1, 1, 1]), "layer1.1.bn1.bias is missing"),
    "deep nesting": (_arguments(layers=[[[[[[[[1]]]]]]]]), "nested deeper"),
    "very many values": (_arguments(layers=[1] * 10_000), "holds more than"),
    "a long text": (_arguments(stem_type="x" * 1000), "cannot stand there"),
    "a text for a number": (_top(num_classes="10"), "num_classes is '10'"),
    "a billion classes": (_top(num_classes=10**9), "num_classes is 1000000000"),
    "other classes than the weights'": (_top(num_classes=11), "is stored as"),
    "an image without channels": (_cfg(input_size=[0, 28, 28]), "input_size"),
    "an image of two numbers": (_cfg(input_size=[28, 28]), "input_size"),
    "a huge image": (_cfg(input_size=[1, 10**6, 10**6]), "input_size"),
    "a mean of text": (_cfg(mean=["0.5"]), "mean"),
    "activation outside the catalogue": (_conversion(to="os.system('x')"), "no activation of the catalogue"),
    "activation with code": (
        _conversion(to="celu(alpha=__import__('os'))"),
        "no activation of the catalogue",
    ),
    "activation of another kind": (_conversion(to=7), "cannot stand there"),
    "a site outside the model": (_conversion(sites={"no.such.site": "silu"}), "cannot be replayed"),
    "a site that is a path": (_conversion(sites={"../../etc": "silu"}), "which no module has"),
    "a site with code": (_conversion(sites={"act1": "eval(x)"}), "cannot be replayed"),
    "a site whose name moves the cursor": (_conversion(sites={"act1\x1b[2J": "silu"}), "which no module has"),
    "a site whose name reads backwards": (_conversion(sites={"act1\u202etca": "silu"}), "which no module has"),
    "a site with control characters": (_conversion(sites={"act1": "silu\x1b[2J"}), "cannot stand there"),
    "other sites than recorded": (_conversion(only=["layer1.*"], strict=False), "cannot be replayed"),
    "sites of another kind": (_conversion(sites=["act1"]), "not an object"),
    "a factory": (_conversion(to=None), "cannot be replayed"),
    "surplus key in a conversion": (_conversion(code="x"), "unknown 'code'"),
    "no strict": (_conversion(strict="yes"), "neither true nor false"),
    "a hundred conversions": (_block(conversions=[{}] * 100), "not a list of 0 to 32"),
    "a conversion with nothing": (_block(conversions=[{}]), "sites"),
    "no digest": (_block(weights_sha256=None), "weights_sha256"),
    "another digest": (_block(weights_sha256="0" * 64), "damaged or was replaced"),
    "native of another kind": (_block(native={"timm": True}), "native"),
    "a version with code": (_block(versions={"torch": "$(rm -rf)"}), "versions.torch"),
    "foreign, file argument": (
        _foreign(model_args={"checkpoint_path": "x"}),
        "may not hold 'checkpoint_path'",
    ),
    "foreign, other weights": (
        _foreign(architecture="test_resnet"),
        "do not fit test_resnet",
    ),
    "foreign, unknown": (_foreign(architecture="no_such_net"), "no architecture"),
    "foreign, ten times the weights": (
        _foreign(architecture="vgg11"),
        "describes a model of 128,807,306 parameters, and the weights hold",
    ),
    "neither timm nor transformers": (lambda config: {"weights": "x"}, "names no architecture"),
    "transformers, unknown class": (
        lambda config: {"model_type": "resnet", "architectures": ["os.system"]},
        "no image classifier",
    ),
    "transformers, remote code": (
        lambda config: {
            "model_type": "resnet",
            "architectures": ["ResNetForImageClassification"],
            "auto_map": {"AutoModel": "evil--model.Model"},
        },
        "fetch or run something else",
    ),
    "transformers, huge": (
        lambda config: {
            "model_type": "resnet",
            "architectures": ["ResNetForImageClassification"],
            "hidden_sizes": [2 * 10**5] * 4,
        },
        "more than 10,000,000,000 parameters",
    ),
    "transformers, ten times the weights": (
        lambda config: {
            "model_type": "resnet",
            "architectures": ["ResNetForImageClassification"],
        },
        "describes a model of 23,512,130 parameters, and the weights hold",
    ),
    "transformers, other weights": (
        lambda config: {
            "model_type": "resnet",
            "architectures": ["ResNetForImageClassification"],
            "depths": [1] * 4,
            "embedding_size": 8,
            "hidden_sizes": [8] * 4,
        },
        "missing|unexpected",
    ),
}


# What config.json is byte for byte, and what the error says.
BYTES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "not readable as JSON"),
    "not UTF-8": (b"\xff\xfe{}", "not readable as JSON"),
    "a list": (b"[]", "not a JSON object"),
    "NaN": (b'{"architecture": "resnet18", "num_classes": NaN}', "not readable as JSON"),
    "a key twice": (b'{"architecture": "resnet18", "architecture": "resnet50"}', "stands twice"),
    "a tower of brackets": (
        b'{"architecture": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        "not readable as JSON",
    ),
    "a number of 10,000 digits": (b'{"architecture": ' + b"9" * 10_000 + b"}", "not readable as JSON"),
    "9 MB": (b'{"architecture": "' + b"x" * 9_000_000 + b'"}', "more than the"),
}


# Any JSON at all, for what hypothesis tries.
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20) | st.just("silu"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def changed(files: Files, change: Callable[[Config], Config]) -> Files:
    """The repository with its config changed."""
    config = change(deepcopy(json.loads(files["config.json"])))
    return {**files, "config.json": json.dumps(config).encode()}
