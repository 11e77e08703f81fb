"""Whole composites: sizes, times, labels, provenance; and how they look on real video."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from PIL import Image

from compositing.blend import composite_clip
from compositing.composite import make_composite, ping_pong, steady
from compositing.fitting import Fitted, fit_foreground
from compositing.layers import Layers
from compositing.masks import from_json
from compositing.placement import IDENTITY, Placement, place_foreground, placement_of_pair
from compositing.settings import CompositeSettings, PrepareSettings
from compositing.strips import Composited, draw_strip, side_by_side
from l2a.files import fingerprint
from l2a.media import read_frames, resize_frames, resize_masks, sample_indices
from l2a.videos import Video

REAL = (
    "catch/Faith_Rewarded_catch_f_cm_np1_fr_med_10.avi",
    "golf/Cobra_Golf_-_Camilo_Villegas_golf_f_cm_np1_ri_goo_1.avi",
)
MIXED = CompositeSettings()


def make_layers(name, frames, mask, background=None, fps=30.0):
    label = name.split("/")[0]
    video = Video(name, f"/nowhere/{name}", label, "g", "train")
    times = np.arange(len(frames)) / fps
    return Layers(video, frames, mask, frames if background is None else background, times, fps)


def flat_layers(name, value, size, *, num_frames=4, share=0.5, fps=30.0):
    """Frames of one grey, the left `share` of them masked, a background `value` + 100."""
    frames = np.full((num_frames, *size, 3), value, np.uint8)
    mask = np.zeros((num_frames, *size), bool)
    mask[:, :, : round(share * size[1])] = True
    return make_layers(name, frames, mask, frames + np.uint8(100), fps)


def numbered_layers(name, num_frames, fps, size=(4, 6)):
    """Frame t's clean background is grey t; nothing is masked."""
    frames = np.zeros((num_frames, *size, 3), np.uint8)
    background = frames + np.arange(num_frames, dtype=np.uint8)[:, None, None, None]
    return make_layers(name, frames, frames[..., 0] > 0, background, fps)


def test_left_half_from_the_foreground_the_rest_from_the_clean_background():
    composite = make_composite(
        flat_layers("run/a", 20, (6, 8)), flat_layers("walk/b", 50, (6, 8)), MIXED
    )
    assert (composite.frames[:, :, :4] == 20).all()
    assert (composite.frames[:, :, 4:] == 150).all()
    assert composite.gamma == 0.5
    assert composite.lam == 0.9375
    assert composite.fps == 30


@pytest.mark.parametrize("size_f", [(12, 16), (3, 5), (31, 17)])
@pytest.mark.parametrize("size_b", [(12, 16), (7, 9), (1, 1)])
def test_the_backgrounds_size_and_the_foregrounds_length_and_rate(size_f, size_b):
    foreground = flat_layers("run/a", 20, size_f, num_frames=5, fps=25.0)
    background = flat_layers("walk/b", 50, size_b, num_frames=3)
    composite = make_composite(foreground, background, MIXED)
    assert composite.frames.shape == (5, *size_b, 3)
    assert composite.fps == 25
    ratio = size_f[1] / size_f[0] / (size_b[1] / size_b[0])
    _, mask = place_foreground(
        fit_foreground(foreground.frames, foreground.mask, size_b, ratio), IDENTITY
    )
    assert composite.gamma == mask.mean()
    assert (composite.frames[mask] == 20).all()
    assert (composite.frames[~mask] == 150).all()


def test_resizing_keeps_mask_and_frame_on_each_other():
    """A bright square whose mask is exact stays bright inside the mask, and a square."""
    frames = np.zeros((1, 40, 40, 3), np.uint8)
    frames[:, 12:28, 12:28] = 240
    foreground = make_layers("run/a", frames, frames[..., 0] > 0)
    for size in ((20, 20), (80, 120), (50, 30)):
        composite = make_composite(foreground, flat_layers("walk/b", 0, size, num_frames=1), MIXED)
        rows, columns = np.nonzero((composite.frames[0] != 100).any(axis=-1))
        middle = [(rows.min() + rows.max() + 1) / 2, (columns.min() + columns.max() + 1) / 2]
        assert np.abs(np.array(middle) - np.array(size) / 2).max() <= 0.5
        assert np.ptp(rows) == np.ptp(columns) == size[0] * 16 / 40 - 1
        pasted = composite.frames[0][(composite.frames[0] != 100).any(axis=-1)]
        assert pasted.mean() > 220


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_gamma_0_and_1(share):
    foreground = flat_layers("run/a", 20, (6, 8), share=share)
    composite = make_composite(foreground, flat_layers("walk/b", 50, (6, 8)), MIXED)
    assert composite.gamma == composite.lam == share
    assert (composite.frames == (20 if share else 150)).all()


