"""Modules that are held and not registered, and what a factory builds: nothing runs there unseen."""

import functools
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import smoothify
from smoothify.activations.nested import with_slots
from smoothify.errors import UnconvertedError
from smoothify.surgery.recognition.attributes import held
from smoothify.surgery.recognition.containers import own_copies
from smoothify.surgery.recognition.edges import walk
from smoothify.surgery.recognition.modules import Snapshot

X = torch.linspace(-2, 2, 24).reshape(4, 6)


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.linear(x))


class Holds(nn.Module):
    def __init__(self, held: object, key: object = 0) -> None:
        super().__init__()
        self.head, self.held, self.key = nn.Linear(6, 2), held, key

    def forward(self, x: Tensor) -> Tensor:
        block = self.held.func if isinstance(self.held, functools.partial) else self.held[self.key]
        return self.head(block(x))


def chain() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 6), nn.ReLU())


CONTAINERS = {
    "list": lambda block: Holds([block]),
    "tuple": lambda block: Holds((block,)),
    "dict": lambda block: Holds({0: block}),
    "nested": lambda block: Holds({"a": ([block],)}["a"][0]),
    "partial": lambda block: Holds(functools.partial(block)),
}


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("build", [Block, chain])
def test_what_an_unregistered_module_runs_is_a_site(container: str, build: type[nn.Module]) -> None:
    block = build()
    model = CONTAINERS[container](block)
    linear = next(module for module in block.modules() if isinstance(module, nn.Linear))
    expected = model.head(F.silu(linear(X)))
    assert [site.function for site in smoothify.inspect(model, example_input=X).remaining] == ["relu"]
    report = smoothify.convert_(model, example_input=X)
    assert len(report.converted) == 1 and report.verified
    torch.testing.assert_close(model(X), expected)


def test_a_function_in_a_tuple_is_a_call() -> None:
    model = Holds((F.relu,))
    assert smoothify.convert_(model, example_input=X).converted
    torch.testing.assert_close(model(X), model.head(F.silu(X)))


@pytest.mark.parametrize("hidden", [lambda: [nn.ReLU()], lambda: [Block()]])
def test_a_learned_activation_that_nobody_would_register_is_refused(hidden: object) -> None:
    model = Holds(hidden())
    keys = list(model.state_dict())
    with pytest.raises(UnconvertedError, match="nobody would see its parameters"):
        smoothify.convert_(model, "smoothrelu", example_input=X)
    assert smoothify.convert_(model, "smoothrelu", strict=False, example_input=X).remaining
    assert list(model.state_dict()) == keys


class Kinked(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x) * 1.0


@pytest.mark.parametrize("model", [chain(), Block(), Holds([F.relu]), nn.Sequential(nn.LeakyReLU())])
def test_a_factory_with_a_kink_is_refused_and_nothing_is_put_inside_it(model: nn.Module) -> None:
    with pytest.raises(UnconvertedError, match="relu"):
        smoothify.convert_(model, Kinked, example_input=X)
    report = smoothify.convert_(model, Kinked, strict=False, example_input=X)
    assert not report.smooth
    built = [module for module in with_slots(model) if type(module) is Kinked]
    assert len(built) <= 1
    assert "relu" in {site.function for site in smoothify.inspect(model, example_input=X).remaining}


def test_an_attribute_called_with_other_arguments_than_it_was_converted_for_is_seen() -> None:
    class Steeper(Holds):
        def forward(self, x: Tensor) -> Tensor:
            return self.held(self.head(x)) + self.held(self.head(x), 0.5)

    model = Steeper(F.leaky_relu)
    report = smoothify.convert_(model, example_input=X)
    assert report.verified
    y = model.head(X)
    torch.testing.assert_close(model(X), 0.01 * y + 0.99 * F.silu(y) + 0.5 * y + 0.5 * F.silu(y))


class ByKeyword(Block):
    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        x = self.linear(x)
        return self.function(input=x) + x


@pytest.mark.parametrize("example", [X, None])
@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("module", [False, True])
def test_an_attribute_may_be_called_by_keyword(module: bool, inplace: bool, example: Tensor | None) -> None:
    model = ByKeyword(nn.ReLU(inplace) if module else functools.partial(F.relu, inplace=inplace))
    smoothify.convert_(model, "softplus", example_input=example)
    y = model.linear(X)
    torch.testing.assert_close(model(X), F.softplus(y) + (F.softplus(y) if inplace else y))


class Shifted(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.silu(x - 1) + 1


def test_a_factory_is_known_to_be_smooth_when_all_that_it_runs_is() -> None:
    model = chain()
    report = smoothify.convert_(model, Shifted, example_input=X)
    assert [site.becomes_smooth for site in report.converted] == [True] and report.verified
    assert isinstance(model[1], Shifted)


def test_a_container_that_holds_itself_is_looked_into_once() -> None:
    model = Block()
    model.table = {"list": [F.relu]}
    model.table["itself"] = model.table
    model.table["list"].append(model.table)
    assert [thing.path for thing in held(model)] == ["table['list'][0]"]
    assert len(list(with_slots(model))) == 2


class Configured(nn.Module):
    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.config, self.linear = config, nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        return self.config["functions"][0](self.linear(x))


class Pair(nn.Module):
    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.settings = (config,)
        self.first, self.second = Configured(config), Configured(config)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x))


