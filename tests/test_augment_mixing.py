"""Cut and paste, blend, delete and objects: hand-computed examples, and pixels against labels."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from l2a.augment import (
    ActorCut,
    Augmentation,
    Batch,
    CubeCutMix,
    CubeCutMixUp,
    CubeCutOut,
    CutMix,
    CutMixUp,
    CutOut,
    FadeMixUp,
    FrameCutMix,
    FrameCutMixUp,
    FrameCutOut,
    MixUp,
    ObjectMix,
    VideoMix,
    make_augmentation,
)
from l2a.augment.base import mix_labels
from l2a.augment.blend import BoxBlend, blend_boxes, crossfade, fade
from l2a.augment.boxes import Axes, Box, box_of_share, span, visible_volumes, whole
from l2a.augment.cut import Patch, paste
from l2a.augment.delete import delete
from l2a.augment.objects import bounding_boxes, over_time, paste_objects, select_by_mask
from l2a.errors import InputError

Size = tuple[int, int, int]
SIZES = st.tuples(st.integers(1, 6), st.integers(1, 11), st.integers(1, 11))


def one_class_each(count: int, size: Size) -> Batch:
    """Clip i is i everywhere and of class i: what is seen can be counted."""
    values = torch.arange(count, dtype=torch.float64)[:, None, None, None, None]
    clips = values.expand(count, 3, *size).clone()
    return Batch(clips, torch.eye(count), torch.zeros(count, *size, dtype=torch.bool))


def seen(clips: Tensor, count: int) -> Tensor:
    """The share of the pixels of each clip that came from clip j, float32 [B, B]."""
    hits = torch.stack([(clips[:, 0] == j).flatten(1).sum(1) for j in range(count)], 1)
    return (hits.double() / clips[0, 0].numel()).float()


# Boxes


@pytest.mark.parametrize(
    ("centre", "length", "size", "expected"),
    [
        (5.0, 4.0, 10, (3, 7)),
        (1.0, 4.0, 10, (0, 3)),  # clamped on the left: min(max(x, 0), W)
        (9.5, 4.0, 10, (8, 10)),  # clamped on the right, 7.5 rounded up
        (5.0, 0.0, 10, (5, 5)),
        (2.5, 5.0, 5, (0, 5)),
        (0.5, 0.4, 1, (0, 1)),
        (0.1, 0.4, 1, (0, 0)),
    ],
)
def test_span(centre: float, length: float, size: int, expected: tuple[int, int]) -> None:
    assert span(centre, length, size) == expected


@pytest.mark.parametrize(
    ("axes", "share", "expected"),
    [
        ("space", 0.25, Box((0, 8), (2, 6), (5, 15))),  # √0.25 = 1/2 of each side
        ("time", 0.25, Box((3, 5), (0, 8), (0, 20))),
        ("cube", 0.125, Box((2, 6), (2, 6), (5, 15))),  # ∛0.125 = 1/2
    ],
)
def test_the_side_of_a_box_is_a_root_of_its_share(axes: Axes, share: float, expected: Box) -> None:
    assert box_of_share(axes, share, (4, 4, 10), (8, 8, 20)) == expected


@given(axes=st.sampled_from(["space", "time", "cube"]), size=SIZES)
def test_share_0_is_empty_and_share_1_in_the_middle_is_everything(axes: Axes, size: Size) -> None:
    middle = (size[0] / 2, size[1] / 2, size[2] / 2)
    assert box_of_share(axes, 0.0, middle, size).volume == 0
    assert box_of_share(axes, 1.0, middle, size) == whole(size)


@given(st.integers(1, 60), st.integers(0, 59), st.floats(0, 1))
def test_a_box_is_that_of_the_published_code_within_a_pixel(
    size: int, centre: int, share: float
) -> None:
    """Kim et al.'s code rounds the length down, halves it, and rounds down again."""
    centre %= size
    half = int(size * share) // 2
    theirs = max(centre - half, 0), min(centre + half, size)
    ours = span(centre, share * size, size)
    assert max(abs(a - b) for a, b in zip(ours, theirs, strict=True)) <= 1
    even = 2 * half
    assert span(centre, even, size) == theirs  # the same for lengths that need no rounding


