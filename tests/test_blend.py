"""Eq. 1 by hand, soft edges, seamless cloning, colours, and what must hold for any clip."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from compositing.blend import BLENDS, blend, composite_clip, paste, soft_weight
from compositing.colour import CHROMA, match_colour
from compositing.settings import CompositeSettings

shapes = st.tuples(*(st.integers(1, n) for n in (3, 4, 9, 9)))
clip_shapes = st.tuples(*(st.integers(1, n) for n in (4, 13, 13)))
every_blend = pytest.mark.parametrize("name", sorted(BLENDS))


def random_clips(shape, seed):
    rng = np.random.default_rng(seed)
    foreground, background = (rng.integers(0, 256, (*shape, 3), np.uint8) for _ in range(2))
    return foreground, rng.random(shape) < 0.4, background


def test_eq_1_by_hand():
    foreground = np.array([[[[1, 2, 3], [4, 5, 6]]]], np.uint8)
    background = np.array([[[[250, 251, 252], [253, 254, 255]]]], np.uint8)
    mask = np.array([[[True, False]]])
    assert composite_clip(foreground, mask, background).tolist() == [[[[1, 2, 3], [253, 254, 255]]]]


@given(shapes, st.integers(0, 99))
def test_eq_1_takes_each_pixel_whole_from_one_clip_and_mutates_none(shape, seed):
    foreground, mask, background = random_clips(shape, seed)
    before = [a.copy() for a in (foreground, mask, background)]
    result = composite_clip(foreground, mask, background)
    assert_array_equal(result[mask], foreground[mask])
    assert_array_equal(result[~mask], background[~mask])
    for now, then in zip((foreground, mask, background), before, strict=True):
        assert_array_equal(now, then)
    assert not np.shares_memory(result, background)


@given(shapes, st.integers(0, 99))
def test_empty_mask_gives_the_background_and_full_mask_the_foreground(shape, seed):
    foreground, mask, background = random_clips(shape, seed)
    assert_array_equal(composite_clip(foreground, np.zeros_like(mask), background), background)
    assert_array_equal(composite_clip(foreground, np.ones_like(mask), background), foreground)


@given(shapes, st.integers(0, 99))
def test_a_batch_is_its_clips(shape, seed):
    foreground, mask, background = random_clips(shape, seed)
    batch = composite_clip(foreground, mask, background)
    for i in range(shape[0]):
        assert_array_equal(batch[i], composite_clip(foreground[i], mask[i], background[i]))


def test_views_of_larger_arrays_are_fine():
    """Crops, flips and strides come from augmentation without a copy."""
    foreground, mask, background = random_clips((2, 3, 12, 14), 0)
    crop = (slice(None), slice(None, None, 2), slice(2, 11), slice(None, 3, -1))
    result = composite_clip(foreground[crop], mask[crop], background[crop])
    assert_array_equal(result, np.where(mask[..., None], foreground, background)[crop])


def test_read_only_inputs_are_fine():
    clips = random_clips((2, 3, 4), 0)
    for array in clips:
        array.flags.writeable = False
    assert composite_clip(*clips).flags.writeable


@pytest.mark.parametrize("shape", [(0, 8, 4, 4), (2, 4, 0)])
def test_no_pixels_at_all_are_fine(shape):
    assert composite_clip(*random_clips(shape, 0)).shape == (*shape, 3)


def test_paste_writes_to_the_callers_canvas():
    foreground, mask, background = random_clips((2, 5, 7), 1)
    canvas = background.copy()
    paste(foreground, mask, canvas)
    assert_array_equal(canvas, composite_clip(foreground, mask, background))
    assert (canvas != background).any()


@pytest.mark.parametrize(
    ("foreground", "mask", "background", "message"),
    [
        (np.zeros((2, 4, 4, 3), np.uint8), np.zeros((2, 4, 4), bool), (2, 4, 5, 3), "do not fit"),
        (np.zeros((2, 4, 4, 3), np.uint8), np.zeros((1, 4, 4), bool), (2, 4, 4, 3), "do not fit"),
        (np.zeros((2, 4, 4, 4), np.uint8), np.zeros((2, 4, 4), bool), (2, 4, 4, 4), "do not fit"),
        (np.zeros((2, 4, 4, 3), np.uint8), np.zeros((2, 4, 4), np.uint8), (2, 4, 4, 3), "bool"),
        (np.zeros((2, 4, 4, 3), np.float32), np.zeros((2, 4, 4), bool), (2, 4, 4, 3), "float32"),
    ],
)
def test_what_does_not_fit_is_refused(foreground, mask, background, message):
    with pytest.raises(ValueError, match=message):
        composite_clip(foreground, mask, np.zeros(background, np.uint8))


def test_a_canvas_that_would_not_be_written_to_is_refused():
    foreground, mask, background = random_clips((2, 4, 4), 0)
    with pytest.raises(ValueError, match="contiguous"):
        paste(foreground, mask, background[:, ::-1])


def blended(foreground, mask, background, **settings):
    """The canvas after `blend`, and γ; on the way, that no input was written to."""
    canvas = background.copy()
    before = foreground.copy(), mask.copy()
    gamma = blend(foreground, mask, canvas, CompositeSettings(**settings))
    assert_array_equal(foreground, before[0])
    assert_array_equal(mask, before[1])
    return canvas, gamma


def disc(height, width, radius=0.35, num_frames=1):
    y, x = np.ogrid[:height, :width]
    there = np.hypot(y - (height - 1) / 2, x - (width - 1) / 2) <= radius * min(height, width)
    return np.repeat(there[None], num_frames, axis=0)


def smooth_clip(height, width, seed, num_frames=1):
    """Coarse noise, blown up: no detail that rounding could exaggerate."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (num_frames, 5, 6, 3), np.uint8)
    return np.stack([cv2.resize(frame, (width, height)) for frame in coarse])