@pytest.mark.parametrize("to", ["silu", "softplus"])
@pytest.mark.parametrize("function", [F.relu, functools.partial(F.relu, inplace=True)])
def test_a_container_of_the_caller_stays_what_it_was(to: str, function: object) -> None:
    functions = [function]
    config = {"functions": functions, "width": 6}
    model, other = Pair(config), Pair(config)
    expected = other(X)
    assert smoothify.convert_(model, to, example_input=X).verified
    assert config["functions"] is functions and functions == [function]
    torch.testing.assert_close(other(X), expected)
    smooth = getattr(F, to)
    torch.testing.assert_close(model(X), smooth(model.second.linear(smooth(model.first.linear(X)))))
    own = model.first.config
    assert own is model.second.config is model.settings[0] and own is not config


def test_a_container_that_holds_itself_is_copied_once() -> None:
    config: dict[str, Any] = {"functions": [F.relu], "untouched": []}
    config["around"] = (config,)
    model = Pair(config)
    places = [thing for thing in held(model) if thing.container is config["functions"]]
    own = own_copies(places, Snapshot())[id(model.first), id(config)]
    assert model.first.config is model.settings[0] is own is own["around"][0] and own is not config
    assert own["functions"] is not config["functions"] and own["untouched"] is config["untouched"]


class Picks(Block):
    def __init__(self, table: dict[str, Any]) -> None:
        super().__init__()
        self.table = table

    def forward(self, x: Tensor) -> Tensor:
        return self.table["second"](self.table["first"](self.linear(x)))


@pytest.mark.parametrize(
    ("scope", "smooth"),
    [
        ({"exclude": "1"}, [(True, True), (False, False)]),
        ({"only": "0"}, [(True, True), (False, False)]),
        ({"exclude": "0.table['first']"}, [(False, True), (True, True)]),
        ({"exclude": ["0.table['first']", "1.table['second']"]}, [(False, True), (True, False)]),
    ],
)
def test_what_several_modules_hold_in_one_container_is_replaced_where_it_is_asked(
    scope: dict[str, Any], smooth: list[tuple[bool, bool]]
) -> None:
    table = {"first": F.relu, "second": functools.partial(F.leaky_relu, negative_slope=0.2)}
    model = nn.Sequential(Picks(table), Picks(table))
    original = dict(table)
    report = smoothify.convert_(model, strict=False, example_input=X, **scope)
    assert [tuple(block.table[key] is not original[key] for key in table) for block in model] == smooth
    replaced = [site for site in report.converted if site.kind == "attribute"]
    assert len(replaced) == sum(map(sum, smooth)) and table == original
    assert smooth[1] != (False, False) or model[1].table is table


def test_a_module_that_several_hold_unregistered_stays_where_any_of_them_is_left_out() -> None:
    table = {"first": nn.ReLU(), "second": nn.Sequential(nn.ReLU())}
    model = nn.Sequential(Picks(table), Picks(table))
    sites = smoothify.inspect(model, example_input=X).sites
    assert [(site.path, site.aliases) for site in sites] == [
        ("0.table['first']", ("1.table['first']",)),
        ("0.table['second'].0", ("1.table['second'].0",)),
    ]
    report = smoothify.convert_(model, exclude=["0.table['first']", "1.table['second']"], strict=False, example_input=X)
    assert not report.converted and type(table["first"]) is type(table["second"][0]) is nn.ReLU
    assert len(smoothify.convert_(model, only=["0", "1"], example_input=X).converted) == 2


def test_a_function_of_a_module_that_is_there_twice_stays_by_either_path() -> None:
    block = Picks({"first": F.relu, "second": F.silu})
    smoothify.convert_(nn.Sequential(block, block), exclude="1", strict=False, example_input=X)
    assert block.table["first"] is F.relu


def test_a_refused_conversion_leaves_the_containers_in_place() -> None:
    config = {"functions": [F.relu, F.hardshrink]}
    model = Configured(config)
    with pytest.raises(UnconvertedError, match="hardshrink"):
        smoothify.convert_(model, example_input=X)
    assert model.config is config and config["functions"] == [F.relu, F.hardshrink]


@pytest.mark.parametrize("glob", ["config['functions'][0]", "config['functions']", "config", "config*"])
def test_what_a_container_holds_stays_there_by_its_path(glob: str) -> None:
    model = Configured({"functions": [F.relu]})
    assert "config['functions'][0]" in {site.path for site in smoothify.inspect(model, example_input=X).sites}
    smoothify.convert_(model, exclude=glob, strict=False, example_input=X)
    assert model.config["functions"] == [F.relu]


@pytest.mark.parametrize("to", ["silu", "smoothrelu"])
def test_a_rewritten_call_is_one_site(to: str) -> None:
    model = smoothify.convert(Block(), to, example_input=X)
    assert [(site.kind, site.function) for site in smoothify.inspect(model, example_input=X).sites] == [("call", to)]


def test_blocks_that_register_all_before_them_are_walked_in_time() -> None:
    blocks: list[nn.Module] = [nn.Linear(6, 6)]
    for _ in range(40):
        block = nn.ReLU()
        for number, before in enumerate(blocks):
            block.add_module(f"before_{number}", before)
        blocks.append(block)
    assert {id(node.module) for node in walk(blocks[-1])} == set(map(id, blocks))