BOXES = st.builds(
    lambda *ends: Box(*(tuple(sorted(pair)) for pair in zip(ends[::2], ends[1::2], strict=True))),
    *(st.integers(0, 5) for _ in range(6)),
)


@given(st.lists(BOXES, max_size=5))
def test_visible_volumes_by_counting(boxes: list[Box]) -> None:
    painted = torch.full((5, 5, 5), -1)
    for i, box in enumerate(boxes):
        painted[box.slices] = i
    counted = tuple(int((painted == i).sum()) for i in range(len(boxes)))
    assert visible_volumes(tuple(boxes)) == counted


# Cut and paste


def test_paste_by_hand() -> None:
    batch = one_class_each(2, (2, 2, 4))
    done = paste(batch, [[Patch(1, Box((0, 1), (0, 2), (1, 3)))], []])
    assert done.clips[0, 0].tolist() == [[[0, 1, 1, 0], [0, 1, 1, 0]], [[0] * 4, [0] * 4]]
    assert torch.equal(done.clips[1], batch.clips[1])
    # 4 of 16 pixels were pasted: Eq. 1, where Algorithm 1, line 24 would give the pasted clip 3/4.
    assert done.labels.tolist() == [[0.75, 0.25], [0, 1]]


def test_what_a_later_box_covers_does_not_count() -> None:
    batch = one_class_each(3, (1, 2, 4))
    first, second = Box((0, 1), (0, 2), (0, 2)), Box((0, 1), (1, 2), (1, 4))
    done = paste(batch, [[Patch(1, first), Patch(2, second)], [], []])
    assert done.clips[0, 0, 0].tolist() == [[1, 1, 0, 0], [1, 2, 2, 2]]
    assert done.labels[0].tolist() == [2 / 8, 3 / 8, 3 / 8]


def test_masks_are_pasted_with_the_pixels() -> None:
    batch = one_class_each(2, (1, 1, 4))
    batch = Batch(batch.clips, batch.labels, torch.tensor([[[[1, 1, 0, 0]]], [[[0, 0, 0, 1]]]]) > 0)
    done = paste(batch, [[Patch(1, Box((0, 1), (0, 1), (1, 4)))], []])
    assert done.masks is not None
    assert done.masks[0].flatten().tolist() == [True, False, False, True]


PASTING = [
    *(
        VideoMix(mode, videos=videos, per_clip=per_clip)
        for mode in ("spatial", "temporal", "spatio-temporal", "per-frame")
        for videos, per_clip in ((2, False), (2, True), (3, True), (4, False))
    ),
    CutMix(probability=1, per_clip=True),
    FrameCutMix(probability=1),
    CubeCutMix(probability=0.5, per_clip=True),
    ObjectMix(probability=1),
    ObjectMix(True, probability=0.5, per_clip=True),
    ObjectMix(videomix=True, per_clip=True),
    ObjectMix(True, videomix=True),
    ActorCut(alpha=1, probability=1, empty_partner=False),
    ActorCut(alpha=1, boxes=False, probability=0.5, empty_partner=False),
]


@pytest.mark.parametrize("augment", PASTING, ids=str)
@given(count=st.integers(1, 5), size=SIZES, seed=st.integers(0, 10_000))
def test_labels_are_exactly_the_shares_of_pixels(
    augment: Augmentation, count: int, size: Size, seed: int
) -> None:
    batch = one_class_each(count, size)
    generator = torch.Generator().manual_seed(seed)
    masks = torch.rand(count, *size, generator=generator) < torch.rand((), generator=generator)
    clips, labels = augment(batch.clips, batch.labels, masks, generator)
    assert torch.equal(labels, seen(clips, count))
    assert torch.equal(clips[:, 0], clips[:, 1]) and torch.equal(clips[:, 0], clips[:, 2])


def boxes_of(augment: Augmentation, size: Size, seed: int) -> Tensor:
    """Where the second of two clips was pasted into the first, for a seed that exchanges them."""
    batch = one_class_each(2, size)
    done = augment.apply(batch, Random(seed))
    return done.clips[0, 0] == 1


