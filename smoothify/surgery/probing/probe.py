"""The probe: an executed forward at the dispatch level, where every operation that really runs is seen."""

from __future__ import annotations

import threading
import warnings
import weakref
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode

from smoothify.errors import SmoothifyError
from smoothify.surgery.probing.caches import kept, reach_of, undisturbed
from smoothify.surgery.probing.draws import seed, undrawn
from smoothify.surgery.probing.events import Event
from smoothify.surgery.probing.frames import ALONE, followed_apply
from smoothify.surgery.probing.reach import Reach
from smoothify.surgery.probing.recorder import Recorder
from smoothify.surgery.probing.shell import Shell, fake_tensor, real_tensor, spec_of
from smoothify.surgery.probing.strangers import Strangers
from smoothify.surgery.probing.values import leaving_seen


@dataclass(frozen=True, slots=True)
class Example:
    """The arguments of one forward: tensors of any device, or containers of them."""

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] | None = None
    real: bool = False
    """Whether the model only runs on real tensors."""
    prepare: Callable[[nn.Module], None] | None = None
    """What to do to the shell first: a detector that enlarges its images would take minutes."""


@dataclass(frozen=True, slots=True)
class Run:
    """What one forward did: its events, the operations in order, and which modules were called."""

    mode: str
    events: tuple[Event, ...]
    trace: tuple[tuple[int, str], ...]
    """Every operation in order, with the id of the module in whose call it ran."""
    called: frozenset[int]
    looked_into: frozenset[int]
    """Of these, those whose operations were seen: not what is known, nor what runs inside it."""
    shared: Mapping[int, list[tuple[nn.Module, str]]]
    """For each learnable activation module, by id: the module and method of every call, in order."""
    read_after: frozenset[int] = frozenset()
    """Of the watched modules those, by id, whose input was read after their call."""
    redirected: frozenset[int] = frozenset()
    """The modules, by id, in which a call was redirected to its activation."""
    slot_calls: Mapping[int, int] = field(default_factory=dict)
    """How often each module, by id, called the activations of its rewritten calls."""
    doubts: tuple[str, ...] = ()
    """Why not everything may have been seen."""


_OF_FAKE_TENSORS = ("torch._subclasses", "torch.fx.experimental")
_NESTED = "NestedTensorImpl"
_ASKS_FOR_GRADIENTS = frozenset({"is_grad_enabled", "requires_grad", "is_inference_mode_enabled", "grad_fn", "is_leaf"})


class ProbeError(SmoothifyError):
    """A forward that could not be run; the cause is the model's own error."""


def probe(model: nn.Module, example: Example, watched: frozenset[int] = frozenset()) -> list[Run]:
    """Run a shell of the model in train and in eval mode; raises ProbeError where a forward fails.

    ``watched`` are modules by id: a run tells which of them had their input read after their call.
    Nothing of the model changes: no hook runs, no statistic moves. Weights are copied where a model needs values.
    """
    if not example.real:
        for finite in (False, True):
            try:
                return _runs(model, example, watched, FakeTensorMode(allow_non_fake_inputs=True), finite)
            except ProbeError as error:
                if _NESTED in str(error):
                    break  # torch has no fake tensors of this kind
                if not _needs_values(error.__cause__):
                    raise
    return _runs(model, example, watched, None)


def _needs_values(error: BaseException | None) -> bool:
    while error is not None:
        if type(error).__module__.startswith(_OF_FAKE_TENSORS):
            return True
        error = error.__cause__ or error.__context__
    return False


