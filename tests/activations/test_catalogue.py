"""Names, specs and descriptions."""

from __future__ import annotations

import inspect
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from smoothify import activations
from smoothify.activations import entries, functional, learned, modules
from smoothify.errors import SmoothifyError, SpecError, UnknownNameError

NAMES = {
    *(
        "relu",
        "softplus",
        "parametric_softplus",
        "silu",
        "swish",
        "gelu",
        "gelu_tanh",
        "quick_gelu",
        "elu",
        "celu",
    ),
    *("smoothrelu", "mish", "tanhexp", "tanhsoft_1", "tanhsoft_2", "tanhsoft_3", "hermite", "smelu"),
    *("squareplus", "serf", "logish", "pssilu", "sigmoid", "tanh"),
}


def test_the_catalogue_holds_what_the_paper_and_its_successors_name() -> None:
    assert set(activations.names()) >= NAMES
    assert [entry.name for entry in entries.ENTRIES] == list(activations.names())[: len(entries.ENTRIES)]


def test_every_module_of_ours_is_in_the_table_and_exported() -> None:
    own = {
        kind
        for owner in (modules, learned)
        for _, kind in inspect.getmembers(owner, inspect.isclass)
        if kind.__module__ == owner.__name__ and kind is not modules.Pointwise
    }
    in_table = {entry.module for entry in entries.ENTRIES}
    assert own <= in_table
    assert {kind.__name__ for kind in own} <= set(activations.__all__)


def test_every_entry_says_what_it_is(name: str) -> None:
    entry = activations.get(name)
    assert entry.formula and entry.source
    assert entry.learnable == any(True for _ in activations.create(name).parameters())
    assert (activations.create(name).__doc__ or "").strip()


def test_functional_and_module_agree(name: str) -> None:
    entry = activations.get(name)
    x = torch.randn(50)
    torch.testing.assert_close(entry.functional(x, **entry.defaults), activations.create(name)(x))


def test_describe_inverts_create(name: str) -> None:
    assert activations.describe(activations.create(name)) == name
    for key, value in activations.get(name).defaults.items():
        spec = f"{name}({key}={value / 2 + 0.25 if key != 'terms' else 6})"
        module = activations.create(spec)
        described = activations.describe(module)
        assert described is not None
        again = activations.create(described)
        x = torch.randn(20)
        torch.testing.assert_close(again(x), module(x), rtol=0, atol=0)
        assert activations.describe(again) == described


@pytest.mark.parametrize(
    ("module", "spec"),
    [
        (nn.ReLU(inplace=True), "relu"),
        (nn.Softplus(beta=4), "parametric_softplus(alpha=4)"),
        (nn.Softplus(beta=4, threshold=3), None),
        (nn.GELU(approximate="tanh"), "gelu_tanh"),
        (nn.Mish(), "mish"),
        (nn.ELU(1.4), "elu(alpha=1.4)"),
        (nn.Hardswish(), None),
        (nn.Identity(), None),
        (type("Mine", (nn.ReLU,), {})(), None),
        (activations.SmoothReLU(25), "smoothrelu(alpha=25)"),
    ],
)
def test_describe(module: nn.Module, spec: str | None) -> None:
    assert activations.describe(module) == spec


def test_a_forward_of_its_own_makes_an_instance_no_entry() -> None:
    module = activations.create("swish")
    module.forward = lambda x: x.clamp(min=0)
    assert activations.describe(module) is None and not activations.set_sharpness_(module, 10.0)
    linear, x = nn.Linear(3, 3), torch.randn(4, 3)
    model = nn.Sequential(linear, module, nn.Linear(3, 1))
    expected = torch.autograd.grad(model(x).sum(), [*model.parameters()])
    with activations.recompute(model):
        y = model(x)
    assert all(map(torch.equal, torch.autograd.grad(y.sum(), [*model.parameters()]), expected))