@pytest.mark.parametrize("seed", range(12))
def test_modes_cut_along_their_axes(seed: int) -> None:
    size = (6, 9, 9)
    spatial = boxes_of(VideoMix(), size, seed)
    assert torch.equal(spatial, spatial[:1].expand(size))
    temporal = boxes_of(VideoMix("temporal"), size, seed)
    assert torch.equal(temporal, temporal[:, :1, :1].expand(size))
    cube = boxes_of(VideoMix("spatio-temporal"), size, seed)
    assert torch.equal(
        cube, cube.any(2).any(1)[:, None, None] & cube.any(0)[None]
    )  # a product of a run of frames and a rectangle


def test_frames_of_per_frame_videomix_are_drawn_for_themselves() -> None:
    shapes = [boxes_of(VideoMix("per-frame"), (6, 9, 9), seed) for seed in range(12)]
    pasted = [where for where in shapes if where.any()]
    assert pasted and any(not torch.equal(where[0], where[1]) for where in pasted)


def test_one_draw_a_batch_unless_asked_otherwise() -> None:
    clips = torch.arange(4.0)[:, None, None, None, None].expand(4, 3, 2, 16, 16).clone()
    once, each = set(), set()
    for seed in range(8):
        for kept, augment in ((once, VideoMix()), (each, VideoMix(per_clip=True))):
            done = augment.apply(Batch(clips, torch.eye(4)), Random(seed))
            changed = {str(where) for where in done.clips[:, 0] != clips[:, 0] if where.any()}
            kept.add(len(changed))
    assert max(once) == 1 and max(each) > 1


# Blend


def test_crossfade_by_hand() -> None:
    clips = torch.tensor([0.0, 100.0])[:, None, None, None, None].expand(2, 3, 3, 1, 1)
    batch = Batch(clips, torch.eye(2))
    done = crossfade(batch, [1, 1], [fade(0.25, 0.25, 3), [1.0] * 3])
    assert done.clips[0, 0].flatten().tolist() == [100, 75, 50]
    assert done.clips[1, 0].flatten().tolist() == [100] * 3
    assert done.labels.tolist() == [[0.25, 0.75], [0, 1]]


def test_whole_numbers_are_rounded() -> None:
    clips = torch.tensor([0, 255], dtype=torch.uint8)[:, None, None, None, None]
    done = crossfade(Batch(clips.expand(2, 3, 1, 1, 1), torch.eye(2)), [1, 0], [[0.7], [0.7]])
    assert done.clips[:, 0].flatten().tolist() == [77, 179]  # 76.5 and 178.5
    assert done.clips.dtype == torch.uint8


@given(st.floats(0, 1), st.floats(0, 1), st.integers(1, 9))
def test_a_fade_stays_in_range_and_keeps_its_mean(weight: float, part: float, frames: int) -> None:
    weights = fade(weight, part * min(weight, 1 - weight), frames)
    assert len(weights) == frames
    assert min(weights) >= -1e-12 and max(weights) <= 1 + 1e-12
    assert sum(weights) / frames == pytest.approx(weight)


@pytest.mark.parametrize("augment", [MixUp(), FadeMixUp(), FadeMixUp(per_clip=True)], ids=str)
@given(count=st.integers(1, 4), size=SIZES, seed=st.integers(0, 10_000))
def test_blended_brightness_is_blended_label(
    augment: Augmentation, count: int, size: Size, seed: int
) -> None:
    batch = one_class_each(count, size)
    done = augment.apply(batch, Random(seed))
    expected = done.labels.double() @ torch.arange(count).double()
    torch.testing.assert_close(done.clips.mean((1, 2, 3, 4)), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("weight", "outside", "label"),
    [
        # λ1 = 0.25, λ2 = 1/2: A outside; 0.25·0.5 + (1 − 0.5) and 0.75·0.5. As printed, (1 − λ1)
        # in place of (1 − λ2), the weights would sum to 1.25.
        (0.25, 0.0, [0.625, 0.375]),
        # λ1 = 0.75: B outside; 0.75·0.5 and the rest.
        (0.75, 1.0, [0.375, 0.625]),
    ],
)
def test_cutmixup_by_hand(weight: float, outside: float, label: list[float]) -> None:
    batch = one_class_each(2, (1, 2, 2))
    box = Box((0, 1), (0, 2), (0, 1))
    done = blend_boxes(batch, [1, 0], [BoxBlend(weight, box), None])
    assert done.clips[0, 0, 0].tolist() == [[1 - weight, outside]] * 2
    assert done.labels[0].tolist() == label
    assert torch.equal(done.clips[1], batch.clips[1]) and done.labels[1].tolist() == [0, 1]


