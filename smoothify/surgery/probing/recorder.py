"""The recorder: sees every operation of a forward, and where in the model it was asked for."""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch._ops import HigherOrderOperator
from torch.utils._python_dispatch import TorchDispatchMode

from smoothify.surgery.probing.constants import Constants
from smoothify.surgery.probing.contents import contents, has_memory, home
from smoothify.surgery.probing.events import KEPT, Category, Event
from smoothify.surgery.probing.frames import has_own_backward, is_redirected, is_run_again, on_boxes, place
from smoothify.surgery.probing.inputs import Inputs, form, tensors
from smoothify.surgery.probing.shell import Shell
from smoothify.surgery.probing.strangers import Strangers
from smoothify.surgery.recognition.attributes import FunctionSlot, everything
from smoothify.surgery.recognition.modules import described, recognised
from smoothify.surgery.recognition.slots import SLOT
from smoothify.surgery.rules.operations import (
    ANYWHERE,
    CLAMPS,
    CONDITIONS,
    FACTORIES,
    INCIDENTAL,
    NONSMOOTH,
    SAMPLERS,
    SMOOTH_ACTIVATIONS,
    activation,
    is_smooth_operation,
)
from smoothify.surgery.sites import Found

_INPUT, _LEARNED = 1, 2


class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch does not type its modes
    """Sees every operation, follows which tensors depend on the input, keeps what is not smooth.

    ``watched`` are modules by id whose ``inputs`` are watched; ``strangers`` are told what operations are given.
    """

    supports_higher_order_operators = True

    def __init__(self, shell: Shell, inputs: Any, watched: frozenset[int], strangers: Strangers) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # as above
        self.shell, self._strangers = shell, strangers
        self.events: list[Event] = []
        self.trace: list[tuple[int, str]] = []
        self.made: list[weakref.ref[Tensor]] = []
        """The results of all operations, which nobody may hold when the run is forgotten."""
        self._stack = [0]
        self.called: set[int] = set()
        self.looked_into: set[int] = set()
        self.shared: dict[int, list[tuple[nn.Module, str]]] = {}
        self.slot_calls: Counter[int] = Counter()
        self.redirected: set[int] = set()
        self._opaque = [0]
        nodes = everything(shell.root)
        self._known = {
            id(node.module): described(node.module)[1] is not None and not isinstance(node.module, FunctionSlot)
            for node in nodes
        }
        self._slots = {id(node.module) for node in nodes if node.path.rpartition(".")[2].startswith(SLOT)}
        children = {id(child) for node in nodes for child in (node.module, *node.module._modules.values())}
        self._sites = children - self._slots
        self._owners = {id(node.module): shell.original_of(node.module, node.path) for node in nodes}
        self.inputs = Inputs(shell, watched)
        self._constants = Constants()
        self._marks: dict[int, int] = {}
        self._alive: list[Any] = []
        given = [item for item in contents(inputs) if isinstance(item, Tensor)]
        for tensor in given:
            self._mark(tensor, _INPUT)
        self.doubts = [] if given else ["no tensor was found in the input"]
        for parameter in shell.root.parameters():
            self._mark(parameter, _LEARNED)
        self._weights = {home(parameter)[0] for parameter in shell.root.parameters()}

    def enter(self, module: nn.Module) -> None:
        """A module of the shell is being called."""
        if id(module) in self._slots and (caller := place(self._owners)) is not None:
            self.slot_calls[id(caller[0])] += 1
            if is_redirected():
                self.redirected.add(id(caller[0]))
        if not self._opaque[-1] and self._known.get(id(module), False) and id(module) not in self._sites:
            found = recognised(module)
            if found is not None:
                self._add("activation", "slot", found)  # a call that was rewritten
        if not self._opaque[-1] and self._known.get(id(module), False) and next(module.parameters(), None) is not None:
            asked = place(self._owners)
            if asked is not None:
                original = self.shell.original[id(module)]
                self.shared.setdefault(id(original), []).append(asked[:2])
        self.called.add(id(self.shell.original[id(module)]))
        self._stack.append(id(self.shell.original[id(module)]))
        self._opaque.append(self._opaque[-1] + self._known.get(id(module), False))
        if not self._opaque[-1]:
            self.looked_into.add(self._stack[-1])

    def leave(self) -> None:
        """The call has ended."""
        self._opaque.pop()
        self._stack.pop()

    def ended(self, result: Any) -> None:
        """The forward has ended."""
        self.inputs.ended(result)
        results = [item for item in contents(result) if isinstance(item, Tensor) and _floating(item)]
        if results and not any(self._mark_of(tensor) & _INPUT for tensor in results):
            self.doubts.append("nothing that was seen leads from the input to the result")

    def returned(self, module: nn.Module, args: Any, result: Any) -> None:
        """What a call has returned."""
        self.trace.append((id(self.shell.original[id(module)]), f"returns {form(result)}"))
        self.inputs.returned(module, args, result)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if isinstance(func, HigherOrderOperator):
            return self._of_higher_order(func, args, kwargs)
        namespace, _, full = func._schema.name.partition("::")
        if namespace == "prim":
            return func(*args, **kwargs)
        name = full.rstrip("_") if not full.endswith("__") else full
        marks = [(tensor, self._mark_of(tensor)) for tensor in tensors((args, kwargs))]
        self._strangers.given(tensor for tensor, _ in marks)
        if name not in FACTORIES:
            self.inputs.read((args, kwargs))
        if name == "_transformer_encoder_layer_fwd":
            result = torch.empty_like(args[0])
            self._mark(result, _INPUT)
            self._fused(func, args, kwargs)
            return result
        result = func(*args, **kwargs)
        if not func._schema.is_mutable:
            self.made += map(weakref.ref, tensors(result))
        given = _given(func, args, kwargs)
        self._constants.ran(name, func, args, given, result)
        union = 0
        for _, mark in marks:
            union |= mark
        if union and name not in FACTORIES:
            for tensor in tensors(result):
                self._mark(tensor, union)
        if self._opaque[-1]:
            return result
        if name not in ANYWHERE and name not in SMOOTH_ACTIVATIONS and name not in INCIDENTAL:
            self.trace.append((self._stack[-1], name))
        before = len(self.events)
        if union or name in ANYWHERE:
            self._judge(namespace, name, func, given, marks)
        seen = self.events[before:]
        if any(event.of_weight for event in seen) or (
            name in CLAMPS and all(event.category != "activation" for event in seen)
        ):
            self.trace.append((self._stack[-1], f"{KEPT}{name}"))
        return result

    def _of_higher_order(self, func: HigherOrderOperator, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run ``torch.cond``, ``flex_attention`` and the like, inside which nothing is seen."""
        result = func(*args, **kwargs)
        for tensor in tensors(result):
            self._mark(tensor, _INPUT)
        self._add("unverified", str(func), None)
        return result

    def _judge(
        self,
        namespace: str,
        name: str,
        func: Any,
        given: dict[str, Any],
        marks: Sequence[tuple[Tensor, int]],
    ) -> None:
        from_input = [tensor for tensor, mark in marks if mark & _INPUT and _floating(tensor)]
        other = next((tensor for tensor, mark in marks if not mark), None)
        if namespace == "aten":
            if from_input and self._constants.hides_a_rectifier(name, self._with_bounds(given), other):
                self._add("activation", name, Found("relu"))
                return
            if name == "relu" and self._constants.is_absolute(given["self"]):
                return
            if name in ("clamp", "clamp_min") and self._constants.is_kept_from_zero(given):
                return
            if is_smooth_operation(name, given) and name not in SMOOTH_ACTIVATIONS:
                return
            found = activation(name, self._with_bounds(given))
            if found is not None and (found.function != "clamp" or (from_input and not on_boxes(self._owners))):
                found = replace(found, inplace=func._schema.name.endswith("_"))
                of_weight = not from_input and home(given["self"])[0] in self._weights
                self._add("activation", name, found, of_weight)
                return
        if not from_input or (namespace == "aten" and is_smooth_operation(name, given)):
            return
        if name in ("maximum", "fmax") and len(marks) == 2 and (marks[1][1] == _LEARNED or other is not None):
            value = self._constants.value(other) if other is not None else 0.0  # max(x, τ), τ learned, is one too
            category: Category = "unverified" if value is None else "nonsmooth" if value else "activation"
            self._add(category, name, None if value is None or value else Found("maximum"))
        elif name in SAMPLERS and not (marks[1][1] & _INPUT):
            return
        else:
            known = namespace == "aten" and name in {*NONSMOOTH, *CONDITIONS}
            masks = name == "view" or given.get("dtype") is torch.bool  # by its sign bit, x becomes a ReLU of itself
            self._add("nonsmooth" if known and not masks else "unverified", name, None)

    def _with_bounds(self, given: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments of an operation with the value of every bound that is a known tensor."""
        bounds = {key: given[key] for key in ("min", "max") if isinstance(given.get(key), Tensor)}
        return {**given, **{key: v for key, bound in bounds.items() if (v := self._constants.value(bound)) is not None}}

    def _fused(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given = _given(func, args, kwargs)
        self._add("activation", "fused", Found("gelu" if given["use_gelu"] else "relu"))

    def _add(self, category: Category, name: str, found: Found | None, of_weight: bool = False) -> None:
        asked = place(self._owners)
        if asked is not None:
            module, method, frame = asked
            code, own = frame.f_code, has_own_backward(self._owners)
            again = is_run_again(self._owners, module, method)
            where = (module, method, code, code.co_filename, frame.f_lineno)
            self.events.append(Event(category, name, found, *where, own, again, of_weight))

    def _mark(self, tensor: Tensor, mark: int) -> None:
        key, memory = home(tensor)
        if key not in self._marks:
            self._alive.append(memory)
        self._marks[key] = self._marks.get(key, 0) | mark

    def _mark_of(self, tensor: Tensor) -> int:
        return self._marks.get(home(tensor)[0], 0 if has_memory(tensor) else _INPUT)  # of these, a view is another


def _floating(tensor: Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_complex()


def _given(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    names = [argument.name for argument in func._schema.arguments]
    return {**dict(zip(names, args, strict=False)), **kwargs}