@pytest.mark.parametrize(
    ("spec", "error", "says"),
    [
        ("slu", UnknownNameError, "did you mean 'silu'"),
        ("celu(alfa=1)", SpecError, "did you mean 'alpha'"),
        ("silu(beta=1)", SpecError, "it takes no parameters"),
        ("celu(alpha=one)", SpecError, "is not a number"),
        ("celu(alpha=nan)", SpecError, "is not finite"),
        ("celu(alpha=1, alpha=2)", SpecError, "given twice"),
        ("celu(1.4)", SpecError, "is not 'key=number'"),
        ("celu(alpha=__import__('os'))", SpecError, "not of the form"),
        ("", SpecError, "not of the form"),
        ("swish(beta=-1)", SpecError, "give a finite beta > 0"),
        ("hermite(terms=200)", SpecError, "from 2 to 170"),
        ("pssilu(beta=1)", SpecError, "outside [0, 0.99]"),
        ("hermite(terms=2.5)", SpecError, "whole number"),
    ],
)
def test_errors_say_what_to_do(spec: str, error: type[SmoothifyError], says: str) -> None:
    with pytest.raises(error) as caught:
        activations.create(spec)
    assert says in str(caught.value)


def test_registering_adds_and_never_overwrites(monkeypatch: pytest.MonkeyPatch) -> None:
    from smoothify.activations import catalogue

    monkeypatch.setattr(catalogue, "_ENTRIES", dict(catalogue._ENTRIES))
    monkeypatch.setattr(catalogue, "_READERS", {key: list(each) for key, each in catalogue._READERS.items()})

    class Cubed(nn.Module):
        def __init__(self, scale: float = 2.0) -> None:
            super().__init__()
            self.scale = scale

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.scale * x**3

    entry = activations.Activation(
        "cubed", "scale · x³", "this test", Cubed, lambda x, scale: scale * x**3, 2, {"scale": 2.0}
    )
    activations.register_activation(entry)
    assert activations.describe(activations.create("cubed(scale=3)")) == "cubed(scale=3)"
    with pytest.raises(SmoothifyError, match="registered already"):
        activations.register_activation(entry)


class Keeping(nn.Module):
    """Keeps ``b`` if it has been told to; ``c`` has to be given."""

    def __init__(self, c: float, b: object = 1.0, keep: bool = False) -> None:
        super().__init__()
        if keep:
            self.b = b


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"name": "my act!"}, "activation 'my act!' cannot be named in a spec; choose letters"),
        ({"name": "3rd"}, "cannot be named in a spec"),
        ({"module": Keeping}, r"its module cannot be built with defaults={} .*'c'"),
        ({"defaults": {"d": 1.0}}, "its module cannot be built with defaults={'d': 1.0} "),
        ({"module": lambda: nn.functional.silu}, "module= built function; give what builds a torch.nn.Module"),
        ({"module": Keeping, "defaults": {"c": 1.0}}, "cannot be read back .*'c'.* let the module keep defaults="),
        ({"module": Keeping, "defaults": {"c": 1, "b": "x", "keep": 1}}, "cannot be read back"),
    ],
    ids=range(7),
)
def test_an_entry_that_cannot_work_is_refused_when_it_is_registered(change: dict[str, Any], says: str) -> None:
    entry = activations.Activation("mine", "x", "this test", nn.SiLU, nn.functional.silu, 2)
    random = torch.get_rng_state()
    with pytest.raises(SmoothifyError, match=says):
        activations.register_activation(replace(entry, **{"readers": {}, **change}))
    assert not {"mine", "my act!", "3rd"} & set(activations.names())
    assert torch.equal(random, torch.get_rng_state())


def test_importing_brings_in_torch_alone() -> None:
    code = (
        "import sys, smoothify.activations\n"
        "print([name for name in ('matplotlib', 'timm', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]" and not done.stderr


def test_public_functions_are_documented_with_an_example() -> None:
    for owner in (activations, functional):
        for key, value in vars(owner).items():
            if inspect.isfunction(value) and not key.startswith("_") and value.__module__.startswith("smoothify"):
                assert ">>>" in (value.__doc__ or ""), f"{key} has no example"


def test_functions_refuse_what_they_would_get_wrong() -> None:
    with pytest.raises(TypeError, match="give it a floating-point tensor"):
        functional.mish(torch.arange(3))
    with pytest.raises(TypeError, match="give them as numbers"):
        functional.squareplus(torch.randn(3), torch.tensor(4.0, requires_grad=True))