@given(clip_shapes, st.integers(0, 99), st.sampled_from(sorted(BLENDS)), st.floats(0, 0.5))
def test_no_blend_touches_a_pixel_outside_the_mask(shape, seed, name, feather):
    foreground, mask, background = random_clips(shape, seed)
    for share in (0.0, 0.7):
        canvas, gamma = blended(
            foreground, mask, background, blend=name, feather=feather, match_colour=share
        )
        assert_array_equal(canvas[~mask], background[~mask])
        assert 0 <= gamma <= mask.mean()


@given(clip_shapes, st.integers(0, 99))
def test_blend_paste_is_eq_1(shape, seed):
    clips = random_clips(shape, seed)
    canvas, gamma = blended(*clips)
    assert_array_equal(canvas, composite_clip(*clips))
    assert gamma == clips[1].mean()


@every_blend
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 7, 9), (3, 8, 5), (2, 1, 6)])
def test_an_empty_mask_leaves_the_background(name, shape):
    foreground, mask, background = random_clips(shape, 3)
    canvas, gamma = blended(
        foreground, np.zeros_like(mask), background, blend=name, feather=0.3, match_colour=1
    )
    assert_array_equal(canvas, background)
    assert gamma == 0


@pytest.mark.parametrize("name", ["paste", "feather"])
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 7, 9), (3, 8, 5)])
def test_a_full_mask_gives_the_foreground_for_it_has_no_edge(name, shape):
    foreground, mask, background = random_clips(shape, 3)
    canvas, gamma = blended(foreground, np.ones_like(mask), background, blend=name, feather=0.5)
    assert_array_equal(canvas, foreground)
    assert gamma == 1


@every_blend
@pytest.mark.parametrize("share", [0.0, 0.6])
def test_crops_and_flips_of_larger_arrays_are_fine(name, share):
    foreground, mask, background = random_clips((5, 20, 22), 0)
    crop = (slice(None, None, 2), slice(3, 16), slice(None, 4, -1))
    how = {"blend": name, "feather": 0.1, "match_colour": share}
    seen, gamma = blended(foreground[crop], mask[crop], background[crop].copy(), **how)
    copies = [array[crop].copy() for array in (foreground, mask, background)]
    expected, same = blended(*copies, **how)
    assert_array_equal(seen, expected)
    assert gamma == same


@every_blend
def test_what_does_not_fit_is_refused_by_every_blend(name):
    foreground, mask, background = random_clips((2, 4, 5), 0)
    settings = CompositeSettings(blend=name)
    with pytest.raises(ValueError, match="do not fit"):
        blend(foreground, mask[:1], background, settings)
    with pytest.raises(ValueError, match="contiguous"):
        blend(foreground, mask, background[:, ::-1], settings)


# feather


