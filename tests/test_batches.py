"""Batches: composites, crops, labels, the endless order, prefetching."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from banks import GEOMETRY, make_source
from hypothesis import given
from hypothesis import strategies as st

from compositing.blend import composite_clip
from compositing.settings import CompositeSettings
from l2a.clips import ClipBank
from train.batches import Augment, ClipSource
from train.loading import prefetch
from train.mix import cycle


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> ClipSource:
    return make_source(tmp_path_factory.mktemp("bank") / "bank")


def test_a_composite_is_equation_1_cut_in_the_centre(source: ClipSource) -> None:
    batch = source.composites(np.array([[1, 5]]))
    mask = source.bank.masks[1][..., None]
    expected = source.bank.frames[1] * mask + source.bank.backgrounds[5] * (1 - mask)
    np.testing.assert_array_equal(batch.clips[0], expected[:, 2:22, 5:25])


def test_the_label_of_a_composite_is_equations_7_and_8_on_what_is_seen(source: ClipSource) -> None:
    """γ is that of the view: a mask that is cut off by the crop gives no label."""
    gamma = source.bank.masks[1][:, 2:22, 5:25].mean()
    assert gamma != source.bank.masks[1].mean()
    lam = 1 - (1 - gamma) ** 4
    batch = source.composites(np.array([[1, 5]]))  # classes 1 and 2
    np.testing.assert_allclose(batch.labels[0], [0, lam, 1 - lam], rtol=1e-5)


def test_the_actor_rule_compares_both_actors_as_they_are_seen(tmp_path: Path) -> None:
    source = make_source(tmp_path / "bank", settings=CompositeSettings(label_rule="actor"))
    visible, removed = (source.bank.masks[row][:, 2:22, 5:25].mean() for row in (1, 5))
    assert 0 < visible < removed
    lam = 1 - (1 - visible / (visible + removed)) ** 4
    labels = source.composites(np.array([[1, 5]])).labels
    np.testing.assert_allclose(labels[0], [0, lam, 1 - lam], rtol=1e-5)


@pytest.mark.parametrize("blend", ["paste", "feather", "poisson"])
@pytest.mark.parametrize("rule", ["mixed", "foreground", "actor"])
def test_label_rows_sum_to_1(source: ClipSource, blend: Any, rule: Any) -> None:
    settings = CompositeSettings(rule, blend=blend, shift=0.4, scale=1.5, flip_foreground=0.5)
    pairs = np.random.default_rng(0).integers(0, 12, (20, 2))
    loose = replace(source, settings=settings)
    labels = loose.composites(pairs, Augment(np.random.default_rng(1))).labels
    np.testing.assert_allclose(labels.sum(1), 1, atol=1e-6)
    assert ((labels >= 0) & (labels <= 1)).all()
    if rule == "foreground":
        np.testing.assert_array_equal(labels.argmax(1), pairs[:, 0] % 3)


def black_and_white(folder: Path, settings: CompositeSettings) -> ClipSource:
    """Row 0: a white foreground in the middle; row 1: a black background, actor on the right."""
    bank = ClipBank.create_or_resume(folder, ["white", "black"], GEOMETRY, "test")
    shape = (GEOMETRY.num_frames, GEOMETRY.height, GEOMETRY.width)
    white, black = (np.full((*shape, 3), value, np.uint8) for value in (255, 0))
    mask_f, mask_b = np.zeros(shape, bool), np.zeros(shape, bool)
    mask_f[:, 6:18, 10:18] = True
    mask_b[:, 4:20, 20:] = True
    bank.write(0, white, mask_f, white)
    bank.write(1, white, mask_b, black)
    return ClipSource(bank, np.arange(2), 2, GEOMETRY.crop, settings)


@pytest.mark.parametrize("blend", ["paste", "feather"])
def test_gamma_is_the_white_that_one_can_see(tmp_path: Path, blend: Any) -> None:
    """White on black: the mean of the clip is γ, wherever it was placed, cropped and mirrored."""
    settings = CompositeSettings(
        blend=blend, feather=0.1, shift=0.4, scale=1.5, flip_foreground=0.5
    )
    source = black_and_white(tmp_path / "bank", settings)
    pairs = np.tile([[0, 1]], (40, 1))
    batch = source.composites(pairs, Augment(np.random.default_rng(3)))
    gammas = batch.clips.numpy().mean((1, 2, 3, 4)) / 255
    np.testing.assert_allclose(batch.labels[:, 0], 1 - (1 - gammas) ** 4, atol=5e-3)
    assert gammas.std() > 0.05


def test_each_composite_has_a_placement_of_its_own(tmp_path: Path) -> None:
    source = black_and_white(tmp_path / "bank", CompositeSettings(shift=0.2))
    pairs = np.tile([[0, 1]], (20, 1))
    clips = source.composites(pairs, Augment(np.random.default_rng(3), flip=False)).clips.numpy()
    assert len({clip.tobytes() for clip in clips}) > 15
    for clip in clips:
        assert (clip == clip[0]).all()  # the same in all frames


def test_without_a_generator_every_foreground_stays_in_its_place(tmp_path: Path) -> None:
    loose = CompositeSettings(shift=0.4, scale=2.0, flip_foreground=1.0)
    moved, fixed = (
        black_and_white(tmp_path / name, settings).composites(np.array([[0, 1]]))
        for name, settings in (("loose", loose), ("fixed", CompositeSettings()))
    )
    assert torch.equal(moved.clips, fixed.clips)


def test_what_a_placement_brings_into_the_view_is_seen(tmp_path: Path) -> None:
    """The crop is of the placed frame: nothing of the actor is cut off before he is moved."""
    source = black_and_white(tmp_path / "bank", CompositeSettings(flip_foreground=1.0))
    bank = ClipBank.open(source.bank.folder)
    mirrored = bank.masks[0][:, :, ::-1]  # columns 10..17 of 30 become 12..19
    for seed in range(10):
        augment = Augment(np.random.default_rng(seed), flip=False)
        batch = source.composites(np.array([[0, 1]]), augment)
        top, left = np.random.default_rng(seed).integers(0, [5, 11])
        expected = mirrored[:, top : top + 20, left : left + 20]
        np.testing.assert_array_equal(batch.clips[0, ..., 0] == 255, expected)


@given(seed=st.integers(0, 300))
def test_the_composite_of_the_view_is_the_view_of_the_composite(
    source: ClipSource, seed: int
) -> None:
    """Cropping first saves work and changes nothing: the same numbers, drawn in the same order."""
    batch = source.composites(np.array([[1, 5], [4, 3]]), Augment(np.random.default_rng(seed)))
    rng = np.random.default_rng(seed)
    for (f, b), got in zip([(1, 5), (4, 3)], batch.clips.numpy(), strict=True):
        bank = source.bank
        whole = composite_clip(bank.frames[f], bank.masks[f], bank.backgrounds[b])
        top, left = rng.integers(0, [5, 11])
        view = whole[:, top : top + 20, left : left + 20]
        np.testing.assert_array_equal(got, view[:, :, ::-1] if rng.random() < 0.5 else view)


@pytest.mark.parametrize("blend", ["paste", "feather", "poisson"])
def test_the_bank_is_not_written_to(tmp_path: Path, blend: Any) -> None:
    settings = CompositeSettings(blend=blend, match_colour=0.5, shift=0.2)
    source = make_source(tmp_path / "bank", settings=settings)
    before = [a.copy() for a in (source.bank.frames, source.bank.masks, source.bank.backgrounds)]
    batch = source.composites(np.array([[1, 5], [2, 7]]), Augment(np.random.default_rng(0)))
    source.real(np.array([1, 2]), Augment(np.random.default_rng(0)))
    batch.clips[:] = 0
    after = source.bank.frames, source.bank.masks, source.bank.backgrounds
    for now, then in zip(after, before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_real_clips_are_untouched_in_the_centre(source: ClipSource) -> None:
    batch = source.real(np.array([3, 0]))
    np.testing.assert_array_equal(batch.clips[0], source.bank.frames[3][:, 2:22, 5:25])
    assert batch.labels.tolist() == [[1, 0, 0], [1, 0, 0]]


@given(seed=st.integers(0, 1000))
def test_crops_and_flips_keep_a_clip_together(source: ClipSource, seed: int) -> None:
    """Every frame is cut at one place: some crop, mirrored or not, of the whole clip fits."""
    got = source.real(np.array([4]), Augment(np.random.default_rng(seed))).clips[0].numpy()
    clip, crop = source.bank.frames[4], GEOMETRY.crop
    candidates = [
        view[:, top : top + crop, left : left + crop]
        for view in (clip, clip[:, :, ::-1])
        for top in range(GEOMETRY.height - crop + 1)
        for left in range(GEOMETRY.width - crop + 1)
    ]
    assert any(np.array_equal(got, candidate) for candidate in candidates)


def test_no_flip_when_left_and_right_matter(source: ClipSource) -> None:
    clip = source.bank.frames[4]
    for seed in range(30):
        augment = Augment(np.random.default_rng(seed), flip=False)
        got = source.real(np.array([4]), augment).clips[0].numpy()
        rows = {tuple(row) for row in np.lib.stride_tricks.sliding_window_view(
            clip[0, :, :, 0], GEOMETRY.crop, axis=1).reshape(-1, GEOMETRY.crop)}  # fmt: skip
        assert tuple(got[0, 0, :, 0]) in rows


@pytest.mark.parametrize("blend", ["paste", "feather", "poisson"])
def test_same_generator_same_batch(source: ClipSource, blend: Any) -> None:
    settings = CompositeSettings(blend=blend, match_colour=0.3, shift=0.2, flip_foreground=0.5)
    loose, pairs = replace(source, settings=settings), np.array([[0, 1], [2, 3]])
    one, two = (loose.composites(pairs, Augment(np.random.default_rng(7))) for _ in range(2))
    assert torch.equal(one.clips, two.clips)
    assert torch.equal(one.labels, two.labels)


def test_no_pairs_give_an_empty_batch(source: ClipSource) -> None:
    batch = source.composites(np.zeros((0, 2), np.int64))
    assert batch.clips.shape == (0, 4, 20, 20, 3)
    assert batch.labels.shape == (0, 3)


@given(start=st.integers(0, 200), count=st.integers(1, 50), total=st.integers(1, 20))
def test_any_stretch_of_the_endless_order_can_be_asked_for(
    start: int, count: int, total: int
) -> None:
    whole = cycle(0, start + count, total, seed=3)
    np.testing.assert_array_equal(cycle(start, count, total, seed=3), whole[start:])


def test_every_pass_draws_each_index_once() -> None:
    drawn = cycle(0, 30, 10, seed=1).reshape(3, 10)
    assert all(sorted(row) == list(range(10)) for row in drawn.tolist())
    assert drawn[0].tolist() != drawn[1].tolist()


def test_prefetching_keeps_order_and_raises_at_the_right_place() -> None:
    def items() -> Iterator[int]:
        yield from range(5)
        raise ValueError("at five")

    got = []
    with pytest.raises(ValueError, match="at five"):
        for item in prefetch(items()):
            got.append(item)
    assert got == [0, 1, 2, 3, 4]
    assert list(prefetch(range(100))) == list(range(100))


def test_a_consumer_that_stops_early_stops_the_thread() -> None:
    before = threading.active_count()
    stream = prefetch(iter(range(10**9)))
    assert next(stream) == 0
    stream.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before
