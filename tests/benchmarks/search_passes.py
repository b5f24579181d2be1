"""How many images a PGD-200 search sends through a model, against the plain loop over every image and every step.

``python tests/benchmarks/search_passes.py RUN/best --epsilon 0.13`` measures a saved model and prints a Markdown table.
The plain loop's passes are known: of each image one when clean, one for each step, and one at the end.
"""

from __future__ import annotations

import argparse

from torch import Tensor, nn

from smoothify.attacks import PGD, ThreatModel, show
from smoothify.data import load
from smoothify.evaluation import robust_accuracy
from smoothify.evaluation.setting import Setting
from smoothify.hub import from_pretrained

STEPS = 200
STEP_SIZES = {"2.5 epsilon / 200 (default)": 2.5 / STEPS, "epsilon / 10": 1 / 10, "epsilon / 4 (the paper's)": 1 / 4}


def main() -> None:
    """Measure once for each step size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="a folder such as RUN/best")
    parser.add_argument("--epsilon", help="at which robust accuracy is near 40 percent", required=True)
    parser.add_argument("--images", type=int, default=200)
    asked = parser.parse_args()
    host, setting = from_pretrained(asked.model), Setting.of(asked.model, epsilon=asked.epsilon)
    classifier = setting.classifier(host)
    images = setting.images(host, load(setting.data, setting.split), range(asked.images))
    sent = 0

    def count(module: nn.Module, inputs: tuple[Tensor], logits: Tensor) -> None:
        nonlocal sent
        sent += len(logits)

    classifier.register_forward_hook(count)
    print(f"{asked.images} images, {setting.threat}, PGD-{STEPS}\n")
    print("| step size | robust accuracy | passes an image | plain loop's | ratio |\n|---|---|---|---|---|")
    for name, share in STEP_SIZES.items():
        threat = ThreatModel(setting.threat.norm, setting.threat.radius)
        sent = 0
        found = robust_accuracy(classifier, images, PGD(threat, steps=STEPS, step_size=share * threat.radius))
        plain = STEPS + 2
        each = sent / asked.images
        print(f"| {name}: {show(share * threat.radius)} | {found.robust} | {each:.1f} | {plain} | {plain / each:.1f} |")


if __name__ == "__main__":
    main()
