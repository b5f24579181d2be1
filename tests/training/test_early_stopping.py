"""A run that gets no better stops, wherever it was interrupted."""

from dataclasses import replace
from pathlib import Path

import pytest
from accelerate import Accelerator

from smoothify.objectives import objective
from smoothify.training import Config, Silent, train
from smoothify.training.saving.record import Record


class Listener(Silent):
    """Hears every note; interrupts before the epoch whose title begins as given."""

    def __init__(self, interrupt: str = "never") -> None:
        self.notes: list[str] = []
        self.interrupt = interrupt

    def note(self, text: str) -> None:
        self.notes.append(text)

    def begin(self, title: str, total: int) -> None:
        if title.startswith(self.interrupt):
            raise KeyboardInterrupt


@pytest.fixture
def standing_still(tiny: Config) -> Config:
    attack = replace(tiny.attack, check="pgd-1", final="pgd-1")
    return replace(tiny, epochs=9, patience=2, lr=1e-12, attack=attack)


def test_it_stops_and_says_so(standing_still: Config) -> None:
    listener = Listener()
    folder = train(standing_still, reporter=listener).folder
    assert len(folder.metrics.read_text().splitlines()) == 3
    assert listener.notes[-1] == "stopped early: no better robust accuracy on held-out images in 2 epochs"
    assert folder.evaluation.is_file(), "it is measured like any run"


def test_an_interrupted_run_stops_at_the_same_epoch(standing_still: Config) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(standing_still, reporter=Listener("epoch 3/"))
    with pytest.raises(KeyboardInterrupt):
        train(standing_still, resume=True, reporter=Listener("PGD-1 on the test images"))
    stopped = Listener("epoch")
    outcome = train(standing_still, resume=True, reporter=stopped)
    assert len(outcome.folder.metrics.read_text().splitlines()) == 3
    assert any(note.startswith("stopped early") for note in stopped.notes)


def test_patience_begins_anew_with_every_better_epoch() -> None:
    record = Record(Accelerator(cpu=True))
    assert record.stalled == 0
    seen = []
    for accuracy in (0.3, 0.3, 0.4, 0.2, 0.39, 0.41):
        record.rows.append({"held_out_robust_accuracy": accuracy})
        seen.append(record.stalled)
    assert seen == [0, 1, 0, 1, 2, 0]


def test_a_run_from_before_an_option_existed_is_resumed(standing_still: Config) -> None:
    """What an older smoothify wrote lacks newer options: they had their defaults then."""
    whole = replace(standing_still, patience=None, epochs=1)
    config = train(whole).folder.config
    lines = config.read_text().splitlines(keepends=True)
    older = [line for line in lines if not line.strip().startswith(("patience:", "auto_augment:", "crop_pct:"))]
    assert len(older) == len(lines) - 3
    config.write_text("".join(older))
    assert train(whole, resume=True).best_epoch == 1
    with pytest.raises(ValueError, match=r"differs from this command in patience, data\.augmentation"):
        train(replace(whole, patience=3, data=replace(whole.data, augmentation="crop")), resume=True)
    assert Path(whole.output).is_dir()


def test_standard_training_is_judged_by_clean_accuracy() -> None:
    """Its robust accuracy is highest before anything is learned."""
    epochs = [(0.1, 0.04), (0.5, 0.01), (0.7, 0.0)]
    best = {}
    for spec in ("standard", "pgd_at", "standard + awp"):
        record = Record(Accelerator(cpu=True), judged_by=objective(spec).judged_by)
        for clean, robust in epochs:
            record.finish_epoch({"held_out_clean_accuracy": clean, "held_out_robust_accuracy": robust}, held_out=10_000)
        best[spec] = (record.best, record.stalled)
    assert best == {"standard": (2, 0), "pgd_at": (0, 2), "standard + awp": (2, 0)}