class _Finite(TorchFunctionMode):
    """Answers the check for overflow that half-precision code makes: everything is finite."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (torch.isfinite, torch.isinf, torch.isnan):
            return torch.tensor(func is torch.isfinite)
        return func(*args, **(kwargs or {}))


def _runs(
    model: nn.Module, example: Example, watched: frozenset[int], fake: FakeTensorMode | None, finite: bool = False
) -> list[Run]:
    convert: Callable[[Tensor], Tensor] = fake_tensor(fake) if fake else real_tensor
    drawing = [] if fake else sorted({p.device.index for p in model.parameters() if p.device.type == "cuda"})
    made: list[weakref.ref[Tensor]] = []
    reach = reach_of(model)
    with ALONE, undisturbed(reach), undrawn(drawing), ExitStack() as stack:
        for device in ("cpu", "cuda"):
            if torch.is_autocast_enabled(device):  # it would keep the weights of the run for the caller's next one
                stack.enter_context(torch.autocast(device, enabled=False))
        if fake:
            stack.enter_context(fake)
        if finite:
            stack.enter_context(_Finite())
        shell = Shell(model, convert)
        if example.prepare:
            example.prepare(shell.root)
        runs = [_run(shell, example, watched, mode, convert, grad, made) for mode, grad in _modes(model, reach)]
        shell.forget()
    if fake and (where := kept(made)):
        raise ProbeError(
            f"the forward of this {type(model).__name__} keeps tensors of the probe {where}, out of which smoothify "
            f"cannot take them; empty it before the model runs again, and keep tensors in attributes of modules"
        )
    return runs


def _modes(model: nn.Module, reach: Reach) -> list[tuple[str, bool]]:
    modes = [("train", True), ("eval", False)]
    fused = any(isinstance(module, nn.TransformerEncoderLayer) for module in model.modules())
    if fused or any(_ASKS_FOR_GRADIENTS.intersection(code.co_names) for code in reach.codes):
        modes.append(("eval", True))  # as an attack runs it, where that may go another way
    return modes


def _run(
    shell: Shell,
    example: Example,
    watched: frozenset[int],
    mode: str,
    convert: Callable[[Tensor], Tensor],
    grad: bool,
    made: list[weakref.ref[Tensor]],
) -> Run:
    device = next((p.device for p in (*shell.root.parameters(), *shell.root.buffers())), torch.device("cpu"))
    given = example.args, dict(example.kwargs or {})
    args, kwargs = spec_of(given, device, convert, attacked=mode == "eval" and grad)
    shell.root.train(mode == "train")
    seed()  # the same draws in every probe, so that two of them compare
    strangers = Strangers(shell, convert)
    recorder = Recorder(shell, (args, kwargs), watched, strangers)
    try:
        with (
            _calls_followed(recorder, strangers),
            leaving_seen(),
            warnings.catch_warnings(),
            torch.set_grad_enabled(grad),
            recorder,
        ):
            warnings.simplefilter("ignore")  # what the model warns about, it warns about in a real forward
            result = shell.root(*args, **kwargs)
            if isinstance(result, Generator):  # it has run nothing yet
                deque(result, maxlen=0)
            recorder.ended(result)
    except Exception as error:
        hint = "; give example_input two images" if "more than 1 value per channel" in str(error) else ""
        raise ProbeError(f"the model's forward failed in {mode} mode: {type(error).__name__}: {error}{hint}") from error
    made += recorder.made
    return Run(
        mode,
        tuple(recorder.events),
        tuple(recorder.trace),
        frozenset(recorder.called),
        frozenset(recorder.looked_into),
        recorder.shared,
        frozenset(recorder.inputs.read_after),
        frozenset(recorder.redirected),
        recorder.slot_calls,
        tuple(dict.fromkeys((*recorder.doubts, *strangers.doubts))),
    )


@contextmanager
def _calls_followed(recorder: Recorder, strangers: Strangers) -> Iterator[None]:
    # A hook would switch off torch's fused paths, which must be seen; so the call itself is followed.
    original = nn.Module.__call__
    thread = threading.get_ident()

    def followed(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        if threading.get_ident() != thread:
            strangers.elsewhere(module)
            return original(module, *args, **kwargs)
        if id(module) not in recorder.shell.original:
            other = strangers.instead_of(module)
            return original(module, *args, **kwargs) if other is module else followed(other, *args, **kwargs)
        recorder.enter(module)
        try:
            result = original(module, *args, **kwargs)
        finally:
            recorder.leave()
        recorder.returned(module, (*args, *kwargs.values()), result)
        return result

    apply = vars(torch.autograd.Function)["apply"]
    nn.Module.__call__ = followed  # type: ignore[method-assign]  # for this run only
    torch.autograd.Function.apply = classmethod(followed_apply)
    try:
        yield
    finally:
        nn.Module.__call__ = original  # type: ignore[method-assign]  # and put back
        torch.autograd.Function.apply = apply
