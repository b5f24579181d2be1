"""What one of several processes finds when they share the checks; the first prints it as JSON."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable

import torch
from accelerate import Accelerator
from torch import nn

from smoothify.attacks import PGD, ThreatModel
from smoothify.data import Images, load
from smoothify.evaluation import CHECKS, sanity
from smoothify.models import PixelClassifier
from tests.evaluation import frauds
from tests.evaluation.conftest import EPSILON, train_small

MODELS: dict[str, Callable[[PixelClassifier], nn.Module]] = {
    "honest": lambda model: model,
    "noisy": frauds.Noisy,
    "cut off": frauds.CutOff,
}
ATTACK = PGD(ThreatModel("linf", EPSILON), steps=20, step_size=EPSILON / 4)
ASKED = ("attack moves images", "steps and restarts converge", "gradients of zero")


def found(accelerator: Accelerator | None) -> dict[str, dict[str, object]]:
    """What the checks find, and how many images went through the model in this process."""
    images, trained = Images(load(split="test"), input_size=(1, 28, 28), indices=range(60)), train_small()
    checks, answers = [check for check in CHECKS if check.name in ASKED], {}
    for name, plant in MODELS.items():
        torch.manual_seed(0 if accelerator is None else accelerator.process_index)
        model, passed = plant(copy.deepcopy(trained)), []
        model.register_forward_hook(lambda module, inputs, logits, passed=passed: passed.append(len(logits)))
        checked = sanity(model, images, ATTACK, checks=checks, accelerator=accelerator)
        answers[name] = {"verdicts": [one.verdict for one in checked.results], "passed": sum(passed)}
    return answers


if __name__ == "__main__":
    accelerator = Accelerator()
    answers = found(accelerator)
    if accelerator.is_main_process:
        print(json.dumps(answers))
    accelerator.end_training()
