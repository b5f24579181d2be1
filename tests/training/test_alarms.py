"""Alarms on figures that call for one, silence on those that do not."""

from dataclasses import replace

import pytest

from smoothify.training import Config, Silent, train
from smoothify.training.alarms import alarms


def rows(*figures: tuple[float, float]) -> list[dict[str, object]]:
    return [
        {"held_out_single_step_accuracy": single, "held_out_robust_accuracy": robust, "check": "PGD-10"}
        for single, robust in figures
    ]


@pytest.mark.parametrize(
    ("figures", "words"),
    [
        ([(0.5, 0.45)], None),
        ([(0.5, 0.45), (0.52, 0.47), (0.51, 0.44)], None),  # noise
        ([(0.5, 0.45), (0.40, 0.30)], None),  # both fall: training diverges, and the figures say so themselves
        ([(0.5, 0.45), (0.9, 0.0)], "catastrophic overfitting: since epoch 1"),
        ([(0.3, 0.25), (0.5, 0.45), (0.55, 0.30)], "catastrophic overfitting: since epoch 2"),
        ([(0.30, 0.45)], "gradient masking"),
        ([(0.44, 0.45)], None),
    ],
)
def test_figures(figures: list[tuple[float, float]], words: str | None) -> None:
    found = alarms(rows(*figures), images=500)
    assert found == [] if words is None else (len(found) == 1 and words in found[0])


def test_fewer_images_need_a_larger_fall() -> None:
    fallen = rows((0.5, 0.45), (0.55, 0.30))
    assert alarms(fallen, images=500)
    assert not alarms(fallen, images=50)


def test_a_run_says_so(tiny: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    heard = []

    class Listener(Silent):
        def note(self, text: str) -> None:
            heard.append(text)

    def ring(rows: list[dict[str, float]], images: int) -> list[str]:
        assert rows[-1]["held_out_single_step_accuracy"] >= rows[-1]["held_out_robust_accuracy"]
        return [f"measured on {images}"]

    monkeypatch.setattr("smoothify.training.loop.alarms", ring)
    train(replace(tiny, epochs=1, attack=replace(tiny.attack, final="pgd-1")), reporter=Listener())
    assert "measured on 16" in heard