@pytest.mark.parametrize(
    "augment",
    [CutMixUp(), FrameCutMixUp(per_clip=True), CubeCutMixUp(per_clip=True, probability=0.5)],
    ids=str,
)
@given(count=st.integers(1, 4), size=SIZES, seed=st.integers(0, 10_000))
def test_box_blends_keep_brightness_and_label_together(
    augment: Augmentation, count: int, size: Size, seed: int
) -> None:
    batch = one_class_each(count, size)
    done = augment.apply(batch, Random(seed))
    expected = done.labels.double() @ torch.arange(count).double()
    torch.testing.assert_close(done.clips.mean((1, 2, 3, 4)), expected, atol=1e-6, rtol=0)


def test_weights_0_and_1_are_the_one_and_the_other_clip() -> None:
    for dtype in (torch.uint8, torch.float32, torch.float16):
        clips = (torch.rand(2, 3, 2, 5, 5) * 200).to(dtype)
        batch = Batch(clips, torch.eye(2))
        kept = crossfade(batch, [1, 0], [[1.0, 1.0]] * 2)
        assert torch.equal(kept.clips, clips) and torch.equal(kept.labels, torch.eye(2))
        swapped = crossfade(batch, [1, 0], [[0.0, 0.0]] * 2)
        assert torch.equal(swapped.clips, clips.flip(0))
        everywhere = [BoxBlend(0.0, whole((2, 5, 5)))] * 2
        assert torch.equal(blend_boxes(batch, [1, 0], everywhere).clips, clips.flip(0))
        nowhere = [BoxBlend(0.3, Box((0, 0), (0, 0), (0, 0)))] * 2
        assert torch.equal(blend_boxes(batch, [1, 0], nowhere).clips, clips)
        pasted = paste(
            batch, [[Patch(1, whole((2, 5, 5)))], [Patch(0, Box((1, 1), (0, 5), (0, 5)))]]
        )
        assert torch.equal(pasted.clips, clips[[1, 1]]) and pasted.labels.tolist() == [[0, 1]] * 2


@pytest.mark.parametrize("augment", [MixUp, FadeMixUp])
def test_a_clip_that_is_not_mixed_keeps_its_own_mask(augment: type[MixUp | FadeMixUp]) -> None:
    """The mask of its partner is of objects that are not seen in it."""
    batch, alone = one_class_each(6, (2, 3, 3)), 0
    masks = torch.eye(6).bool().view(6, 1, 6, 1)[..., :3, :].expand(6, 2, 3, 3)
    for seed in range(10):
        done = augment(probability=0.5, per_clip=True).apply(
            Batch(batch.clips, batch.labels, masks), Random(seed)
        )
        assert done.masks is not None
        for i in np.flatnonzero(done.labels.diagonal() == 1):
            assert torch.equal(done.masks[i], masks[i])
            alone += 1
    assert 20 < alone < 50


# Delete


def test_delete_by_hand() -> None:
    batch = one_class_each(2, (2, 1, 3))
    done = delete(batch, [None, Box((1, 2), (0, 1), (0, 2))], fill=9)
    assert done.clips[1, 2].tolist() == [[[1, 1, 1]], [[9, 9, 1]]]
    assert torch.equal(done.clips[0], batch.clips[0]) and done.labels is batch.labels


