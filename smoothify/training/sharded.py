"""Models too large for one device: parameters, gradients and optimizer state sharded over the processes (FSDP2)."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard

from smoothify.errors import ConfigError
from smoothify.models import PixelClassifier
from smoothify.training.processes import follow_main_process

_WHOLE = StateDictOptions(full_state_dict=True)


def shard(classifier: PixelClassifier, accelerator: Accelerator) -> PixelClassifier:
    """Return a sharded copy of a classifier: each member of the host's lists of blocks is gathered on its own.

    A forward or a backward gathers parameters; only a backward that reaches parameters reduces gradients, so an
    attack, whose gradient is the input's, reduces nothing.

    Raises:
        ConfigError: float16's gradient scaler would meet sharded gradients.
    """
    if accelerator.scaler is not None:
        raise ConfigError("engine.fsdp does not go with engine.mixed_precision=fp16; use bf16")
    sharded = copy.deepcopy(classifier).to(accelerator.device)
    mesh = init_device_mesh(accelerator.device.type, (accelerator.num_processes,))
    for module in reversed(list(sharded.modules())):  # inner lists first: what is sharded already is left out
        if isinstance(module, nn.ModuleList | nn.Sequential):
            for block in module:
                if any(True for _ in block.parameters()):
                    fully_shard(block, mesh=mesh)
    fully_shard(sharded, mesh=mesh)
    if accelerator.device.type == "cpu":
        for module in sharded.modules():
            if isinstance(module, FSDPModule):  # gloo, asked for a mean, gave torch 2.8 the sum
                module.set_force_sum_reduction_for_comms(True)
    return sharded


class ShardedModel:
    """The state of a sharded model, whole; every process calls together.

    Args:
        model: the sharded one.
        bare: an unsharded one of the same kind, that measures and saves.
    """

    def __init__(self, model: nn.Module, bare: nn.Module) -> None:
        self._model, self._bare = model, bare

    def agree(self) -> None:
        """Bring the bare model to where the sharded one is, with the main process's batch statistics."""
        follow_main_process(self._model)
        self._bare.load_state_dict(get_model_state_dict(self._model, options=_WHOLE))

    def state_dict(self) -> dict[str, Any]:
        """Return the bare model's state, after `agree`."""
        return self._bare.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Give each process its shard of a whole state."""
        set_model_state_dict(self._model, dict(state), options=_WHOLE)
        self._bare.load_state_dict(state)


class ShardedOptimizer:
    """The state of a sharded model's optimizer, whole; every process calls together."""

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self._model, self._optimizer = model, optimizer

    def state_dict(self) -> dict[str, Any]:
        """Gather every process's shard."""
        return get_optimizer_state_dict(self._model, self._optimizer, options=_WHOLE)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Give each process its shard; a parameter that no gradient ever reached has no state."""
        options = StateDictOptions(full_state_dict=True, strict=False)
        names = [name for group in state["param_groups"] for name in group["params"]]
        of_all = {name: state["state"].get(name, {}) for name in names}  # torch 2.8 asks for every one
        set_optimizer_state_dict(self._model, self._optimizer, {**state, "state": of_all}, options=options)
