"""Batches: composites, crops, labels, the endless order, working ahead."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from banks import GEOMETRY, make_source
from hypothesis import given
from hypothesis import strategies as st

from compositing.settings import CompositeSettings
from train.batches import Augment, ClipSource, ahead, cycle


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> ClipSource:
    return make_source(tmp_path_factory.mktemp("bank") / "bank")


def test_a_composite_is_equation_1_cut_in_the_centre(source: ClipSource) -> None:
    batch = source.composites(np.array([[1, 5]]))
    mask = source.bank.masks[1][..., None]
    expected = source.bank.frames[1] * mask + source.bank.backgrounds[5] * (1 - mask)
    np.testing.assert_array_equal(batch.clips[0], expected[:, 2:22, 5:25])


def test_the_label_of_a_composite_is_equations_7_and_8(source: ClipSource) -> None:
    gamma = source.bank.masks[1].mean()
    lam = 1 - (1 - gamma) ** 4
    batch = source.composites(np.array([[1, 5]]))  # classes 1 and 2
    np.testing.assert_allclose(batch.labels[0], [0, lam, 1 - lam], rtol=1e-5)


def test_the_actor_rule_compares_both_actors(tmp_path: Path) -> None:
    source = make_source(tmp_path / "bank", settings=CompositeSettings(label_rule="actor"))
    visible, removed = source.gammas[1], source.gammas[5]
    assert visible < removed
    lam = 1 - (1 - visible / (visible + removed)) ** 4
    np.testing.assert_allclose(source.mixing_weights(np.array([[1, 5]])), [lam])


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


def test_same_generator_same_batch(source: ClipSource) -> None:
    pairs = np.array([[0, 1], [2, 3]])
    one, two = (source.composites(pairs, Augment(np.random.default_rng(7))) for _ in range(2))
    assert torch.equal(one.clips, two.clips)


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


def test_working_ahead_keeps_order_and_raises_at_the_right_place() -> None:
    def items() -> Iterator[int]:
        yield from range(5)
        raise ValueError("at five")

    got = []
    with pytest.raises(ValueError, match="at five"):
        for item in ahead(items()):
            got.append(item)
    assert got == [0, 1, 2, 3, 4]
    assert list(ahead(range(100))) == list(range(100))


def test_a_consumer_that_stops_early_stops_the_thread() -> None:
    before = threading.active_count()
    stream = ahead(iter(range(10**9)))
    assert next(stream) == 0
    stream.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before