def deleted(augment: Augmentation, size: Size, seed: int) -> Tensor:
    ones = torch.ones(1, 3, *size)
    return augment.apply(Batch(ones, torch.ones(1, 1)), Random(seed)).clips[0, 0] == 0


@pytest.mark.parametrize("seed", range(10))
def test_cutouts_delete_what_they_say(seed: int) -> None:
    size = (16, 40, 60)
    square = deleted(CutOut(), size, seed)
    assert torch.equal(square, square[:1].expand(size))
    assert 10 <= int(square[0].any(1).sum()) <= 20  # half of 40, clamped to no less than its half
    assert 10 <= int(square[0].any(0).sum()) <= 20
    frames = deleted(FrameCutOut(), size, seed)
    assert torch.equal(frames, frames[:, :1, :1].expand(size))
    assert 2 <= int(frames[:, 0, 0].sum()) <= 4
    cube = deleted(CubeCutOut(), size, seed)
    assert 2 * 10 * 10 <= int(cube.sum()) <= 4 * 20 * 20


# Objects


def test_objectmix_by_hand() -> None:
    batch = one_class_each(2, (2, 1, 2))
    masks = torch.tensor([[[[1, 0]], [[0, 0]]], [[[1, 1]], [[0, 1]]]]) > 0
    done = paste_objects(batch, [1, 0], masks)
    assert done.clips[:, 0].tolist() == [[[[0, 1]], [[1, 1]]], [[[1, 1]], [[0, 1]]]]  # Eq. 3, 4
    assert done.labels.tolist() == [[0.25, 0.75], [0.25, 0.75]]  # Eq. 5, 6
    spread = over_time(masks)  # Eq. 2
    assert spread.tolist() == [[[[True, False]]] * 2, [[[True, True]]] * 2]


def test_objects_of_an_empty_mask_leave_the_partner_and_of_a_full_one_the_clip() -> None:
    batch = one_class_each(2, (1, 2, 2))
    for full, expected in ((False, [1, 0]), (True, [0, 1])):
        done = paste_objects(batch, [1, 0], torch.full((2, 1, 2, 2), full))
        assert done.clips[:, 0, 0, 0, 0].tolist() == expected
        assert torch.equal(done.labels, torch.eye(2)[expected])


def test_bounding_boxes_by_hand() -> None:
    mask = torch.zeros(1, 2, 4, 5, dtype=torch.bool)
    mask[0, 0, 1, 1] = mask[0, 0, 2, 3] = True
    boxes = bounding_boxes(mask)
    expected = torch.zeros(4, 5, dtype=torch.bool)
    expected[1:3, 1:4] = True
    assert torch.equal(boxes[0, 0], expected) and not boxes[0, 1].any()


def test_actorcut_by_hand() -> None:
    batch = one_class_each(3, (1, 2, 2))
    masks = torch.zeros(3, 1, 2, 2, dtype=torch.bool)
    masks[0, 0, 0, 0] = True  # ρ = 1/4; the last clip has no box and stays; the middle is its own
    done = ActorCut(probability=1).apply(Batch(batch.clips, batch.labels, masks), Random(0))
    assert done.clips[0, 0, 0].tolist() == [[0, 2], [2, 2]]
    assert done.clips[1:, 0, 0, 0, 0].tolist() == [1, 2]
    rest = 0.75**4
    torch.testing.assert_close(done.labels[0], torch.tensor([1 - rest, 0, rest]))
    assert torch.equal(done.labels[1:], torch.eye(3)[1:])
    masks[0] = True  # full of it
    full = ActorCut(probability=1).apply(Batch(batch.clips, batch.labels, masks), Random(0))
    assert torch.equal(full.clips, batch.clips)


