"""One function for training and export: the shape of actors, two sizes, label rules as objects."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import numpy as np
import pytest
from banks import GEOMETRY, make_source
from fake_export import IDS, ROWS, VIDEOS, FakeStore
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from compositing.blend import BLENDS
from compositing.clipfolder import read_record, write_record
from compositing.clipmaking import Clip, ClipMaker, make_clips, reuse_clip
from compositing.engines.local import HERE
from compositing.labels import LABEL_RULES, MixingRule
from compositing.layers import Layers
from compositing.pair import Side, composite_pair
from compositing.placement import Placement
from compositing.settings import Blend, CompositeSettings, ExportSettings, LabelRule
from l2a.clips import ClipBank, ClipSettings
from l2a.media import resize_frames, resize_masks
from l2a.videos import Video
from train.batches import ClipSource

PASTE = CompositeSettings()
STORED = (112, 150)


def ball_in(height: int, width: int, y: float, x: float, radius: float) -> Side:
    """A white ball on grey; its middle at shares of the frame, its radius one of the height."""
    rows, columns = np.mgrid[:height, :width] + 0.5
    distance = np.hypot(rows - y * height, columns - x * width)
    mask = np.repeat((distance <= radius * height)[None], 2, axis=0)
    return Side(np.where(mask[..., None], 255, 90).astype(np.uint8).repeat(3, -1), mask)


def empty_scene(height: int, width: int) -> Side:
    """Black, with nothing taken out of it."""
    return Side(np.zeros((2, height, width, 3), np.uint8), np.zeros((2, height, width), bool))


def in_bank(side: Side) -> Side:
    """The side as a bank holds it: squeezed to one size, its shape noted."""
    return Side(resize_frames(side.frames, STORED), resize_masks(side.mask, STORED), side.shape)


def spans(mask: np.ndarray) -> tuple[float, float, float, float]:
    """Middle and size of a mask's box: y, x, height, width, in pixels."""
    (top, *_, bottom), (left, *_, right) = (
        np.flatnonzero(mask.any(axis=axis)).tolist() for axis in ((0, 2), (0, 1))
    )
    return (top + bottom + 1) / 2, (left + right + 1) / 2, bottom + 1 - top, right + 1 - left


SHAPES = [(160, 90), (90, 160), (120, 160), (130, 130), (60, 250)]


@pytest.mark.parametrize("of", SHAPES)
@pytest.mark.parametrize("on", SHAPES)
def test_a_ball_stays_a_ball_where_it_was(of: tuple[int, int], on: tuple[int, int]) -> None:
    foreground = ball_in(*of, y=0.6, x=0.4, radius=0.1)
    made = composite_pair(foreground, empty_scene(*on), PASTE)
    assert made.frames.shape == (2, *on, 3)
    assert_array_equal(made.frames.any(axis=-1), made.mask)
    y, x, height, width = spans(made.mask)
    pixel = max(1.0, on[0] / of[0])  # of the foreground, in the scene
    assert abs(height - 0.2 * on[0]) <= 2 * pixel
    assert abs(width - height) <= 2 * pixel
    assert abs(y - 0.6 * on[0]) <= pixel
    assert abs(x - 0.4 * on[1]) <= pixel
    assert made.visible == made.mask.mean()


@pytest.mark.parametrize("of", SHAPES)
@pytest.mark.parametrize("on", SHAPES)
@pytest.mark.parametrize("placement", [Placement(), Placement(-0.1, 0.15, 1.3, flip=True)])
def test_a_composite_at_training_size_is_the_full_one_made_small(
    of: tuple[int, int], on: tuple[int, int], placement: Placement
) -> None:
    """Two sizes, one truth: squeezing first or last, the same pixels are the actor's."""
    foreground, scene = ball_in(*of, y=0.55, x=0.4, radius=0.16), empty_scene(*on)
    full = composite_pair(foreground, scene, PASTE, placement=placement)
    small = composite_pair(in_bank(foreground), in_bank(scene), PASTE, placement=placement)
    truth = resize_masks(full.mask, STORED)
    both, either = (truth & small.mask).sum(), (truth | small.mask).sum()
    assert both / either > 0.78  # one of its pixels is up to two of the scene, four in width
    assert small.visible == pytest.approx(full.visible, rel=0.08)
    assert small.lam == pytest.approx(full.lam, rel=0.08)
    inner = truth & small.mask
    error = np.abs(resize_frames(full.frames, STORED).astype(int) - small.frames)[inner]
    assert error.mean() < 20  # the ball's rim is interpolated twice


