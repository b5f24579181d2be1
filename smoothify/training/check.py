"""How good a model is on the held-out images: what every epoch is judged by."""

from __future__ import annotations

from typing import Any

from accelerate import Accelerator

from smoothify.attacks import attack
from smoothify.evaluation import robust_accuracy
from smoothify.evaluation.sharing import shared_batch_size
from smoothify.training.config import Config
from smoothify.training.setup import Parts


class Check:
    """Attacks the held-out images with the check that the config names, and with PGD-1, to which training may overfit.

    Args:
        config: of the run.
        parts: the classifier that is measured, and the held-out images.
        accelerator: whose processes share the work.
    """

    def __init__(self, config: Config, parts: Parts, accelerator: Accelerator) -> None:
        self._seed, self._parts, self._accelerator = config.seed, parts, accelerator
        self._attacks = [attack(name, config.attack.threat) for name in (config.attack.check, "pgd-1")]

    def __call__(self) -> dict[str, Any]:
        """Return the columns of ``metrics.jsonl`` that this gives.

        Raises:
            NonFiniteError: the classifier's logits are not finite.
        """
        strong, single = (
            robust_accuracy(
                self._parts.classifier,
                self._parts.held_out,
                each,
                batch_size=shared_batch_size(each, len(self._parts.held_out), self._accelerator.num_processes),
                seed=self._seed,
                accelerator=self._accelerator,
            )
            for each in self._attacks
        )
        return {
            "held_out_clean_accuracy": strong.clean.value,
            "held_out_robust_accuracy": strong.robust.value,
            "held_out_single_step_accuracy": single.robust.value,
            "check": str(self._attacks[0]),
        }
