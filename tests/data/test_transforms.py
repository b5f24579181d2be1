"""How pictures are fitted to a model's input, and timm's policies on the crops of training."""

import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.functional import InterpolationMode as Mode
from torchvision.transforms.functional import center_crop, pil_to_tensor, resize

from smoothify.data import Images, Resizing, load, refuse_unknown_policy
from smoothify.data.transforms import measuring, training
from smoothify.errors import ConfigError, UnknownNameError


def noise(mode: str = "RGB", size: tuple[int, int] = (48, 40)) -> Image.Image:
    shape = (size[1], size[0]) if mode == "L" else (size[1], size[0], 3)
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))


def test_pictures_are_resized_as_the_resizing_says() -> None:
    fit = measuring((3, 32, 32), Resizing(crop_pct=0.8, interpolation="bicubic"))
    expected = center_crop(resize(noise(), 40, Mode.BICUBIC), [32, 32])
    assert torch.equal(fit(noise()), pil_to_tensor(expected))
    squashed = measuring((3, 32, 32), Resizing(crop_pct=1.0, crop_mode="squash"))
    assert torch.equal(squashed(noise()), pil_to_tensor(resize(noise(), [32, 32], Mode.BILINEAR)))


def test_a_picture_of_the_right_size_is_left_alone() -> None:
    fitting = noise(size=(32, 32))
    assert torch.equal(measuring((3, 32, 32), Resizing(crop_pct=0.5))(fitting), pil_to_tensor(fitting))


def test_what_a_host_leaves_out_is_the_usual() -> None:
    host = SimpleNamespace(pretrained_cfg={"crop_pct": 0.9, "interpolation": "bicubic"})
    assert Resizing.from_host(host) == Resizing(0.9, "center", "bicubic")
    assert Resizing.from_host(torch.nn.Identity()) == Resizing()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"crop_pct": 0.0}, "crop_pct=0.0: it must be a number in"),
        ({"crop_pct": "1"}, "crop_pct='1': it must be a number"),
        ({"crop_mode": "centre"}, "unknown crop mode 'centre'; did you mean 'center'"),
        ({"interpolation": "cubic"}, "unknown interpolation 'cubic'; did you mean 'bicubic'"),
    ],
)
def test_impossible_resizing_is_refused(values: dict[str, object], words: str) -> None:
    with pytest.raises((ConfigError, UnknownNameError), match=words):
        Resizing(**values)


POLICIES = ("v0", "original-mstd0.5", "3a", "rand-m9-mstd0.5-inc1", "augmix-m3-w2")


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_policies_change_pictures_of_both_kinds(policy: str, mode: str) -> None:
    """Enough draws to meet every operation: of timm's own, some fail on grey pictures, some with this Pillow."""
    channels = 3 if mode == "RGB" else 1
    refuse_unknown_policy(policy)
    plain, changed = training((channels, 16, 16), None), training((channels, 16, 16), policy)
    different = 0
    for seed in range(300):
        drawn = []
        for transform in (plain, changed):
            random.seed(seed)
            np.random.seed(seed)
            torch.manual_seed(seed)
            drawn.append(transform(noise(mode)))
        assert drawn[1].shape == (channels, 16, 16)
        assert drawn[1].dtype == torch.uint8
        different += not torch.equal(*drawn)
    assert different > 100


@pytest.mark.parametrize("spec", ["v1", "rnd-m9", "rand-q3", "rand-m9-tweight", "original-m9", "augmix-d-1", ""])
def test_what_timm_would_not_read_whole_is_refused(spec: str) -> None:
    with pytest.raises(ConfigError, match=r"data.auto_augment=.* is no policy of timm; write for example"):
        refuse_unknown_policy(spec)


def test_images_draw_policies_and_keep_their_resizing() -> None:
    options = {"input_size": (1, 20, 20), "augmentation": "imagenet", "indices": range(3)}
    images = Images(load(split="test"), auto_augment="v0", resizing=Resizing(1.0), **options)
    assert images.resizing.crop_pct == 1.0
    torch.manual_seed(0)
    assert len({tuple(images[0][0].flatten().tolist()) for _ in range(5)}) == 5
    fitted = [
        Images(load(split="test"), input_size=(1, 20, 20), resizing=resizing, indices=[0])[0][0]
        for resizing in (Resizing(1.0), Resizing(0.5))
    ]
    assert not torch.equal(*fitted)