def test_one_frame_each():
    composite = make_composite(
        flat_layers("run/a", 20, (5, 7), num_frames=1),
        flat_layers("walk/b", 50, (5, 7), num_frames=1),
        MIXED,
    )
    assert composite.frames.shape == (1, 5, 7, 3)


def test_inputs_are_not_mutated():
    foreground, background = flat_layers("run/a", 20, (9, 5)), flat_layers("walk/b", 50, (6, 8))
    arrays = [
        a
        for layers in (foreground, background)
        for a in (layers.frames, layers.mask, layers.background)
    ]
    before = [array.copy() for array in arrays]
    make_composite(foreground, background, MIXED).frames[:] = 7
    for now, then in zip(arrays, before, strict=True):
        assert_array_equal(now, then)


def test_label_rules_see_what_is_visible_and_what_was_removed():
    foreground = flat_layers("run/a", 20, (6, 8), share=0.25)
    background = flat_layers("walk/b", 50, (6, 8), share=0.75)
    lam = {
        rule: make_composite(foreground, background, CompositeSettings(rule, alpha=2)).lam
        for rule in ("mixed", "foreground", "actor")
    }
    assert lam == {"mixed": 1 - 0.75**2, "foreground": 1, "actor": 1 - 0.75**2}
    nobody = flat_layers("walk/b", 50, (6, 8), share=0)
    assert make_composite(foreground, nobody, CompositeSettings("actor", alpha=2)).lam == 1


def test_provenance_says_what_made_it():
    foreground, background = flat_layers("run/a", 20, (6, 8)), flat_layers("walk/b", 50, (6, 8))
    settings = CompositeSettings("actor", alpha=3)
    made = make_composite(foreground, background, settings, omega=0.7, seed=5)
    assert made.provenance == {
        "foreground": "run/a",
        "background": "walk/b",
        "foreground_class": "run",
        "background_class": "walk",
        "omega": 0.7,
        "lam": made.lam,
        "gamma": 0.5,
        "seed": 5,
        "placement": None,
        "ratio": 1.0,
        **asdict(settings),
        "settings": fingerprint(settings),
        "versions": made.provenance["versions"],
    }
    assert "opencv-python-headless" in made.provenance["versions"]
    assert json.loads(json.dumps(made.provenance)) == made.provenance


MOVED = CompositeSettings(shift=0.3, scale=1.5, flip_foreground=0.5)


