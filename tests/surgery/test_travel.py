"""A converted model goes wherever a model goes: compiled, exported, traced, called functionally, distributed."""

import copy
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

import smoothify

from . import awkward

X = torch.linspace(-1, 1, 24).reshape(4, 6)

WAYS = {
    "graph": "ReadsTraining",
    "module": "SlicedSequential",
    "attribute": "PartialAttribute",
    "source": "DataDependent",
    "runtime": "CalledByName",
}


def converted(name: str, to: str = "silu") -> nn.Module:
    torch.manual_seed(0)
    return smoothify.convert(awkward.MODELS[name](), to)


@pytest.mark.parametrize("how", WAYS)
def test_each_model_stands_for_its_way(how: str) -> None:
    torch.manual_seed(0)
    report = smoothify.convert_(awkward.MODELS[WAYS[how]]())
    assert {site.how for site in report.converted} == {how}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("how", WAYS)
def test_compiled_equals_eager_and_breaks_the_graph_only_for_the_last_way(how: str, training: bool) -> None:
    torch._dynamo.reset()
    model = converted(WAYS[how]).train(training)
    compiled = torch.compile(model, backend="eager", fullgraph=how != "runtime")
    assert torch.equal(compiled(X), model(X))


@pytest.mark.parametrize("how", [how for how in WAYS if how != "runtime"])
def test_exported_equals_eager(how: str) -> None:
    model = converted(WAYS[how]).eval()
    assert torch.equal(torch.export.export(model, (X,)).module()(X), model(X))


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore:.*torch.jit.*deprecated")
@pytest.mark.parametrize("how", WAYS)
def test_traced_equals_eager(how: str) -> None:
    model = converted(WAYS[how]).eval()
    traced = torch.jit.trace(model, X)
    assert torch.equal(traced(X), model(X))


@pytest.mark.parametrize("how", WAYS)
def test_called_functionally_and_under_grad_and_vmap(how: str) -> None:
    model = converted(WAYS[how]).eval()
    state = {name: value * 2 for name, value in model.state_dict().items()}
    doubled = copy.deepcopy(model)
    doubled.load_state_dict(state)
    assert torch.equal(torch.func.functional_call(model, state, (X,)), doubled(X))
    x = X.clone().requires_grad_()
    (expected,) = torch.autograd.grad(doubled(x).sum(), x)
    got = torch.func.grad(lambda x: torch.func.functional_call(model, state, (x,)).sum())(X)
    torch.testing.assert_close(got, expected)


@pytest.mark.skipif(shutil.which("c++") is None and shutil.which("g++") is None, reason="Inductor needs a C++ compiler")
def test_inductor_computes_what_eager_computes() -> None:
    torch._dynamo.reset()
    model = converted("ReadsTraining", "smoothrelu")
    compiled = torch.compile(model, fullgraph=True)
    x, y = X.clone().requires_grad_(), X.clone().requires_grad_()
    compiled(x).sum().backward()
    model(y).sum().backward()
    torch.testing.assert_close(compiled(X), model(X))
    torch.testing.assert_close(x.grad, y.grad)


def _learn(rank: int, folder: str, world: int) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world)
    try:
        model = converted("CifarShared", "smoothrelu")
        wrapped = nn.parallel.DistributedDataParallel(model)
        optimizer = torch.optim.SGD(wrapped.parameters(), 0.1)
        wrapped(X.chunk(world)[rank]).square().mean().backward()
        optimizer.step()
        torch.save(model.state_dict(), f"{folder}/{rank}.pt")
    finally:
        torch.distributed.destroy_process_group()


