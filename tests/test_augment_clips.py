"""RandAugment's operations against torchvision's, magnitudes over time, crops and flips."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from random import Random

import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from l2a.augment import (
    Batch,
    Flip,
    ObjectMix,
    RandAugment,
    RandAugmentT,
    RandomResizedCrop,
    ScaleJitter,
)
from l2a.augment.geometry import Window, crop_and_resize
from l2a.augment.operations import OPERATIONS
from l2a.augment.randaugment import Step, draw_steps, run_steps
from l2a.errors import InputError


def picture(size: tuple[int, int] = (37, 50), frames: int = 3) -> Tensor:
    """Smooth and rough parts, dark and bright ones; uint8 [3, T, H, W]."""
    generator = torch.Generator().manual_seed(0)
    rough = torch.rand(3, frames, 5, 7, generator=generator).mul_(200)
    smooth = torch.nn.functional.interpolate(rough, size, mode="bilinear")
    return (smooth + torch.rand(3, frames, *size, generator=generator) * 30 + 10).to(torch.uint8)


def affine(frame: Tensor, **given: object) -> Tensor:
    usual = {"angle": 0.0, "translate": [0, 0], "scale": 1.0, "shear": [0.0, 0.0]}
    return F.affine(frame, **(usual | given))


def angle(level: float) -> float:
    return math.degrees(math.atan(0.3 * level))


# What torchvision's RandAugment does with a frame [3, 37, 50] at a magnitude of `v`, of 1 at most.
THEIRS: dict[str, Callable[[Tensor, float], Tensor]] = {
    "identity": lambda x, v: x,
    "shear-x": lambda x, v: affine(x, shear=[angle(v), 0.0], center=[0, 0]),
    "shear-y": lambda x, v: affine(x, shear=[0.0, angle(v)], center=[0, 0]),
    "translate-x": lambda x, v: affine(x, translate=[int(150 / 331 * 50 * v), 0]),
    "translate-y": lambda x, v: affine(x, translate=[0, int(150 / 331 * 37 * v)]),
    "rotate": lambda x, v: F.rotate(x, angle=30 * v),
    "brightness": lambda x, v: F.adjust_brightness(x, 1 + 0.9 * v),
    "color": lambda x, v: F.adjust_saturation(x, 1 + 0.9 * v),
    "contrast": lambda x, v: F.adjust_contrast(x, 1 + 0.9 * v),
    "sharpness": lambda x, v: F.adjust_sharpness(x, 1 + 0.9 * v),
    "posterize": lambda x, v: F.posterize(x, round(8 - 4 * v)),
    "solarize": lambda x, v: F.solarize(x, 255 * (1 - v)),
    "autocontrast": lambda x, v: F.autocontrast(x),
    "equalize": lambda x, v: F.equalize(x),
}


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("levels", [(0.3, 0.3, 0.3), (0.1, 0.55, 1.0), (-0.2, -0.5, -0.8)])
def test_operations_do_what_torchvision_does_to_each_frame(
    name: str, levels: tuple[float, ...]
) -> None:
    if levels[0] < 0 and not OPERATIONS[name].signed:
        levels = tuple(-v for v in levels)
    clip = picture()
    done = OPERATIONS[name].run(clip.float(), levels)
    for t, v in enumerate(levels):
        expected = THEIRS[name](clip[:, t], v).float()
        difference = (done[:, t] - expected).abs()
        # They cut off fractions after every step; a nearest pixel may be tied.
        assert (difference > 2.01).float().mean() < 0.01, (t, difference.max())


@pytest.mark.parametrize("name", sorted(set(OPERATIONS) - {"autocontrast", "equalize"}))
def test_magnitude_0_is_the_identity(name: str) -> None:
    clip = picture().float()
    torch.testing.assert_close(OPERATIONS[name].run(clip, [0.0] * 3), clip, atol=1e-4, rtol=0)


def test_operations_by_hand() -> None:
    clip = torch.tensor([0.0, 100.0, 200.0]).expand(3, 2, 1, 3).contiguous()

    def row(name: str, *levels: float) -> list[list[float]]:
        return OPERATIONS[name].run(clip, levels)[0, :, 0].round().tolist()

    assert row("brightness", 0.0, 1.0) == [[0, 100, 200], [0, 190, 255]]
    assert row("solarize", 0.5, 1.0) == [[0, 100, 55], [255, 155, 55]]
    assert row("posterize", 0.0, 1.0) == [[0, 100, 200], [0, 96, 192]]
    assert row("autocontrast", 0.0, 0.0) == [[0, 128, 255]] * 2
    # 150/331 of 3 pixels, cut off: one to the right
    assert row("translate-x", 0.0, 1.0) == [[0, 100, 200], [0, 0, 100]]
    # the mean grey is 0.9999·100; 0.1 of the way from it
    assert row("contrast", 0.0, -1.0) == [[0, 100, 200], [90, 100, 110]]


def test_magnitudes_go_linearly_from_the_first_frame_to_the_last() -> None:
    clip = torch.full((3, 4, 2, 2), 0.5)
    done, _ = run_steps(clip, None, [Step("brightness", 0.0, -30.0)])
    torch.testing.assert_close(done[0, :, 0, 0], 0.5 * torch.tensor([1.0, 0.7, 0.4, 0.1]))
    single, _ = run_steps(clip[:, :1], None, [Step("brightness", 0.0, -30.0)])
    assert single[0, 0, 0, 0].item() == pytest.approx(0.5 * 0.55)


def test_steps_follow_one_another() -> None:
    clip = torch.full((3, 1, 2, 2), 200, dtype=torch.uint8)
    both = [Step("solarize", 30, 30), Step("brightness", 30, 30)]
    assert run_steps(clip, None, both)[0].unique().tolist() == [105]  # 55 · 1.9 = 104.5
    assert run_steps(clip, None, both[::-1])[0].unique().tolist() == [0]  # 255 − min(380, 255)


def test_what_is_drawn() -> None:
    names: Counter[str] = Counter()
    for seed in range(400):
        draws = Random(seed)
        (step,) = draw_steps(RandAugmentT("temporal", 1, 10), "temporal", draws)
        names[step.operation] += 1
        assert 0.1 <= abs(step.first) <= abs(step.last) == 10
        first, second = draw_steps(RandAugmentT("temporal+", 2, 10), "temporal+", draws)
        assert abs(first.first) == abs(second.first)  # magnitudes are drawn once a clip
        assert abs(first.first) + abs(first.last) == pytest.approx(20)
        assert 5 <= abs(first.first) <= 10
        (flat,) = draw_steps(RandAugment(1, 9), "spatial", draws)
        assert abs(flat.first) == 9 and flat.first == flat.last
        if not OPERATIONS[step.operation].signed:
            assert step.first > 0
    assert set(names) == set(OPERATIONS) and len(OPERATIONS) == 14
    assert max(names.values()) < 60  # 29 expected of each


def test_mix_is_as_often_spatial_as_temporal() -> None:
    clip = torch.rand(1, 3, 2, 4, 4).expand(1, 3, 2, 4, 4)
    clip = clip[:, :, :1].expand(-1, -1, 2, -1, -1)  # a still
    still = 0
    for seed in range(200):
        done = RandAugmentT("mix", operations=1).apply(Batch(clip, torch.ones(1, 1)), Random(seed))
        still += torch.equal(done.clips[:, :, 0], done.clips[:, :, 1])
    assert 100 <= still < 190  # every spatial one, and those whose operation changed nothing


def test_a_stronger_magnitude_never_passes_the_largest() -> None:
    for seed in range(50):
        for step in draw_steps(RandAugmentT("temporal+", 3, 30), "temporal+", Random(seed)):
            assert abs(step.last) <= 30


def test_masks_move_with_the_pixels_and_keep_still_with_the_colours() -> None:
    clip = torch.zeros(3, 2, 9, 9, dtype=torch.uint8)
    mask = torch.zeros(2, 9, 9, dtype=torch.bool)
    mask[:, 3:6, 2:5] = True
    clip[:, mask] = 200
    for name in OPERATIONS:
        moved, where = run_steps(clip, mask, [Step(name, 20, 25)])
        assert where is not None
        if name in ("shear-x", "shear-y", "translate-x", "translate-y", "rotate"):
            assert torch.equal(moved[0] > 0, where) and not torch.equal(where, mask)
        else:
            assert torch.equal(where, mask)


def test_a_crop_by_hand() -> None:
    ramp = torch.arange(6.0).expand(1, 3, 2, 4, 6)
    mask = torch.arange(6).expand(1, 2, 4, 6) >= 3
    batch = Batch(ramp, torch.ones(1, 1), mask)
    same = crop_and_resize(batch, [Window(1, 2, 2, 3)], (2, 3))
    assert same.clips[0, 0, 0].tolist() == [[2, 3, 4]] * 2
    assert same.masks is not None and same.masks[0, 0, 0].tolist() == [False, True, True]
    half = crop_and_resize(batch, [Window(0, 0, 4, 6)], (2, 3))
    assert half.clips[0, 0, 0, 0, 1] == pytest.approx(2.5)
    larger = crop_and_resize(batch, [Window(0, 0, 4, 6)], (8, 12))
    assert larger.clips.shape == (1, 3, 2, 8, 12) and larger.clips.max() == 5


def test_crops_stay_inside_and_keep_to_their_settings() -> None:
    frame, size = (60, 80), (40, 40)
    for seed in range(200):
        window = RandomResizedCrop(size, area=(0.2, 0.5))._window(Random(seed), frame, size)
        assert 0 <= window.top <= 60 - window.height and 0 <= window.left <= 80 - window.width
        assert 0.19 * 4800 < window.height * window.width < 0.52 * 4800
        assert 0.72 < window.width / window.height < 1.38
        jitter = ScaleJitter(size)._window(Random(seed), frame, size)
        assert 48 <= jitter.height <= 60 and jitter.width == jitter.height  # 60/1.25 … 60/1
        assert jitter.top + jitter.height <= 60 and jitter.left + jitter.width <= 80
        wide = ScaleJitter((20, 40))._window(Random(seed), (60, 70), (20, 40))  # not squeezed
        assert 56 <= wide.width <= 70 and abs(wide.width - 2 * wide.height) <= 1


def test_crops_with_probability_0_take_the_middle() -> None:
    clips = torch.arange(8.0).expand(2, 3, 1, 4, 8)
    done, _ = ScaleJitter((4, 4), probability=0)(clips, torch.eye(2))
    assert done[0, 0, 0, 0].tolist() == [2, 3, 4, 5]


def test_a_flip_spares_the_classes_where_left_and_right_matter() -> None:
    clips = torch.arange(4.0).expand(3, 3, 1, 1, 4)
    labels = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0.9, 0.1]])
    done, soft = Flip(1.0, fixed_classes=(2,))(clips, labels)
    assert done[:, 0, 0, 0, 0].tolist() == [3, 3, 0] and torch.equal(soft, labels)
    with pytest.raises(InputError, match=r"0\.\.2"):
        Flip(1.0, fixed_classes=(3,))(clips, labels)


def test_masks_are_mirrored_too_so_that_objects_are_found() -> None:
    clips = torch.zeros(1, 3, 1, 1, 4)
    masks = torch.tensor([[[[1, 0, 0, 0]]]]) > 0
    done = Flip(1.0).apply(Batch(clips, torch.ones(1, 1), masks), Random(0))
    assert done.masks is not None and done.masks.flatten().tolist() == [False, False, False, True]
    ObjectMix(probability=1).apply(done, Random(0))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: RandAugment(operations=0), "operations.*not 0"),
        (lambda: RandAugmentT(magnitude=31), r"0\.\.30, not 31"),
        (lambda: ScaleJitter(scale=(0.5, 1)), "at least 1"),
        (lambda: RandomResizedCrop(area=(0.9, 0.1)), "small to large"),
        (lambda: RandomResizedCrop(size=(0, 4)), "size.*not 0"),
    ],
)
def test_wrong_settings_are_named(make: Callable[[], object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        make()