def test_the_soft_edge_by_hand():
    """Columns 3 to 9 of 12: the centres lie 0.5, 1.5, 2.5 and 3.5 pixels inside the edge."""
    mask = np.zeros((1, 5, 12), bool)
    mask[:, :, 3:10] = True
    expected = [0, 0, 0, 0.5 / 3, 1.5 / 3, 2.5 / 3, 1, 2.5 / 3, 1.5 / 3, 0.5 / 3, 0, 0]
    assert_allclose(soft_weight(mask, 3), np.broadcast_to(expected, (1, 5, 12)), atol=1e-6)


def test_feather_by_hand():
    mask = np.zeros((1, 10, 12), bool)
    mask[:, :, 3:10] = True
    foreground = np.full((1, 10, 12, 3), [200, 100, 0], np.uint8)
    background = np.full((1, 10, 12, 3), [20, 100, 255], np.uint8)
    canvas, gamma = blended(foreground, mask, background, blend="feather", feather=0.3)
    expected = [[20, 100, 255]] * 3 + [
        [50, 100, 213],  # 20 + 180/6 and 255 − 255/6 = 212.5
        [110, 100, 128],  # 127.5
        [170, 100, 43],  # 42.5
        [200, 100, 0],
    ]
    assert np.abs(canvas[0, :, :7].astype(int) - expected).max() <= 1  # ties of rounding
    assert_array_equal(canvas[0, :, :3], np.broadcast_to(expected[:3], (10, 3, 3)))
    assert gamma == pytest.approx((2 * (0.5 + 1.5 + 2.5) / 3 + 1) / 12, rel=1e-6)


def test_where_the_mask_leaves_the_frame_there_is_no_edge():
    mask = np.zeros((2, 8, 9), bool)
    mask[:, 4:, :6] = True
    weight = soft_weight(mask, 2)
    assert (weight[:, 6:, :4] == 1).all()
    assert_allclose(weight[0, 7], [1, 1, 1, 1, 0.75, 0.25, 0, 0, 0])
    assert_allclose(weight[1, :, 0], [0, 0, 0, 0, 0.25, 0.75, 1, 1])


def test_distance_is_as_the_crow_flies():
    """Around a corner that bends inwards: (3, 3) lies √2 from the nearest pixel outside."""
    mask = np.ones((1, 7, 7), bool)
    mask[0, :3, :3] = False
    weight = soft_weight(mask, 4)[0]
    assert weight[3, 2] == weight[2, 3] == 0.5 / 4
    assert weight[3, 3] == pytest.approx((np.sqrt(2) - 0.5) / 4, abs=0.01)
    assert weight[4, 3] == pytest.approx((np.sqrt(5) - 0.5) / 4, abs=0.02)


@given(clip_shapes, st.integers(0, 99), st.floats(0, 0.04))
def test_an_edge_of_no_width_is_paste_bit_for_bit(shape, seed, feather):
    clips = random_clips(shape, seed)
    soft, hard = (blended(*clips, blend=name, feather=feather) for name in ("feather", "paste"))
    assert_array_equal(soft[0], hard[0])
    assert soft[1] == hard[1]


@given(clip_shapes, st.integers(0, 99), st.floats(0.01, 0.5))
def test_feather_lies_between_both_pictures(shape, seed, feather):
    foreground, mask, background = random_clips(shape, seed)
    canvas, gamma = blended(foreground, mask, background, blend="feather", feather=feather)
    assert (canvas >= np.minimum(foreground, background)).all()
    assert (canvas <= np.maximum(foreground, background)).all()
    # γ is the mean weight, wherever in the frame the mask lies.
    assert gamma == pytest.approx(soft_weight(mask, feather * shape[1]).mean(), abs=1e-6)


@pytest.mark.parametrize("place", [(0, 0), (0, 9), (7, 4), (11, 13)])
def test_feather_is_the_weighted_sum_wherever_the_mask_lies(place):
    """The work is done in the mask's box alone; that must not show."""
    foreground, _, background = random_clips((2, 24, 27), 5)
    mask = np.zeros((2, 24, 27), bool)
    mask[0, place[0] : place[0] + 13, place[1] : place[1] + 14] = True
    mask[1, place[0] + 2 : place[0] + 9, place[1] : place[1] + 4] = True
    weight = soft_weight(mask, 0.2 * 24)[..., None].astype(float)
    expected = weight * foreground + (1 - weight) * background
    canvas, _ = blended(foreground, mask, background, blend="feather", feather=0.2)
    assert np.abs(canvas - expected).max() <= 1.5  # fixed point: a level, and the rounding
    assert np.abs(canvas - expected).mean() < 0.3