def test_sides_of_one_shape_lie_pixel_on_pixel_whatever_their_bank() -> None:
    rng = np.random.default_rng(0)
    frames, under = (rng.integers(0, 256, (2, *STORED, 3), np.uint8) for _ in range(2))
    mask = rng.random((2, *STORED)) < 0.3
    for aspect in (None, 0.5, 16 / 9):
        made = composite_pair(Side(frames, mask, aspect), Side(under, ~mask, aspect), PASTE)
        assert_array_equal(made.frames, np.where(mask[..., None], frames, under))
        assert_array_equal(made.mask, mask)


@given(st.integers(0, 12), st.integers(0, 16), st.sampled_from([0.5, 1.0, 2.2]))
def test_a_window_is_a_cut_of_the_whole(top: int, left: int, aspect: float) -> None:
    foreground = in_bank(ball_in(90, 120, y=0.6, x=0.4, radius=0.2))
    scene = Side(np.full((2, *STORED, 3), 7, np.uint8), foreground.mask, aspect)
    window = (slice(top, top + 30), slice(left, left + 40))
    whole = composite_pair(foreground, scene, PASTE)
    cut = composite_pair(foreground, scene, PASTE, window=window)
    assert_array_equal(cut.frames, whole.frames[:, *window])
    assert_array_equal(cut.mask, whole.mask[:, *window])
    assert cut.visible == whole.mask[:, *window].mean()


def test_the_canvas_may_be_the_backgrounds_own_and_else_nothing_is_written_to() -> None:
    foreground, scene = ball_in(40, 50, 0.5, 0.5, 0.2), empty_scene(40, 70)
    made = composite_pair(foreground, scene, PASTE)
    assert not scene.frames.any()
    here = composite_pair(foreground, scene, PASTE, out=scene.frames)
    assert here.frames is scene.frames
    assert_array_equal(here.frames, made.frames)


@pytest.mark.parametrize("name", ["paste", "feather", "poisson"])
def test_every_blend_takes_an_actor_that_hangs_out_of_the_scene(name: str) -> None:
    settings = CompositeSettings(blend=name, match_colour=0.5, feather=0.05)  # type: ignore[arg-type]
    foreground = ball_in(60, 200, y=0.5, x=0.5, radius=0.7)
    made = composite_pair(foreground, Side(*empty_noise(60, 30)), settings)
    assert made.frames.shape == (2, 60, 30, 3)
    assert 0.5 < made.visible <= made.mask.mean()


def empty_noise(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (2, height, width, 3), np.uint8)
    return frames, np.zeros((2, height, width), bool)


# Label rules are objects


@pytest.fixture
def fourth(monkeypatch: pytest.MonkeyPatch) -> CompositeSettings:
    """Settings that name a fourth rule, with the formula of the rule actor."""
    actor = LABEL_RULES["actor"]
    rule = MixingRule("fourth", actor.formula, needs_removed=True)  # type: ignore[arg-type]
    monkeypatch.setitem(LABEL_RULES, "fourth", rule)
    settings = CompositeSettings()
    object.__setattr__(settings, "label_rule", "fourth")
    return settings


def test_a_fourth_rule_of_the_same_formula_gives_the_same_label_in_training(
    tmp_path: Path, fourth: CompositeSettings
) -> None:
    pairs = np.array([[1, 5], [2, 7], [0, 4]])
    labels = [
        make_source(tmp_path / str(number), settings=settings).composites(pairs).labels.numpy()
        for number, settings in enumerate(
            (CompositeSettings("actor"), fourth, CompositeSettings("mixed"))
        )
    ]
    assert_array_equal(labels[0], labels[1])
    assert (labels[0] != labels[2]).any()


def test_a_fourth_rule_of_the_same_formula_gives_the_same_label_in_a_pair(
    fourth: CompositeSettings,
) -> None:
    foreground = ball_in(40, 50, 0.5, 0.5, 0.2)
    scene = Side(foreground.frames, ball_in(40, 50, 0.5, 0.5, 0.3).mask)
    actor = composite_pair(foreground, scene, CompositeSettings("actor"))
    other = composite_pair(foreground, scene, fourth)
    assert (actor.lam, actor.removed) == (other.lam, other.removed)
    assert actor.removed == scene.mask.mean() > 0