def test_two_processes_learn_the_activations_of_each_call_together(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(_learn, (str(tmp_path), 2), nprocs=2)
    model = converted("CifarShared", "smoothrelu")
    before = copy.deepcopy(model.state_dict())
    model(X).square().mean().backward()
    torch.optim.SGD(model.parameters(), 0.1).step()
    learned = [key for key in before if key.startswith(("smoothify_", "relu."))]
    assert len(learned) == 2
    assert all(not torch.equal(before[key], model.state_dict()[key]) for key in learned)
    for rank in (0, 1):
        state = torch.load(tmp_path / f"{rank}.pt")
        for key, value in model.state_dict().items():
            torch.testing.assert_close(state[key], value)


def test_a_sharded_model_learns_what_the_whole_one_learns(tmp_path: Path) -> None:
    from torch.distributed.fsdp import fully_shard

    whole = converted("CifarShared", "smoothrelu")
    whole(X).square().mean().backward()
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        mesh = torch.distributed.init_device_mesh("cpu", (1,))
        model = converted("CifarShared", "smoothrelu")
        sharded = fully_shard(model, mesh=mesh)
        sharded(X).square().mean().backward()
        for one, other in zip(sharded.parameters(), whole.parameters(), strict=True):
            torch.testing.assert_close(one.grad.full_tensor(), other.grad)
        with pytest.raises(smoothify.errors.UnsupportedModelError, match="fully_shard"):
            smoothify.convert_(sharded)
    finally:
        torch.distributed.destroy_process_group()


def test_calls_that_learn_keep_what_they_learned_in_a_pickle() -> None:
    model = converted("CifarFunctional", "smoothrelu")
    other = pickle.loads(pickle.dumps(model))
    assert torch.equal(other(X), model(X))
    assert list(other.state_dict()) == list(model.state_dict())
    with torch.no_grad():
        model.smoothify_0.root.fill_(0.5)
    assert not torch.equal(other(X), model(X))


def symbolically_traced() -> torch.fx.GraphModule:
    torch.manual_seed(0)
    return torch.fx.symbolic_trace(awkward.MODELS["CifarFunctional"]())


def feature_extractor() -> nn.Module:
    """A graph for each mode, as torchvision makes it."""
    from torchvision.models.feature_extraction import create_feature_extractor

    torch.manual_seed(0)
    model = awkward.MODELS["CifarFunctional"]().eval()
    return create_feature_extractor(model, return_nodes=["add"])


@pytest.mark.parametrize("to", ["silu", "smoothrelu"])
@pytest.mark.parametrize("build", [symbolically_traced, feature_extractor])
def test_a_graph_module_stays_one(build: Callable[[], torch.fx.GraphModule], to: str) -> None:
    original = build()
    source = original.code
    model = smoothify.convert(original, to, example_input=X)
    assert original.code == source and model.training == original.training
    assert "relu" not in model.code and "smoothify_0" in model.code
    model.recompile()  # as after an edit of the graph
    for copied in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        for training in (False, True):
            expected, got = model.train(training)(X), copied.train(training)(X)
            assert torch.equal(*[torch.utils._pytree.tree_leaves(one)[0] for one in (expected, got)])
            assert smoothify.inspect(copied, example_input=X).smooth


@pytest.mark.parametrize("build", [symbolically_traced, feature_extractor])
def test_looking_and_failing_leave_a_graph_module_as_it_was(build: Callable[[], torch.fx.GraphModule]) -> None:
    model = build()
    source, cls, state = model.code, type(model), dict(model.__dict__)
    smoothify.inspect(model, example_input=X)
    with pytest.raises(smoothify.errors.UnconvertedError):
        smoothify.convert_(model, "relu", replace="all", example_input=X)
    assert model.code == source and type(model) is cls
    assert {name: value for name, value in model.__dict__.items() if state[name] is not value} == {}
    pickle.loads(pickle.dumps(model))


@pytest.mark.parametrize("name", ["CopiesItself", "PicklesItself"])
def test_a_class_that_makes_its_copies_anew_loses_nothing(name: str) -> None:
    model = converted(name)
    assert {site.how for site in smoothify.convert_(awkward.MODELS[name]()).converted} == {"graph", "module"}
    for copied in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(copied(X), model(X))
        assert smoothify.inspect(copied, example_input=X).smooth