def test_a_wider_edge_shows_less_of_the_foreground():
    mask = disc(40, 40)
    clips = smooth_clip(40, 40, 1), mask, smooth_clip(40, 40, 2)
    gammas = [
        blended(*clips, blend="feather", feather=width)[1] for width in (0, 0.05, 0.1, 0.2, 0.4)
    ]
    assert gammas[0] == mask.mean()
    assert all(wide < narrow for narrow, wide in itertools.pairwise(gammas))


# poisson


@pytest.mark.parametrize("size", [(30, 40), (31, 40), (30, 41), (31, 41)])
@pytest.mark.parametrize("corner", [(0, 0), (9, 12), (17, 23)])
@pytest.mark.parametrize("box", [(7, 8), (8, 7), (13, 17), (1, 1)])
def test_a_clip_cloned_on_itself_stays_as_it_is(size, corner, box):
    """Boxes of odd and even sides, in the middle and at the frame's border: nothing is shifted."""
    clip = random_clips((2, *size), 4)[0]
    mask = np.zeros((2, *size), bool)
    mask[:, corner[0] : corner[0] + box[0], corner[1] : corner[1] + box[1]] = True
    canvas, gamma = blended(clip, mask, clip, blend="poisson")
    assert np.abs(canvas.astype(int) - clip).max() <= 1  # OpenCV rounds down
    assert gamma == mask.mean()


@pytest.mark.parametrize("size", [(32, 41), (33, 40)])
def test_a_detail_is_cloned_to_its_own_place(size):
    foreground = np.full((1, *size, 3), 60, np.uint8)
    foreground[:, 14:16, 20:23] = 200
    background = np.full((1, *size, 3), 100, np.uint8)
    canvas, _ = blended(foreground, disc(*size), background, blend="poisson")
    expected = background.copy()
    expected[:, 14:16, 20:23] = 240  # the same step of 140 above what is around it
    assert np.abs(canvas.astype(int) - expected).max() <= 8
    assert_array_equal(canvas.max(-1) > 170, expected.max(-1) > 170)


def test_a_limb_of_three_pixels_is_not_lost():
    """`cv2.seamlessClone` alone would pass over it."""
    background = np.full((1, 40, 40, 3), 90, np.uint8)
    foreground = np.full((1, 40, 40, 3), 90, np.uint8)
    foreground[:, 5:35, 19] = 180
    mask = np.zeros((1, 40, 40), bool)
    mask[:, 5:35, 18:21] = True
    canvas, _ = blended(foreground, mask, background, blend="poisson")
    assert (canvas[:, 8:32, 19] > 150).all()


def test_poisson_takes_on_the_light_of_the_place():
    """A dull actor in a bright scene: his own detail, on the scene's level."""
    foreground, background = smooth_clip(60, 50, 1) // 4, smooth_clip(60, 50, 2) // 8 + 180
    mask = disc(60, 50)
    pasted, cloned = (
        blended(foreground, mask, background, blend=b)[0] for b in ("paste", "poisson")
    )
    assert pasted[mask].mean() < 50
    assert cloned[mask].mean() > 120


def test_poisson_meets_no_edge_where_the_actor_leaves_the_frame():
    foreground, background = (np.full((1, 30, 40, 3), grey, np.uint8) for grey in (60, 180))
    mask = np.zeros((1, 30, 40), bool)
    mask[:, 12:, 10:20] = True
    canvas, _ = blended(foreground, mask, background, blend="poisson")
    assert np.abs(canvas.astype(int) - 180).max() <= 1


def test_a_frame_without_a_mask_is_left_alone_by_poisson():
    foreground, mask, background = random_clips((3, 12, 14), 2)
    mask[1] = False
    canvas, _ = blended(foreground, mask, background, blend="poisson")
    assert_array_equal(canvas[1], background[1])
    assert (canvas[[0, 2]] != background[[0, 2]]).any()


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 2, 3), (2, 9, 8), (1, 31, 30)])
def test_poisson_with_a_mask_that_covers_all(shape):
    background = random_clips(shape, 3)[2]
    full = np.ones(shape, bool)
    canvas, gamma = blended(background, full, background, blend="poisson")
    assert np.abs(canvas.astype(int) - background).max() <= 1
    assert gamma == 1


# colours


def test_colours_that_are_not_to_match_are_the_same_array():
    foreground, mask, background = random_clips((2, 9, 8), 1)
    assert match_colour(foreground, mask, background, 0.0) is foreground
    assert match_colour(foreground, np.zeros_like(mask), background, 1.0) is foreground


