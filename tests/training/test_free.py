"""Free adversarial training against its algorithm by hand, and in runs that are interrupted or shared."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from accelerate import Accelerator

from smoothify import from_pretrained
from smoothify.attacks import PGD, ThreatModel
from smoothify.errors import ConfigError
from smoothify.training import AttackConfig, AveragingConfig, Config, DataConfig, EngineConfig, Silent, train
from smoothify.training.setup import assemble
from smoothify.training.steps.batches import Batches
from smoothify.training.steps.free import Perturbation


@pytest.fixture
def free(tiny: Config) -> Config:
    """Two epochs of five batches, each trained on three times."""
    attack = AttackConfig(method="free", replays=3, epsilon=0.03, check="pgd-1", final="pgd-1")
    return replace(tiny, epochs=2, attack=attack)


def by_hand(config: Config, steps: int) -> torch.Tensor:
    """Algorithm 1 of arXiv:1904.12843 in its authors' order, on the batches of a run; returns the last layer."""
    optimizer = replace(config.optimizer, schedule="constant", weight_decay=0.0, nesterov=False)
    parts = assemble(replace(config, optimizer=optimizer))
    model = parts.classifier.train()
    descent = torch.optim.SGD(model.parameters(), lr=config.lr, momentum=0.9)
    options = {"pieces": 1, "seed": config.seed, "workers": 0, "channels_last": False}
    batches = Batches(parts.train, batch_size=16, accelerator=Accelerator(), **options)
    delta, taken = torch.zeros(16, 1, 28, 28), 0
    for epoch in range(config.epochs):
        for (batch,) in batches.epoch(epoch):
            for _ in range(config.attack.replays):
                if taken == steps:
                    return model.model.fc.weight.detach()
                noise = delta.clone().requires_grad_()
                loss = F.cross_entropy(model((batch.images + noise).clamp(0, 1)), batch.labels)
                descent.zero_grad()
                loss.backward()
                descent.step()
                delta = (delta + 0.03 * noise.grad.sign()).clamp(-0.03, 0.03)
                taken += 1
    return model.model.fc.weight.detach()


def test_a_run_is_the_algorithm(free: Config) -> None:
    flat = replace(free.optimizer, schedule="constant", weight_decay=0.0, nesterov=False)
    run = replace(free, optimizer=flat, data=replace(free.data, augmentation="none"))
    found = from_pretrained(train(run).folder.last).fc.weight
    assert torch.allclose(found, by_hand(run, steps=30), atol=1e-6)
    assert not torch.allclose(found, by_hand(run, steps=29), atol=1e-3), "it counts: epochs times batches times replays"


class Interrupted(Silent):
    """Stops the run when it is about to write the second checkpoint of its second epoch."""

    def __init__(self) -> None:
        self.reports = -100

    def begin(self, title: str, total: int) -> None:
        self.reports = 0 if title == "epoch 2/2" else self.reports

    def advance(self, images: int, figures: str = "") -> None:
        self.reports += bool(figures)
        if self.reports == 2:
            raise KeyboardInterrupt


def test_it_resumes_in_the_middle_of_the_replays(free: Config) -> None:
    often = replace(free, engine=EngineConfig(checkpoint_every=4), averaging=AveragingConfig("swa"))
    whole = train(replace(often, output=often.output + "-whole"))
    with pytest.raises(KeyboardInterrupt):
        train(often, reporter=Interrupted())
    newest = max(path.name for path in (Path(often.output) / "checkpoints").iterdir())
    assert newest.startswith("step-00000016"), "one step into the three of a batch"
    resumed = train(often, resume=True)
    expected, found = (from_pretrained(outcome.folder.last).state_dict() for outcome in (whole, resumed))
    assert all(torch.equal(value, found[name]) for name, value in expected.items())


def test_pieces_of_a_batch_keep_their_places(free: Config) -> None:
    """With batch norm in the model pieces differ by their statistics; the perturbation itself does not mix them up."""
    accelerator = Accelerator()
    carried = Perturbation(4, (1, 1, 1), accelerator)
    attack = PGD(ThreatModel("linf", 0.5), step_size=0.3)
    up = torch.ones(2, 1, 1, 1)
    carried.ascend(slice(0, 2), up, attack)
    carried.ascend(slice(0, 2), up, attack)
    carried.ascend(slice(2, 4), torch.tensor([-1.0, float("nan")]).view(2, 1, 1, 1), attack)
    assert carried.at(slice(0, 4)).flatten().tolist() == pytest.approx([0.5, 0.5, -0.3, 0.0])
    other = Perturbation(4, (1, 1, 1), accelerator)
    other.load_state_dict(carried.state_dict())
    assert torch.equal(other.at(slice(0, 4)), carried.at(slice(0, 4)))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"attack": {"method": "free"}}, "attack.replays=1: attack.method free needs at least 2"),
        ({"attack": {"replays": 2}}, "attack.replays is of attack.method free, not of pgd"),
        ({"attack": {"method": "free", "replays": 2, "steps": 2}}, "attack.steps is of attack.method pgd"),
        ({"attack": {"method": "free", "replays": 2, "batch_norm": "train", "precision": "same"}}, "attack.batch_norm"),
        ({"attack": {"method": "free", "replays": 2, "precision": "replica"}}, "attack.precision"),
        ({"objective": "trades(beta=6)"}, "objective='trades.* does not go with attack.method free; use pgd_at"),
        ({"data": DataConfig(mixup=0.2)}, "data.mixup and data.cutmix would mix every replay anew"),
    ],
)
def test_what_it_cannot_do_is_refused(changes: dict[str, object], words: str) -> None:
    attack = changes.pop("attack", {"method": "free", "replays": 2})
    with pytest.raises(ConfigError, match=words):
        Config(attack=AttackConfig(**attack), **changes)