def test_actorcut_empties_the_partner() -> None:
    """Two clips of 2 x 3; the actor of A stands at the left, that of B in the middle column."""
    clips = torch.tensor([1.0, 2.0]).view(2, 1, 1, 1, 1).expand(2, 3, 1, 2, 3)
    masks = torch.zeros(2, 1, 2, 3, dtype=torch.bool)
    masks[0, 0, :, 0] = masks[1, 0, 0, 1] = masks[1, 0, 0, 0] = True
    done = ActorCut(probability=1).apply(Batch(clips, torch.eye(2), masks), Random(0))
    # A on B: B's box above covers columns 0 and 1, of which A's own box covers 0. B on A: A's box
    # is the left column, above which B is pasted.
    assert done.clips[0, 0, 0].tolist() == [[1, 0, 2], [1, 2, 2]]
    assert done.clips[1, 0, 0].tolist() == [[2, 2, 1], [0, 1, 1]]
    assert torch.equal(done.clips[:, 0], done.clips[:, 2])
    rest = 1 - torch.tensor([2 / 6, 2 / 6])
    torch.testing.assert_close(done.labels[:, 0], torch.stack([1 - rest[0] ** 4, rest[1] ** 4]))
    assert done.masks is not None
    assert done.masks[0, 0].tolist() == [[True, False, False], [True, False, False]]
    assert done.masks[1, 0].tolist() == [[True, True, False], [False, False, False]]
    left = ActorCut(probability=1, empty_partner=False)
    assert left.apply(Batch(clips, torch.eye(2), masks), Random(0)).clips[0, 0, 0, 0, 1] == 2


@pytest.mark.parametrize(
    ("dtype", "fill", "expected"),
    [(torch.uint8, None, 110), (torch.float32, None, 0), (torch.uint8, 7.0, 7)],
)
def test_what_the_partners_boxes_are_filled_with(
    dtype: torch.dtype, fill: float | None, expected: int
) -> None:
    clips = torch.full((2, 3, 1, 2, 2), 50, dtype=dtype)
    masks = torch.zeros(2, 1, 2, 2, dtype=torch.bool)
    masks[0, 0, 0, 0] = masks[1, 0, 1, 1] = True
    done = ActorCut(probability=1, fill=fill).apply(Batch(clips, torch.eye(2), masks), Random(0))
    assert done.clips[0, 0, 0].tolist() == [[50, 50], [50, expected]]


@given(st.integers(0, 10_000), SIZES)
def test_bytes_are_chosen_as_where_chooses(seed: int, size: Size) -> None:
    generator = torch.Generator().manual_seed(seed)
    first, second = torch.randint(0, 256, (2, 3, *size), generator=generator, dtype=torch.uint8)
    region = torch.rand(size, generator=generator) < 0.5
    out = torch.empty_like(first)
    select_by_mask(region, first, second, out)
    assert torch.equal(out, torch.where(region, first, second))


@pytest.mark.parametrize("name", ["cutmix", "mixup", "actorcut", "cutout"])
@pytest.mark.parametrize("which", ["Clips", "Labels"])
def test_gradients_are_refused_in_a_sentence(name: str, which: str) -> None:
    clips, labels = torch.rand(2, 3, 2, 4, 4), torch.eye(2)
    (clips if which == "Clips" else labels).requires_grad_()
    masks = torch.zeros(2, 2, 4, 4, dtype=torch.bool)
    with pytest.raises(InputError, match=f"^{which} require gradients, .*{which.lower()}.detach"):
        make_augmentation(name)(clips, labels, masks)


def test_labels_that_are_soft_already_are_mixed() -> None:
    soft = torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.2, 0.8]])
    mixed = mix_labels(soft, [[0.25, 0.75], [0.0, 1.0]])
    torch.testing.assert_close(mixed, torch.tensor([[0.125, 0.275, 0.6], [0.0, 0.2, 0.8]]))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: VideoMix(videos=5), "2, 3 or 4 videos, not 5"),
        (lambda: VideoMix(alpha=0), "alpha.*not 0"),
        (lambda: CutMix(probability=1.5), "probability.*not 1.5"),
        (lambda: CutMixUp(box_alpha=-1), "box_alpha.*not -1"),
        (lambda: CutOut(patch=2), "patch.*not 2"),
        (lambda: ActorCut(alpha=-4), "alpha.*not -4"),
    ],
)
def test_wrong_settings_are_named(make: object, words: str) -> None:
    assert callable(make)
    with pytest.raises(InputError, match=words):
        make()
