"""Camera motion and inpainters."""

from __future__ import annotations

import pickle
from dataclasses import dataclass, field

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from compositing import networks
from compositing.alignment import (
    GRID,
    PER_CELL,
    _explains,
    _view,
    find_shots,
    masked_median,
)
from compositing.inpainters import INPAINTERS, make_inpainter, temporal
from compositing.inpainters.base import Inpainted
from compositing.inpainters.spatial import fill_smoothly
from compositing.inpainters.temporal import MAX_TINT, TemporalInpainter
from compositing.networks import is_network
from l2a.errors import InputError

UInt8 = NDArray[np.uint8]
Bool = NDArray[np.bool_]


def textured(seed: int, height: int, width: int) -> UInt8:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(40, 216, (height // 8 + 2, width // 8 + 2, 3), np.uint8)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def panned(scene: UInt8, shifts: NDArray[np.float64], size: tuple[int, int]) -> UInt8:
    """What a camera shows whose upper left corner is at `shifts` (x, y) of the scene."""
    return np.stack(
        [cv2.warpAffine(scene, np.array([[1, 0, -x], [0, 1, -y]]), size[::-1]) for x, y in shifts]
    )


def walker(count: int, height: int, width: int) -> Bool:
    """A rectangle that walks from the left to the right."""
    masks = np.zeros((count, height, width), np.bool_)
    for t in range(count):
        left = round((width - 24) * t / (count - 1))
        masks[t, height // 4 : height - 8, left : left + 24] = True
    return masks


# Camera motion


@given(
    arrays(np.uint8, st.tuples(st.integers(1, 9), st.just(3), st.just(5))),
    st.integers(0, 2**32 - 1),
)
def test_masked_median_is_the_lower_median_of_what_counts(samples: UInt8, seed: int) -> None:
    valid = np.random.default_rng(seed).random((len(samples), 5)) < 0.6
    median, counts = masked_median(samples, valid)
    for place in range(5):
        values = np.sort(samples[valid[:, place], :, place], axis=0)
        expected = values[(len(values) - 1) // 2] if len(values) else [255] * 3
        assert counts[place] == len(values)
        np.testing.assert_array_equal(median[:, place], expected)


def test_a_still_camera_is_exactly_still() -> None:
    scene = textured(0, 120, 160)
    noise = np.random.default_rng(1).integers(-6, 7, (6, 120, 160, 3))
    (shot,) = find_shots(np.clip(scene + noise, 0, 255).astype(np.uint8))
    assert shot.still
    assert (shot.start, shot.stop, shot.size) == (0, 6, (120, 160))
    assert shot.into_reference(3, scene) is scene


def test_a_pan_is_found_to_a_fraction_of_a_pixel_though_somebody_walks() -> None:
    shifts = np.stack([20 + 2.3 * np.arange(20), 10 + 0.7 * np.arange(20)], axis=1)
    pixels = panned(textured(2, 180, 300), shifts, (120, 160))
    pixels[walker(20, 120, 160)] = (250, 20, 20)
    (shot,) = find_shots(pixels)
    moved = shot.to_reference[:, :, 2] - shot.to_reference[0, :, 2]
    middle = shot.to_reference @ np.array([80, 60, 1.0])
    assert np.abs(middle - middle[0] - (shifts - shifts[0])).max() < 0.4
    assert np.abs(moved - (shifts - shifts[0])).max() < 1.0
    # Back and forth is the identity, but for resampling.
    frame = pixels[10]
    back = shot.from_reference(10, shot.into_reference(10, frame), (120, 160))
    assert np.abs(back[4:-4, 4:-4].astype(int) - frame[4:-4, 4:-4]).mean() < 3


def test_an_actor_on_a_plain_background_is_not_taken_for_the_camera() -> None:
    pixels = np.full((10, 120, 160, 3), 120, np.uint8)
    pixels += np.random.default_rng(3).integers(0, 3, pixels.shape, np.uint8)
    patch = textured(4, 50, 40)
    for t in range(10):
        pixels[t, 40:90, 30 + 5 * t : 70 + 5 * t] = patch
    (shot,) = find_shots(pixels)
    assert shot.still


def lit(pixels: UInt8, how: str) -> UInt8:
    """The same clip under changing light."""
    count, width = len(pixels), pixels.shape[2]
    time = np.linspace(-1, 1, count)[:, None, None, None]
    changes = {
        "brighter": 12 * time,
        "stronger": 0.12 * time * pixels,
        "flickering": 4 * np.sin(2.1 * np.arange(count))[:, None, None, None],
        "from one side": 12 * time * np.linspace(0, 1, width)[:, None],
    }
    return np.clip(np.rint(pixels + changes[how]), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("how", ["brighter", "stronger", "flickering", "from one side"])
@pytest.mark.parametrize("seed", range(5))
def test_light_does_not_move_a_still_camera(how: str, seed: int) -> None:
    pixels = lit(np.stack([textured(seed, 90, 120)] * 20), how)
    holes = walker(20, 90, 120)
    pixels[holes] = (250, 20, 20)
    for ignore in (None, holes):
        (shot,) = find_shots(pixels, ignore)
        assert shot.still


@pytest.mark.parametrize("how", ["brighter", "stronger", "flickering", "from one side"])
def test_light_does_not_hide_a_pan(how: str) -> None:
    shifts = np.stack([20 + 2.3 * np.arange(20), 10 + 0.7 * np.arange(20)], axis=1)
    pixels = lit(panned(textured(2, 180, 300), shifts, (120, 160)), how)
    assert pan_error(pixels, shifts) < 1


def pan_error(pixels: UInt8, shifts: NDArray[np.float64]) -> float:
    """How far a found pan leaves the true one, at the frame's middle and corners, in pixels."""
    (shot,) = find_shots(pixels)
    height, width = pixels.shape[1:3]
    places = np.array(
        [[width / 2, 0, width, 0, width], [height / 2, 0, 0, height, height], [1] * 5]
    )
    found = shot.to_reference @ places - shot.to_reference[0] @ places
    return float(np.abs(found - (shifts - shifts[0])[:, :, None]).max())


def test_a_patterned_shirt_does_not_outvote_the_scene() -> None:
    """The actor has nearly all of the strongest corners, on less than a fifth of the picture."""
    shifts = np.stack([20 + 2.3 * np.arange(20), np.full(20, 10)], axis=1)
    pixels = panned(textured(2, 180, 300) // 2 + 90, shifts, (120, 160))
    shirt = np.random.default_rng(3).integers(0, 2, (18, 12, 3), np.uint8) * 255
    pixels[:, 15:87, 50:98] = shirt.repeat(4, axis=0).repeat(4, axis=1)
    assert pan_error(pixels, shifts) < 2  # 44 if the actor is taken for the camera's scene


def test_a_pan_over_a_dim_and_soft_scene_is_found() -> None:
    shifts = np.stack([20 + 2.3 * np.arange(12), 10 + 0.7 * np.arange(12)], axis=1)
    pixels = panned((textured(2, 180, 300) // 24 + 40).astype(np.uint8), shifts, (120, 160))
    assert pan_error(pixels, shifts) < 2


def shift(x: float) -> NDArray[np.float64]:
    return np.array([[1, 0, x], [0, 1, 0], [0, 0, 1.0]])


def test_a_pan_by_half_a_frame_is_judged_by_the_half_that_both_show() -> None:
    scene = textured(15, 120, 300)
    before, after = (_view(scene[:, x : x + 160], None, 1.0) for x in (10, 90))
    assert _explains(shift(-80), before, after)
    assert not _explains(shift(80), before, after)


def test_where_areas_are_of_two_minds_the_camera_stands() -> None:
    scene = textured(16, 120, 160)
    after = scene.copy()
    for share, explained in ((0.57, False), (0.8, True)):
        after[:, : round(160 * share)] = np.roll(scene, 3, axis=1)[:, : round(160 * share)]
        found = _explains(shift(3), _view(scene, None, 1.0), _view(after, None, 1.0))
        assert found is explained


def test_a_shift_that_only_makes_up_for_the_light_explains_nothing() -> None:
    """On slopes of brightness, all rising to the right, a shift to the left looks like light."""
    slope = (np.arange(160) % 40 * 5).astype(np.uint8)
    scene = np.broadcast_to(slope[:, None], (120, 160, 3)).copy()
    before, after = _view(scene, None, 1.0), _view(scene + np.uint8(10), None, 1.0)
    assert not _explains(shift(-2), before, after)


def test_corners_are_the_strongest_of_each_part_and_lie_where_they_may() -> None:
    rng = np.random.default_rng(17)
    grey = np.full((90, 120), 100, np.uint8)
    grey[:, :60] += rng.integers(0, 3, (90, 60), np.uint8)  # noise, no structure
    for top, left, level in ((40, 72, 160), (43, 75, 255), (12, 92, 130), (66, 92, 130)):
        grey[top : top + 2, left : left + 2] = level
    grey[30:60, 90:110] = rng.integers(0, 255, (30, 20), np.uint8)
    ignore = np.zeros(grey.shape, np.bool_)
    ignore[25:65, 85:115] = True
    corners = _view(np.dstack([grey] * 3), ignore, 1.0).corners[:, 0].astype(int)
    assert (corners[:, 0] >= 60).all()
    assert not ignore[corners[:, 1], corners[:, 0]].any()
    cells = corners // (120 // GRID[0], 90 // GRID[1])
    assert np.unique(cells, axis=0, return_counts=True)[1].max() <= PER_CELL
    busy = _view(rng.integers(0, 255, (90, 120, 3), np.uint8), None, 1.0)
    strength = cv2.cornerMinEigenVal(busy.grey, 3)[10:80, 10:110]
    row, column = np.unravel_index(strength.argmax(), strength.shape)
    assert [column + 10, row + 10] in busy.corners[:, 0].astype(int).tolist()
    assert len(busy.corners) <= PER_CELL * GRID[0] * GRID[1]


def test_a_cut_ends_a_shot_and_every_frame_is_in_one() -> None:
    scenes = textured(5, 90, 120) // 2, 120 + textured(6, 90, 120) // 2
    shots = find_shots(np.stack([scenes[0]] * 4 + [scenes[1]] * 3))
    assert [(shot.start, shot.stop) for shot in shots] == [(0, 4), (4, 7)]


# All inpainters


ALL = (
    "temporal",
    "temporal:smooth",
    "temporal:opencv",
    "temporal:opencv:ns",
    "opencv",
    "opencv:telea",
    "opencv:ns",
    "none",
)
"""All that need no weights; `lama` has its own tests."""


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=25)
@given(data=st.data())
def test_outside_the_hole_every_pixel_is_the_inputs(name: str, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 4))
    height, width = data.draw(st.integers(1, 33)), data.draw(st.integers(1, 35))
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    pixels = rng.integers(0, 256, (count, height, width, 3), np.uint8)
    holes = rng.random((count, height, width)) < data.draw(st.sampled_from([0.0, 0.1, 0.6, 1.0]))
    before = pixels.copy(), holes.copy()
    result = make_inpainter(name)(pixels, holes)
    assert result.frames.dtype == np.uint8
    assert result.frames.shape == pixels.shape
    np.testing.assert_array_equal(result.frames[~holes], pixels[~holes])
    assert not (result.unseen & ~holes).any()
    np.testing.assert_array_equal(pixels, before[0])
    np.testing.assert_array_equal(holes, before[1])
    again = make_inpainter(name)(pixels, holes)
    np.testing.assert_array_equal(result.frames, again.frames)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("none:x", "'none' takes no argument, but was given 'x'"),
        ("opencv:shift", r"no inpainting 'shift'; choose one of: telea, ns\."),
        ("temporal:smooth:x", "'smooth' takes no argument, but was given 'x'"),
        ("temporal:opencv:shift", r"no inpainting 'shift'; choose one of: telea, ns\."),
        ("temporal:temporal", r"no spatial inpainter 'temporal'.* lama, opencv, smooth\."),
        ("temporal:none", r"no spatial inpainter 'none'; .* lama, opencv, smooth\."),
        ("telea", r"no inpainter 'telea'.*lama, none, opencv, temporal\."),
    ],
)
def test_a_wrong_name_or_argument_is_answered_with_the_right_ones(spec: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_inpainter(spec)


def test_the_table_holds_them_all() -> None:
    assert {name.partition(":")[0] for name in ALL} | {"lama"} == set(INPAINTERS)


def test_identities_tell_them_apart_and_old_layers_stay_valid() -> None:
    assert len({make_inpainter(name).identity for name in ALL}) == len(ALL) - 2
    assert make_inpainter("opencv").identity == "opencv telea 3"
    assert make_inpainter("opencv:telea").identity == "opencv telea 3"
    plain = "temporal 2 samples 48 near 8 sightings 3 guard 0.02 tint 24.0"
    assert make_inpainter("temporal").identity == plain
    assert make_inpainter("temporal:smooth").identity == plain
    assert make_inpainter("temporal:opencv:ns").identity == f"{plain}, opencv ns 3"


@pytest.mark.parametrize("name", ALL)
def test_those_without_weights_are_no_networks_and_travel(name: str) -> None:
    inpainter = make_inpainter(name)
    assert not is_network(inpainter)
    assert inpainter.uses_other_frames == name.startswith("temporal")
    pixels, holes = np.stack([textured(1, 20, 30)] * 3), walker(3, 20, 30)
    copy = pickle.loads(pickle.dumps(inpainter))  # noqa: S301
    assert copy.identity == inpainter.identity
    np.testing.assert_array_equal(copy(pixels, holes).frames, inpainter(pixels, holes).frames)


# Each one


def test_none_leaves_the_actor_and_opencv_takes_him_out() -> None:
    pixels = np.full((2, 40, 50, 3), 90, np.uint8)
    holes = np.zeros((2, 40, 50), np.bool_)
    holes[:, 15:25, 20:30] = True
    pixels[holes] = 255
    for name, value in (("none", 255), ("opencv", 90)):
        result = make_inpainter(name)(pixels, holes)
        assert (
            np.abs(result.frames[holes].astype(int) - value).max() <= 4
        )  # Telea rounds on the way
        np.testing.assert_array_equal(result.unseen, holes)
        assert not make_inpainter(name).uses_other_frames


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("opencv", cv2.INPAINT_TELEA),
        ("opencv:telea", cv2.INPAINT_TELEA),
        ("opencv:ns", cv2.INPAINT_NS),
    ],
)
@given(st.integers(3, 60), st.integers(3, 60), st.integers(0, 10**6), st.booleans())
def test_opencv_is_opencv_on_the_whole_frame(
    name: str, method: int, height: int, width: int, seed: int, noise: bool
) -> None:
    rng = np.random.default_rng(seed)
    pixels = textured(seed, height, width)
    if noise:
        pixels = rng.integers(0, 256, pixels.shape, np.uint8)
    hole = np.zeros((height, width), np.bool_)
    for _ in range(3):
        top, left = rng.integers(0, height), rng.integers(0, width)
        hole[top : top + rng.integers(1, 15), left : left + rng.integers(1, 15)] = True
    if hole.all():
        return
    expected = cv2.inpaint(pixels, hole.astype(np.uint8), 3, method)
    result = make_inpainter(name)(pixels[None], hole[None])
    np.testing.assert_array_equal(result.frames[0][hole], expected[hole])


def test_telea_and_navier_stokes_differ() -> None:
    pixels, holes = np.stack([textured(3, 60, 80)]), walker(2, 60, 80)[:1]
    telea, ns = (make_inpainter(name)(pixels, holes).frames for name in ("opencv", "opencv:ns"))
    assert (telea[holes] != ns[holes]).mean() > 0.5


def test_a_frame_that_is_all_hole_stays_as_it_is_with_opencv() -> None:
    pixels = np.stack([textured(3, 20, 30), textured(4, 20, 30)])
    result = make_inpainter("opencv")(pixels, np.ones(pixels.shape[:3], np.bool_))
    np.testing.assert_array_equal(result.frames, pixels)
    assert result.unseen.all()


def test_temporal_shows_what_was_behind_a_walker() -> None:
    scene, holes = textured(7, 91, 121), walker(24, 91, 121)
    pixels = np.stack([scene] * 24)
    pixels[holes] = (255, 0, 0)
    result = make_inpainter("temporal")(pixels, holes)
    assert not result.unseen.any()
    np.testing.assert_array_equal(result.frames, np.stack([scene] * 24))


def test_temporal_shows_what_was_behind_a_walker_under_a_moving_camera() -> None:
    shifts = np.stack([20 + 1.6 * np.arange(24), 8 + np.sin(np.arange(24))], axis=1)
    clean = panned(textured(8, 180, 300), shifts, (120, 160))
    holes = walker(24, 120, 160)
    pixels = clean.copy()
    pixels[holes] = (255, 0, 0)
    result = make_inpainter("temporal")(pixels, holes)
    assert result.unseen.mean() < 0.01
    errors = np.abs(result.frames.astype(int) - clean)[holes & ~result.unseen]
    # Single frames, taken as they are, would be off by the texture's contrast.
    wrong = np.abs(clean[::-1].astype(int) - clean)[holes]
    assert errors.mean() < 5 < 20 < wrong.mean()


def test_a_long_shot_of_a_moving_camera_has_frames_far_from_every_sample(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(temporal, "MAX_SAMPLES", 3)
    monkeypatch.setattr(temporal, "NEAR", 2)
    scene = textured(15, 90, 200)
    pixels = np.stack([scene[:, t : t + 100] for t in range(0, 40, 2)])
    holes = np.zeros(pixels.shape[:3], np.bool_)
    for t in range(len(pixels)):
        holes[t, 30:60, 10 + 3 * t : 22 + 3 * t] = True
    pixels = np.where(holes[..., None], np.uint8(255), pixels)
    result = make_inpainter("temporal")(pixels, holes)
    assert result.frames[holes].max() < 255


@pytest.mark.parametrize("seed", range(10))
def test_temporal_follows_the_light(seed: int) -> None:
    scene, holes = textured(seed, 90, 120).astype(int), walker(20, 90, 120)
    light = np.linspace(-10, 10, 20).round().astype(int)
    clean = np.clip(scene[None] + light[:, None, None, None], 0, 255).astype(np.uint8)
    pixels = clean.copy()
    pixels[holes] = (255, 0, 0)
    result = make_inpainter("temporal")(pixels, holes)
    errors = np.abs(result.frames[[0, -1]].astype(int) - clean[[0, -1]])[holes[[0, -1]]]
    assert errors.mean() < 1  # the median alone is off by ten


def test_what_was_never_seen_is_told_and_does_not_flicker() -> None:
    scene = textured(10, 80, 100)
    rng = np.random.default_rng(11)
    pixels = np.clip(scene + rng.integers(-8, 9, (12, 80, 100, 3)), 0, 255).astype(np.uint8)
    holes = np.zeros((12, 80, 100), np.bool_)
    holes[:, 20:60, 30:60] = True
    pixels[holes] = (255, 0, 0)
    result = make_inpainter("temporal")(pixels, holes)
    np.testing.assert_array_equal(result.unseen, holes)
    inside = result.frames[:, 25:55, 35:55].astype(float)
    assert inside.std(axis=0).max() < 4  # the frames' noise has 4.9
    assert inside[..., 0].max() < 250


def test_nothing_comes_from_the_other_side_of_a_cut() -> None:
    scenes = textured(12, 90, 120) // 4, 190 + textured(13, 90, 120) // 4
    pixels = np.stack([scenes[0]] * 8 + [scenes[1]] * 8)
    holes = np.zeros(pixels.shape[:3], np.bool_)
    holes[:8, 30:60, 40:70] = True  # free in the bright scene only
    pixels[holes] = (255, 0, 0)
    result = make_inpainter("temporal")(pixels, holes)
    assert result.unseen[:8][holes[:8]].all()
    assert result.frames[:8][holes[:8]].max() < 100


def test_a_bystander_seen_twice_does_not_count_as_background() -> None:
    """A limb that the mask missed in two of twenty frames is no view of what is behind."""
    scene = textured(14, 80, 100)
    pixels = np.stack([scene] * 20)
    holes = np.zeros((20, 80, 100), np.bool_)
    holes[:, 20:60, 30:60] = True
    pixels[holes] = (255, 0, 0)
    holes[5:7, 30:50, 40:50] = False
    result = make_inpainter("temporal")(pixels, holes)
    assert result.unseen[0, 32:48, 42:48].all()
    assert result.frames[0, 32:48, 42:48, 0].max() < 250


# Temporal with a spatial inpainter for the rest


@dataclass
class Counting:
    """Paints holes in one colour, and remembers what it was asked."""

    identity: str = "counting"
    uses_other_frames: bool = False
    uses_network: bool = True
    asked: list[tuple[UInt8, Bool]] = field(default_factory=list)
    placed: tuple[str, int] = ("nowhere", 0)

    def to_device(self, device: str, frames_at_once: int) -> None:
        self.placed = (device, frames_at_once)

    def __call__(self, frames: UInt8, holes: Bool) -> Inpainted:
        self.asked.append((frames.copy(), holes.copy()))
        return Inpainted(np.where(holes[..., None], np.uint8(7), frames), holes.copy())


def two_shots() -> tuple[UInt8, Bool]:
    """A walker in each, and in the second a place that is never free."""
    scenes = textured(12, 90, 120) // 4, 190 + textured(13, 90, 120) // 4
    pixels = np.stack([scenes[0]] * 12 + [scenes[1]] * 12)
    holes = np.concatenate([walker(12, 90, 120)] * 2)
    holes[12:, 30:60, 40:70] = True
    pixels[holes] = (255, 0, 0)
    return pixels, holes


@pytest.mark.parametrize("name", ["temporal:opencv", "temporal:opencv:ns"])
def test_what_was_seen_is_as_without_a_spatial_inpainter(name: str) -> None:
    pixels, holes = two_shots()
    alone = make_inpainter("temporal")(pixels, holes)
    result = make_inpainter(name)(pixels, holes)
    np.testing.assert_array_equal(result.unseen, alone.unseen)
    seen = ~alone.unseen
    np.testing.assert_array_equal(result.frames[seen], alone.frames[seen])
    assert (result.frames[~seen] != alone.frames[~seen]).mean() > 0.5
    # From the scene around it, without the actor's red.
    assert result.frames[~seen].min() > 150


def test_the_spatial_inpainter_is_asked_once_for_a_shot_that_needs_it() -> None:
    pixels, holes = two_shots()
    counting = Counting()
    result = TemporalInpainter(counting)(pixels, holes)
    ((plate, places),) = counting.asked
    assert plate.dtype == np.uint8
    assert plate.shape == (*places.shape, 3)
    assert len(plate) == 1
    assert places.sum() == result.unseen[12].sum() > 0
    assert not result.unseen[:12].any()
    # The same in all frames of the shot, and nowhere else. Light is matched to each frame.
    made_up = result.frames[result.unseen]
    assert made_up.max() <= 7 + MAX_TINT
    assert plate[~places].min() > 150
    counting.asked.clear()
    TemporalInpainter(counting)(pixels, np.zeros_like(holes))
    TemporalInpainter(counting)(pixels[:12], holes[:12])
    assert counting.asked == []
    TemporalInpainter(counting)(
        np.concatenate([pixels, pixels[:1] * 0, pixels[12:]]),
        np.concatenate([holes, holes[:1] * False, holes[12:]]),
    )
    assert len(counting.asked) == 2


def test_under_a_moving_camera_only_what_a_hole_needs_is_asked_for() -> None:
    shifts = np.stack([20 + 3.0 * np.arange(20), np.full(20, 10.0)], axis=1)
    clean = panned(textured(2, 180, 300), shifts, (120, 160))
    holes = np.zeros((20, 120, 160), np.bool_)
    for t, (x, y) in enumerate(shifts.astype(int)):  # one place of the scene, always hidden
        holes[t, 60 - y : 90 - y, 110 - x : 140 - x] = True
    pixels = clean.copy()
    pixels[holes] = (255, 0, 0)
    counting = Counting()
    result = TemporalInpainter(counting)(pixels, holes)
    ((plate, places),) = counting.asked
    assert 30 * 30 <= places.sum() <= 34 * 34
    assert plate[~places].min() > 0  # no black corners come into sight
    assert plate.shape[1] <= 34 + 120 and plate.shape[2] <= 34 + 120
    assert np.abs(result.frames[result.unseen].astype(int) - 7).mean() < MAX_TINT
    alone = TemporalInpainter()(pixels, holes)
    np.testing.assert_array_equal(result.unseen, alone.unseen)
    assert holes[result.unseen].all() and result.unseen[holes].mean() > 0.9


def test_a_shot_that_shows_nothing_is_not_asked_about() -> None:
    counting = Counting()
    pixels = np.zeros((3, 20, 30, 3), np.uint8)
    result = TemporalInpainter(counting)(pixels, np.ones((3, 20, 30), np.bool_))
    assert counting.asked == []
    assert (result.frames == 127).all()
    assert result.unseen.all()


def test_temporal_is_a_network_where_its_spatial_inpainter_is_one() -> None:
    counting = Counting()
    inpainter = TemporalInpainter(counting)
    assert is_network(inpainter)
    assert networks.to_device(inpainter, "cuda:3", 5) is inpainter
    assert counting.placed == ("cuda:3", 5)
    assert inpainter.identity == f"{TemporalInpainter().identity}, counting"
    assert inpainter.uses_other_frames
    assert not is_network(TemporalInpainter(Counting(uses_network=False)))
    networks.to_device(TemporalInpainter(), "cpu", 1)


# Filling smoothly


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 1000))
def test_smooth_filling_keeps_what_is_known_and_stays_between(
    height: int, width: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    picture = rng.integers(60, 200, (height, width, 3), np.uint8)
    known = rng.random((height, width)) < rng.random()
    picture[~known] = 255
    filled = fill_smoothly(picture, known)
    if known.any():
        np.testing.assert_array_equal(filled[known], picture[known])
        assert filled.min() >= picture[known].min()
        assert filled.max() <= picture[known].max()
    else:
        assert (filled == 127).all()


def test_smooth_filling_lies_between_its_two_sides() -> None:
    picture = np.zeros((32, 64, 3), np.uint8)
    picture[:, 48:] = 200
    known = np.zeros((32, 64), np.bool_)
    known[:, :16] = known[:, 48:] = True
    row = fill_smoothly(picture, known)[16, :, 0].astype(int)
    assert (np.diff(row) >= 0).all()
    assert 60 < row[31] < 140