def spot_layers(name, value, size):
    """A grey block near the middle of every frame, on a background of `value` + 100."""
    layers = flat_layers(name, value, size)
    mask = np.zeros_like(layers.mask)
    height, width = size
    mask[:, height // 3 : height * 2 // 3, width // 3 : width // 2] = True
    return make_layers(name, layers.frames, mask, layers.background)


def test_placement_gamma_and_lambda_are_of_what_is_really_seen():
    foreground, background = spot_layers("run/a", 20, (30, 40)), spot_layers("walk/b", 50, (30, 40))
    made = make_composite(foreground, background, MOVED, seed=1)
    placement = Placement(**made.provenance["placement"])
    assert placement == placement_of_pair(MOVED, 1, "run/a", "walk/b") != IDENTITY
    frames, mask = place_foreground(Fitted(foreground.frames, foreground.mask, 0, 40), placement)
    assert_array_equal(made.frames, composite_clip(frames, mask, background.background))
    assert made.gamma == mask.mean() != foreground.mask.mean()
    assert made.lam == pytest.approx(1 - (1 - mask.mean()) ** 4)


def test_what_left_the_frame_has_no_part_in_the_label():
    foreground = flat_layers("run/a", 20, (6, 8), share=0.5)
    made = [
        make_composite(foreground, flat_layers("walk/b", 50, (6, 8)), MOVED, seed=seed)
        for seed in range(12)
    ]
    for composite in made:
        assert composite.gamma == (composite.frames == 20).all(-1).mean()
    assert min(composite.gamma for composite in made) < 0.4


def test_the_actor_rule_weighs_what_is_seen_against_what_was_removed():
    foreground, background = spot_layers("run/a", 20, (30, 40)), flat_layers("walk/b", 50, (30, 40))
    settings = replace(MOVED, label_rule="actor", alpha=2.0)
    made = make_composite(foreground, background, settings, seed=1)
    assert made.lam == pytest.approx(1 - (0.5 / (0.5 + made.gamma)) ** 2)


def test_soft_edges_count_by_their_weight():
    foreground, background = flat_layers("run/a", 20, (10, 20)), flat_layers("walk/b", 50, (10, 20))
    made = make_composite(foreground, background, CompositeSettings(blend="feather", feather=0.4))
    weights = (150 - made.frames[..., 0].astype(float)) / 130
    # The edge is 4 pixels wide: 0.5/4, 1.5/4, 2.5/4 and 3.5/4 in place of 1.
    assert made.gamma == pytest.approx((6 + 8 / 4) / 20)
    assert made.gamma == pytest.approx(weights.mean(), abs=0.002)
    assert made.lam == pytest.approx(1 - 0.6**4)


@pytest.mark.parametrize("name", ["paste", "feather", "poisson"])
def test_composites_do_not_depend_on_those_made_before(name):
    """In any order, on any worker: the same bytes."""
    settings = replace(MOVED, blend=name, match_colour=0.5)
    clips = [spot_layers(f"run/{i}", 20 + 9 * i, (24, 30 + i)) for i in range(3)]
    pairs = [(f, b) for f in clips for b in clips if f is not b]
    forwards = [make_composite(f, b, settings, seed=4) for f, b in pairs]
    backwards = [make_composite(f, b, settings, seed=4) for f, b in reversed(pairs)][::-1]
    for one, two in zip(forwards, backwards, strict=True):
        assert one.frames.tobytes() == two.frames.tobytes()
        assert one.provenance == two.provenance
    assert len({json.dumps(one.provenance["placement"]) for one in forwards}) == len(pairs)


def test_another_seed_is_another_placement():
    foreground, background = spot_layers("run/a", 20, (30, 40)), spot_layers("walk/b", 50, (30, 40))
    made = {
        seed: make_composite(foreground, background, MOVED, seed=seed).provenance["placement"]
        for seed in (None, 0, 1)
    }
    assert made[None] == made[0] != made[1]


def times(count, fps):
    return np.arange(count) / fps


@pytest.mark.parametrize(
    ("foreground", "background", "expected"),
    [
        ((10, 30), (4, 30), [0, 1, 2, 3, 2, 1, 0, 1, 2, 3]),
        ((3, 30), (40, 30), [0, 1, 2]),
        ((5, 30), (2, 30), [0, 1, 0, 1, 0]),
        ((3, 30), (1, 30), [0, 0, 0]),
        ((1, 30), (9, 30), [0]),
        ((5, 15), (9, 30), [0, 2, 4, 6, 8]),
        ((7, 15), (5, 30), [0, 2, 4, 2, 0, 2, 4]),
        ((7, 30), (4, 10), [0, 0, 1, 1, 1, 2, 2]),
    ],
)
def test_ping_pong_by_hand(foreground, background, expected):
    assert ping_pong(times(*foreground), times(*background)).tolist() == expected


@given(
    st.integers(1, 400),
    st.integers(2, 60),
    st.sampled_from([10.0, 23.976, 24.0, 25.0, 29.97, 30.0, 59.94]),
)
def test_ping_pong_at_one_rate_turns_round_at_both_ends(foreground, background, fps):
    steps = np.arange(foreground) % (2 * (background - 1))
    expected = np.where(steps < background, steps, 2 * (background - 1) - steps)
    assert_array_equal(ping_pong(times(foreground, fps), times(background, fps)), expected)


@given(
    st.integers(1, 300),
    st.lists(st.floats(0.01, 0.2), min_size=1, max_size=40),
    st.sampled_from([8.0, 25.0, 30.0]),
)
def test_ping_pong_takes_the_nearest_frame_whatever_the_rates(foreground, gaps, fps):
    stamps = np.concatenate([[0.0], np.cumsum(gaps)])
    moments = times(foreground, fps)
    chosen = ping_pong(moments, stamps)
    period = 2 * stamps[-1]
    position = stamps[-1] - np.abs(moments % period - stamps[-1])
    nearest = np.abs(stamps[None] - position[:, None]).min(axis=1)
    assert (np.abs(stamps[chosen] - position) <= nearest + 1e-5).all()


def test_a_shorter_background_goes_ping_pong():
    foreground = flat_layers("run/a", 200, (4, 6), num_frames=8, share=0)
    composite = make_composite(foreground, numbered_layers("walk/b", 3, 30.0), MIXED)
    assert composite.frames[:, 0, 0, 0].tolist() == [0, 1, 2, 1, 0, 1, 2, 1]


def test_a_background_of_another_rate_keeps_its_speed():
    foreground = flat_layers("run/a", 200, (4, 6), num_frames=5, share=0, fps=25.0)
    composite = make_composite(foreground, numbered_layers("walk/b", 30, 50.0), MIXED)
    assert composite.frames[:, 0, 0, 0].tolist() == [0, 2, 4, 6, 8]


def uneven_layers(name, at):
    """Frame t, shown at `at[t]` seconds, is grey t; its upper half is masked."""
    count = len(at)
    frames = np.zeros((count, 8, 12, 3), np.uint8)
    frames += np.arange(count, dtype=np.uint8)[:, None, None, None]
    mask = np.zeros(frames.shape[:3], bool)
    mask[:, :4] = True
    layers = make_layers(name, frames, mask, frames)
    return replace(layers, times=np.array(at), fps=(count - 1) / at[-1])


def test_frames_at_a_changing_rate_are_taken_at_a_constant_one():
    # 3 seconds at 5 frames a second, then 45 frames at 30: 60 frames over 4.4667 seconds.
    at = [n / 5 for n in range(15)] + [3 + n / 30 for n in range(45)]
    foreground = uneven_layers("run/a", at)
    background = numbered_layers("walk/b", 120, 25.0, (8, 12))
    made = make_composite(foreground, background, MIXED)
    assert made.fps == pytest.approx(59 / (3 + 44 / 30))
    shown = made.frames[:, 0, 0, 0].tolist()
    for n, moment in enumerate(np.arange(60) / made.fps):
        nearest = np.abs(np.array(at) - moment).min()
        assert abs(at[shown[n]] - moment) == pytest.approx(nearest)
        assert abs(made.frames[n, 7, 0, 0] / 25 - moment) <= 0.5 / 25 + 1e-9  # the scene's clock
    # Who counts frames sees what training sees (`sample_indices`), or the frame beside it.
    eight = [shown[n] for n in sample_indices(np.arange(60) / made.fps, 8)]
    np.testing.assert_allclose(
        np.array(at)[eight], np.array(at)[sample_indices(np.array(at), 8)], atol=0.21
    )
    film = side_by_side(Composited(foreground, background, made), height=8)
    assert film[:, 0, 0, 0].tolist() == film[:, 0, 24, 0].tolist() == shown


@given(st.integers(2, 40), st.integers(0, 60), st.sampled_from([15.0, 29.97, 60.0]))
def test_a_constant_rate_stays_as_it_is(kept, more, fps):
    at = np.round(np.arange(kept + more) / fps, 3)  # as Matroska has times
    at = at[np.unique(sample_indices(at, kept))]
    layers = uneven_layers("run/a", (at - at[0]).tolist())
    assert steady(layers) is layers
    once = numbered_layers("run/a", 1, fps)
    assert steady(once) is once


def test_strip_shows_each_stage_where_it_belongs(tmp_path):
    foreground = flat_layers("run/a", 20, (40, 60), share=0.5)
    background = flat_layers("walk/b", 50, (40, 60))
    items = [
        Composited(foreground, background, make_composite(foreground, background, MIXED, omega=0.5))
    ] * 2
    draw_strip(tmp_path / "strip.png", items, times=3, height=40)
    sheet = np.asarray(Image.open(tmp_path / "strip.png"))
    assert sheet.shape == (24 + 2 * (24 + 3 * 46), 6 + 5 * 66, 3)
    for top in (48, 48 + 46, 48 + 162, 48 + 162 + 92):
        cells = [sheet[top : top + 40, 6 + 66 * i : 66 + 66 * i] for i in range(5)]
        left, right = ([int(c[20, x].max()) for c in cells] for x in (10, 50))
        assert left == [20, 255, 50, 150, 20]
        assert right == [20, 0, 50, 150, 150]


def test_strip_shows_the_background_of_the_same_moment(tmp_path):
    foreground = flat_layers("run/a", 20, (40, 60), num_frames=9, share=0)
    background = numbered_layers("walk/b", 4, 30.0, (40, 60))
    item = Composited(foreground, background, make_composite(foreground, background, MIXED))
    draw_strip(tmp_path / "strip.png", [item], times=9, height=40)
    sheet = np.asarray(Image.open(tmp_path / "strip.png"))
    column = [int(sheet[68 + 46 * row, 6 + 66 * 3 + 30, 0]) for row in range(9)]
    assert column == [0, 1, 2, 3, 2, 1, 0, 1, 2]
    assert column == item.composite.frames[:, 0, 0, 0].tolist()


def test_strip_is_repeatable_and_takes_mixed_sizes(tmp_path):
    sizes = ((40, 60), (31, 17), (9, 90))
    items = [
        Composited(foreground, background, make_composite(foreground, background, MIXED))
        for foreground in (flat_layers("run/a", 20, size) for size in sizes)
        for background in (flat_layers("walk/b", 50, size[::-1], num_frames=2) for size in sizes)
    ]
    draw_strip(tmp_path / "a.png", items)
    draw_strip(tmp_path / "b.png", items)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_side_by_side_shows_all_frames():
    foreground = flat_layers("run/a", 20, (40, 60), num_frames=7)
    background = flat_layers("walk/b", 50, (40, 60), num_frames=3)
    film = side_by_side(
        Composited(foreground, background, make_composite(foreground, background, MIXED)), height=40
    )
    assert film.shape == (7, 40, 180, 3)
    assert film[6, 20, [10, 70, 130, 170], 0].tolist() == [20, 50, 20, 150]


@pytest.mark.clips
def test_on_real_video_colours_stay_and_the_mask_fits_the_actor(clips_root):
    """A baseball player on a golf course: he is pasted exactly, and all around him is golf."""
    root = clips_root / "jhmdb12"
    foreground, background = (real_layers(root, name) for name in REAL)
    composite = make_composite(foreground, background, MIXED)
    size = composite.frames.shape[1:3]
    mask, shown = resize_masks(foreground.mask, size), ping_pong(foreground.times, background.times)
    assert 0.02 < composite.gamma < 0.4
    assert_array_equal(composite.frames[mask], resize_frames(foreground.frames, size)[mask])
    assert_array_equal(composite.frames[~mask], background.background[shown][~mask])
    # The golf course is green, and it stays green: no swap of red and blue, no grey.
    red, green, blue = composite.frames[:, 150:][~mask[:, 150:]].mean(axis=0)
    assert green > red + 20 > blue + 40


@pytest.mark.clips
@pytest.mark.parametrize("name", ["feather", "poisson"])
def test_on_real_video_a_softer_blend_stays_within_the_mask(clips_root, name):
    root = clips_root / "jhmdb12"
    foreground, background = (real_layers(root, file) for file in REAL)
    hard = make_composite(foreground, background, MIXED)
    soft = make_composite(foreground, background, CompositeSettings(blend=name, match_colour=0.5))
    size, shown = soft.frames.shape[1:3], ping_pong(foreground.times, background.times)
    mask = resize_masks(foreground.mask, size)
    assert_array_equal(soft.frames[~mask], background.background[shown][~mask])
    assert (soft.gamma < hard.gamma) if name == "feather" else (soft.gamma == hard.gamma)
    # Along the edge of the mask the step to the scene is smaller.
    edge = mask[:, :, 1:] != mask[:, :, :-1]
    steps = [np.abs(np.diff(made.frames.astype(int), axis=2))[edge].mean() for made in (soft, hard)]
    assert steps[0] < 0.8 * steps[1]


def real_layers(root, file):
    masks = from_json(json.loads((root / "masks" / f"{file.split('/')[0]}.json").read_text()))
    clip = read_frames(root / "videos" / file)
    return make_layers(
        file, clip.frames, masks[file].union(PrepareSettings()), np.flip(clip.frames, 2), clip.fps
    )