def lab(pixels):
    scaled = np.float32(pixels).reshape(-1, 1, 3) / 255
    return cv2.cvtColor(scaled, cv2.COLOR_RGB2Lab).reshape(-1, 3).astype(float)


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_mean_and_spread_go_towards_the_scenes_by_the_share(share):
    """Greys, so that only L moves; the spreads differ by less than the bound on the gain."""
    rng = np.random.default_rng(0)
    mask = disc(40, 30, num_frames=3)
    foreground, scene = (
        np.repeat(rng.normal(mean, spread, (3, 40, 30, 1)), 3, axis=-1).round().astype(np.uint8)
        for mean, spread in ((70, 10), (150, 16))
    )
    matched = match_colour(foreground, mask, scene, share)
    assert_array_equal(matched[~mask], foreground[~mask])
    got, was, there = (lab(pixels)[:, 0] for pixels in (matched[mask], foreground[mask], scene))
    assert got.mean() == pytest.approx(was.mean() + share * (there.mean() - was.mean()), abs=0.3)
    assert got.std() == pytest.approx(was.std() + share * (there.std() - was.std()), rel=0.05)
    # Grey stays grey.
    assert np.ptp(matched[mask].astype(int), axis=-1).max() <= 1


def test_chroma_goes_only_a_part_of_the_way():
    """A grey actor on a lawn does not turn into a green one."""
    mask = disc(20, 20)
    foreground = np.full((1, 20, 20, 3), 128, np.uint8)
    lawn = np.full((1, 20, 20, 3), [60, 140, 50], np.uint8)
    matched = lab(match_colour(foreground, mask, lawn, 1.0)[mask])[0]
    goal = lab([[60, 140, 50]])[0]
    assert_allclose(matched, [goal[0], CHROMA * goal[1], CHROMA * goal[2]], atol=1.0)


@pytest.mark.parametrize(("spread", "factor"), [(1, 0.5), (60, 2.0)])
def test_the_spread_is_at_most_halved_or_doubled(spread, factor):
    rng = np.random.default_rng(1)
    mask = np.ones((1, 50, 50), bool)
    foreground, scene = (
        np.repeat(rng.normal(128, s, (1, 50, 50, 1)).clip(0, 255), 3, -1).round().astype(np.uint8)
        for s in (12, spread)
    )
    was, got = (lab(f)[:, 0].std() for f in (foreground, match_colour(foreground, mask, scene, 1)))
    assert got / was == pytest.approx(factor, rel=0.05)


def test_one_change_for_the_whole_clip():
    """A scene that brightens from frame to frame moves an even actor by the same in all frames."""
    mask = disc(16, 16, num_frames=4)
    foreground = np.full((4, 16, 16, 3), 90, np.uint8)
    scene = np.stack([np.full((16, 16, 3), grey, np.uint8) for grey in (40, 90, 140, 200)])
    matched = match_colour(foreground, mask, scene, 1.0)
    assert len(np.unique(matched[mask], axis=0)) == 1
    assert matched[mask][0, 0] != 90


@pytest.mark.parametrize("size", [(20, 30), (112, 112), (150, 201)])
def test_an_actor_in_his_own_scene_keeps_his_colours(size):
    clip = smooth_clip(*size, 3, num_frames=2)
    matched = match_colour(clip, np.ones((2, *size), bool), clip, 1.0)
    assert np.abs(matched.astype(int) - clip).max() <= 1
    assert np.abs(matched.astype(int) - clip).mean() < 0.01


def test_colours_are_matched_before_any_blend():
    foreground, scene = smooth_clip(40, 40, 1) // 3, smooth_clip(40, 40, 2) // 3 + 150
    mask = disc(40, 40)
    matched = match_colour(foreground, mask, scene, 0.8)
    for name in ("paste", "feather"):
        canvas, _ = blended(foreground, mask, scene, blend=name, feather=0.1, match_colour=0.8)
        expected, _ = blended(matched, mask, scene, blend=name, feather=0.1)
        assert_array_equal(canvas, expected)


def test_poisson_sees_no_step_where_matched_colours_end():
    """It looks at pixels around the mask too: there, colours are matched along."""
    foreground = np.full((1, 40, 40, 3), 60, np.uint8)
    scene = np.full((1, 40, 40, 3), 180, np.uint8)
    canvas, _ = blended(foreground, disc(40, 40), scene, blend="poisson", match_colour=1)
    assert np.abs(canvas.astype(int) - 180).max() <= 1