def test_the_tables_hold_what_can_be_set() -> None:
    assert tuple(LABEL_RULES) == get_args(LabelRule)
    assert tuple(BLENDS) == get_args(Blend)


def test_what_a_rule_has_no_use_for_is_not_counted() -> None:
    made = composite_pair(ball_in(9, 9, 0.5, 0.5, 0.3), ball_in(9, 9, 0.5, 0.5, 0.3), PASTE)
    assert made.removed == 0


# Clips of an export


class OtherShape(FakeStore):
    """The first video is half as wide as the others."""

    def record(self, video_id: str) -> SimpleNamespace:
        record = super().record(video_id)
        record.width = record.width // 2 if video_id == IDS[0] else record.width
        return record

    def load(self, video: Video) -> Layers:
        layers = super().load(video)
        if video.id != IDS[0]:
            return layers
        part = slice(layers.frames.shape[2] // 2)
        return replace(layers, frames=layers.frames[:, :, part], mask=layers.mask[:, :, part])


@pytest.mark.parametrize(("kind", "still_good"), [(FakeStore, True), (OtherShape, False)])
def test_a_clip_of_a_version_that_stretched_is_made_again(
    tmp_path: Path, kind: type[FakeStore], still_good: bool
) -> None:
    """Such a version noted no ratio; where both videos have one shape its clip is good."""
    store, pair = kind(), ROWS[0]
    sides = VIDEOS[pair.foreground], VIDEOS[pair.background]
    layers = tuple(store.record(video.id).fingerprint for video in sides)
    export = ExportSettings(crf=30, preset="ultrafast")
    maker = ClipMaker(store, tmp_path, CompositeSettings(), export, "settings", 3)
    clip = Clip("clip", pair, *sides, layers, 0)
    assert [why for _, why in make_clips(maker, [clip], HERE)] == [None]
    assert reuse_clip(maker, clip)
    record = read_record(tmp_path, "clip")
    assert record is not None
    old = {key: value for key, value in record.provenance.items() if key != "ratio"}
    write_record(tmp_path, "clip", replace(record, provenance=old))
    assert reuse_clip(maker, clip) == still_good


# The bank knows the shapes of its videos


def test_training_restores_the_shape_that_the_bank_squeezed(tmp_path: Path) -> None:
    """Row 0 is portrait, row 1 landscape, row 2 portrait again; all are stored as 24 x 30."""
    settings = ClipSettings(num_frames=2, height=24, width=30, crop=24)
    bank = ClipBank.create_or_resume(tmp_path / "bank", ["p", "l", "q"], settings, "test")
    for row, (height, width) in enumerate([(240, 135), (135, 240), (240, 135)]):
        side = ball_in(height, width, 0.5, 0.5, 0.15)
        frames, mask = resize_frames(side.frames, (24, 30)), resize_masks(side.mask, (24, 30))
        bank.write(row, frames, mask, np.zeros_like(frames), aspect=width / height)
    source = ClipSource(bank, np.arange(3), 3, 24, PASTE)
    pairs = np.array([[0, 1], [1, 0], [0, 2], [1, 1]])
    widths = [spans(clip.numpy().any(-1))[3] for clip in source.composites(pairs).clips]
    heights = [spans(clip.numpy().any(-1))[2] for clip in source.composites(pairs).clips]
    # 0.3 of 24 rows; squeezed like the background: 0.3 of the height is 16 of 30 columns in a
    # portrait and 5 in a landscape.
    assert set(heights) <= {6, 8}  # even: the ball stands in the middle
    expected = [0.3 * 30 * 9 / 16, 0.3 * 30 * 16 / 9, 0.3 * 30 * 16 / 9, 0.3 * 30 * 9 / 16]
    np.testing.assert_allclose(widths, expected, atol=1.5)


def test_a_bank_notes_the_shape_of_its_own_frames_if_nothing_else_is_known(tmp_path: Path) -> None:
    bank = make_source(tmp_path / "bank").bank
    assert_array_equal(bank.aspects, np.full(len(bank), GEOMETRY.width / GEOMETRY.height))
