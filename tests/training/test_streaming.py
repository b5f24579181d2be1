"""A run on a stream: the same images in the same steps, whoever prepares them and wherever it was interrupted."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import datasets
import pytest
import torch

import smoothify
from smoothify.data import StreamedImages
from smoothify.errors import ConfigError
from smoothify.training import Config, EngineConfig, RunFolder, Silent, train
from smoothify.training.saving import state
from smoothify.training.setup import assemble
from smoothify.training.steps.batches import _Order


@pytest.fixture(autouse=True)
def promptly(monkeypatch: pytest.MonkeyPatch) -> None:
    """`datasets` waits five seconds whenever a parquet stream is left before its end (apache/arrow#45214)."""
    monkeypatch.setattr(datasets.config, "SLEEP_TIME_ON_THREADS_SHUTDOWN", 0, raising=False)  # new in 5.0


@pytest.fixture
def streamed(tiny: Config) -> Config:
    """Two epochs of five steps, with a checkpoint after the seventh."""
    data = replace(tiny.data, streaming=True, images=80, buffer=20)
    return replace(tiny, epochs=2, data=data, engine=EngineConfig(checkpoint_every=7))


def weights(config: Config) -> dict[str, torch.Tensor]:
    return smoothify.from_pretrained(Path(config.output) / "last").state_dict()


class Interrupting(Silent):
    """Presses Ctrl-C as soon as there is a checkpoint of the middle of the second epoch."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder

    def advance(self, images: int, figures: str = "") -> None:
        saved = state.newest_first(self.folder.checkpoints)
        if figures and saved and saved[0].name.startswith("step-00000007"):
            raise KeyboardInterrupt


def test_interrupted_in_the_middle_of_an_epoch(streamed: Config, tmp_path: Path) -> None:
    whole, cut = (replace(streamed, output=str(tmp_path / name)) for name in ("whole", "cut"))
    found = train(whole)
    assert found.folder.evaluation.is_file()
    with pytest.raises(KeyboardInterrupt):
        train(cut, reporter=Interrupting(RunFolder(Path(cut.output))))
    assert state.newest_first(RunFolder(Path(cut.output)).checkpoints)[0].name.startswith("step-00000007")
    train(cut, resume=True)
    expected, resumed = weights(whole), weights(cut)
    assert all(torch.equal(expected[name], resumed[name]) for name in expected)


def test_workers_change_nothing(streamed: Config, tmp_path: Path) -> None:
    alone, helped = (
        replace(streamed, epochs=1, output=str(tmp_path / str(count)), data=replace(streamed.data, workers=count))
        for count in (0, 2)
    )
    train(alone)
    train(helped)
    expected, found = weights(alone), weights(helped)
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_two_processes_share_the_steps_of_one(streamed: Config) -> None:
    images = assemble(streamed).train
    assert isinstance(images, StreamedImages)

    def steps(processes: int, process: int) -> list[list[tuple[bytes, int]]]:
        here = SimpleNamespace(num_processes=processes, process_index=process, device=torch.device("cpu"))
        order = _Order(images, 16, 1, 3, here)
        order.epoch, order.first = 1, 2
        return [[(row["image"]["bytes"], key) for row, key in piece] for piece in order]

    first, second = steps(2, 0), steps(2, 1)
    assert [[*one, *other] for one, other in zip(first, second, strict=True)] == steps(1, 0)
    assert len({key for step in steps(1, 0) for _, key in step}) == 3 * 16


def test_an_epoch_has_to_have_a_length(streamed: Config) -> None:
    unknown = replace(streamed, data=replace(streamed.data, images=None))
    with pytest.raises(ConfigError, match=r"does not say how many images its split 'train' has; set data\.images"):
        train(unknown)
    with pytest.raises(ConfigError, match="batch_size=81 exceeds the 80 training images"):
        train(replace(streamed, batch_size=81))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"images": 5}, "data.images is for streams alone"),
        ({"streaming": True, "path": "fashion_mnist"}, "on this machine as a whole"),
        ({"streaming": True, "buffer": 0}, "data.buffer"),
    ],
)
def test_what_cannot_be_is_refused_with_the_config(data: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        replace(Config().data, **data)
