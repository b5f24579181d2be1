"""One step of training: attack, loss, backward, optimizer."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from torch import Tensor, nn

from smoothify.activations import SurrogateGradients
from smoothify.attacks import PGD, Attack, SampleNoise, sample_keys
from smoothify.objectives import Objective
from smoothify.training.processes import follow_main_process
from smoothify.training.steps.batches import Batch, reseed
from smoothify.training.steps.free import Perturbation
from smoothify.training.steps.mixing import Mixing
from smoothify.training.steps.replica import Replica


@dataclass(frozen=True)
class Update:
    """What one step of training does to the parameters.

    Args:
        accelerator: runs it.
        model: the classifier, prepared by the accelerator.
        attacked: the model that the attack sees (`smoothify.training.steps.attacked`); it communicates with nobody.
        optimizer: of the classifier's parameters, prepared.
        objective: turns a batch into a loss.
        surrogate: which derivative takes ReLU's place in the attack, and in the update (the paper's Table 1).
        attack: the adversary of each step, counted from 0 over the whole run.
        mixing: blends the images of a batch and their labels.
        learning_rate: the learning rate of each step, counted from 0 over the whole run.
        clip_norm: the gradient's largest length over all parameters; unbounded if None.
        seed: of what the model itself draws (dropout, stochastic depth), together with step and process.
        carried: in free adversarial training, what stands in for an attack.
        recomputes: the backward pass computes activations again.
    """

    accelerator: Accelerator
    model: nn.Module
    attacked: nn.Module
    optimizer: AcceleratedOptimizer
    objective: Objective
    surrogate: SurrogateGradients
    attack: Callable[[int], Attack]
    mixing: Mixing
    learning_rate: Callable[[int], float]
    clip_norm: float | None
    seed: int
    carried: Perturbation | None = None
    recomputes: bool = False

    def __call__(self, step: int, pieces: Sequence[Batch]) -> Tensor:
        """Update the parameters once, on a batch that comes in one piece or several.

        Returns:
            This process's (images, sum of their losses, right answers), on the device; nobody has waited for them.
        """
        self._reseed(step, 0)
        if self.accelerator.num_processes > 1:
            follow_main_process(self.model)
        if isinstance(self.attacked, Replica):
            self.attacked.refresh()
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate(step) * group.get("lr_scale", 1.0)
        figures = torch.zeros(3, device=self.accelerator.device)
        first = 0
        for piece in pieces:
            figures += self._compute(piece, slice(first, first + len(piece.images)), self.attack(step))
            first += len(piece.images)
        return figures

    def attacked_images(self, step: int, steps: Iterable[Sequence[Batch]]) -> Iterator[Tensor]:
        """Yield the images of steps as the objective has them attacked; the model is left as it is."""
        for number, piece in enumerate(itertools.chain.from_iterable(steps)):
            self._reseed(step, number)  # mixing and dropout draw; what the loader drew depends on its workers
            images, labels = self.mixing(piece.images, piece.labels)
            noise = SampleNoise(piece.keys)
            with self.surrogate.during("attacker"):
                attacked = self.objective.adversary(self.attacked, self.attack(step), images, labels, noise)
            yield attacked

    def _reseed(self, step: int, number: int) -> None:
        """Key what is drawn from global generators by seed, step, process, and a number within the step."""
        place = number * self.accelerator.num_processes + self.accelerator.process_index
        key = int(sample_keys(self.seed, step, torch.tensor([place])))
        reseed(key)
        torch.manual_seed(key)  # the accelerators' generators, too

    def _compute(self, piece: Batch, places: slice, attack: Attack) -> Tensor:
        """Add the gradient of one piece, these places of the batch; after the last piece the optimizer steps."""
        noise = SampleNoise(piece.keys)
        images, labels = self.mixing(piece.images, piece.labels)
        carried = None if self.carried is None else self.carried.at(places)
        with self.accelerator.accumulate(self.model):
            with self.accelerator.autocast():
                if carried is not None:
                    attacked = (images + carried).clamp(0, 1)
                else:
                    with self.surrogate.during("attacker"):
                        attacked = self.objective.adversary(self.attacked, attack, images, labels, noise)
                torch.clear_autocast_cache()  # torch before 2.10 would train casts made where no gradient was wanted
                with self.surrogate.during("optimizer"):
                    loss = self.objective.compare(self.model, images, attacked, labels)
            with self._computing_again():
                self.accelerator.backward(loss.value)
            if self.carried is not None and carried is not None and carried.grad is not None:
                assert isinstance(attack, PGD)
                self.carried.ascend(places, carried.grad, attack)
            if self.clip_norm is not None and self.accelerator.sync_gradients:
                self.accelerator.clip_grad_norm_(self.model.parameters(), self.clip_norm)
            self.optimizer.step()
            self.optimizer.zero_grad()
        classes = labels if labels.ndim == 1 else labels.argmax(1)
        right = (loss.logits.argmax(1) == classes).sum()
        count = torch.full((), len(classes), device=right.device)  # a copy from the host would wait for the device
        return torch.stack([count, loss.value.detach() * len(classes), right])

    @contextmanager
    def _computing_again(self) -> Iterator[None]:
        """Have batch statistics count only once, though the backward pass may compute them again."""
        modules = self.model.modules() if self.recomputes else ()
        norms = [module for module in modules if isinstance(module, nn.modules.batchnorm._BatchNorm)]
        counts = [norm.num_batches_tracked for norm in norms if norm.num_batches_tracked is not None]
        momenta, counted = [norm.momentum for norm in norms], [count.clone() for count in counts]
        for norm in norms:
            norm.momentum = 0.0  # running statistics stay
        try:
            yield
        finally:
            for norm, momentum in zip(norms, momenta, strict=True):
                norm.momentum = momentum
            for count, before in zip(counts, counted, strict=True):
                count.copy_(before)
