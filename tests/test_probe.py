"""Planted bad videos: which labels are exchanged, and what stays as it was."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from l2a.errors import InputError
from train.probe import exchange_labels


@dataclass(frozen=True)
class Labels:
    """Of a source, what a probe looks at."""

    labels: NDArray[np.int64]
    num_classes: int = 4
    soft: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Classes:
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Labelled:
    """Of a workspace, what a probe looks at."""

    source: Labels
    videos: Classes
    recordings: NDArray[np.int64]
    rows: dict[str, NDArray[np.int64]] = field(default_factory=dict)


def labelled_videos(
    labels: list[int], classes: int, train: list[int] | None = None,
    recordings: list[int] | None = None,
) -> Labelled:  # fmt: skip
    """Videos of these recordings; each of its own if none are given."""
    rows = np.arange(len(labels)) if train is None else np.array(train, np.int64)
    rest = np.setdiff1d(np.arange(len(labels)), rows)
    names = tuple(f"class {index}" for index in range(classes))
    splits = {"train": rows, "val": rest[::2], "test": rest[1::2]}
    cut = np.arange(len(labels)) if recordings is None else np.array(recordings, np.int64)
    return Labelled(Labels(np.array(labels, np.int64)), Classes(names), cut, splits)


def exchanged(
    labelled: Labelled, share: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    found, wrong = exchange_labels(labelled, share, seed)  # type: ignore[arg-type]
    return found.source.labels, wrong


def fewest(recordings: int) -> int:
    return 2 if recordings > 3 else 1


@given(
    labels=st.lists(st.integers(0, 3), min_size=2, max_size=30),
    spare=st.integers(0, 2),
    share=st.floats(0, 1),
    seed=st.integers(0, 99),
)
@example(labels=[0] * 9, spare=0, share=1.0, seed=0)
@example(labels=[0, 1], spare=0, share=0.5, seed=0)
@example(labels=[0, 0, 0, 1, 1, 1], spare=0, share=1.0, seed=3)
def test_exchanged_videos_carry_another_class_and_classes_keep_their_shares(
    labels: list[int], spare: int, share: float, seed: int
) -> None:
    classes = max(max(labels) + 1 + spare, 2)
    labelled = labelled_videos(labels, classes)
    before = labelled.source.labels.copy()
    after, wrong = exchanged(labelled, share, seed)
    count = int(wrong.sum())
    assert count == min(max(round(share * len(labels)), fewest(len(labels))), len(labels) - 1)
    assert np.array_equal(labelled.source.labels, before)  # the workspace is left as it is
    assert (after[wrong] != before[wrong]).all()
    assert np.array_equal(after[~wrong], before[~wrong])
    assert after.min() >= 0
    assert after.max() < classes
    counts = Counter(before[wrong].tolist())
    if 2 * max(counts.values()) <= count:  # or some would have to keep their own
        assert Counter(after[wrong].tolist()) == counts


def test_every_share_in_a_row_of_sixty_by_count() -> None:
    labelled = labelled_videos([index % 3 for index in range(60)], 3)
    assert [int(exchanged(labelled, share, 0)[1].sum()) for share in (0.1, 0.25, 0.5)] == [
        6,
        15,
        30,
    ]


@given(st.integers(0, 99))
def test_validation_and_test_rows_keep_their_labels(seed: int) -> None:
    train = [1, 3, 4, 6, 8, 9, 11]
    labelled = labelled_videos([0, 1, 2] * 4, 3, train)
    after, wrong = exchanged(labelled, 0.5, seed)
    assert set(np.flatnonzero(wrong)) <= set(train)
    others = np.setdiff1d(np.arange(12), train)
    assert np.array_equal(after[others], labelled.source.labels[others])


def test_the_seed_decides_which_videos_and_what_they_get() -> None:
    labelled = labelled_videos([index % 5 for index in range(50)], 5)
    first, again, other = (exchanged(labelled, 0.2, seed) for seed in (1, 1, 2))
    assert np.array_equal(first[0], again[0])
    assert np.array_equal(first[1], again[1])
    assert not np.array_equal(first[1], other[1])


def test_every_video_is_as_likely_to_be_exchanged() -> None:
    labelled = labelled_videos([index % 4 for index in range(20)], 4)
    times = sum(exchanged(labelled, 0.25, seed)[1].astype(int) for seed in range(400))
    # 100 times each on average, with a standard deviation of 9.
    assert times.min() > 65
    assert times.max() < 135


def test_nothing_else_of_the_workspace_changes() -> None:
    labelled = labelled_videos([0, 1, 0, 1], 2)
    found, _ = exchange_labels(labelled, 0.5, 0)  # type: ignore[arg-type]
    assert replace(found, source=labelled.source) == labelled  # type: ignore[type-var, comparison-overlap]


def test_a_data_set_of_one_class_has_nothing_to_exchange() -> None:
    with pytest.raises(InputError, match=r"probe is 0\.25, but the data set has one class"):
        exchanged(labelled_videos([0, 0, 0, 0], 1), 0.25, 0)


def test_soft_labels_are_exchanged_with_the_classes() -> None:
    """They go before classes: without theirs nothing would be mislabelled."""
    labelled = labelled_videos([0, 0, 1, 1, 2, 2], 4)
    soft = np.full((6, 4), 0.1, np.float32)
    soft[np.arange(6), labelled.source.labels] = 0.7
    before = soft.copy()
    source = replace(labelled.source, soft=soft)
    found, wrong = exchange_labels(replace(labelled, source=source), 0.5, 0)  # type: ignore[arg-type]
    after = found.source.soft
    assert after is not None and wrong.sum() == 3
    assert np.array_equal(after[wrong], np.eye(4)[found.source.labels[wrong]])
    assert np.array_equal(after[~wrong], before[~wrong])
    assert np.array_equal(soft, before)


# Clips of one recording.


@given(
    clips=st.lists(st.tuples(st.integers(0, 7), st.integers(0, 3)), min_size=2, max_size=30),
    share=st.floats(0, 1),
    seed=st.integers(0, 99),
)
def test_no_recording_is_half_exchanged(
    clips: list[tuple[int, int]], share: float, seed: int
) -> None:
    recordings, labels = map(list, zip(*clips, strict=True))
    labelled = labelled_videos(labels, 4, recordings=recordings)
    count = len(set(recordings))
    if count < 2:
        with pytest.raises(InputError, match="all training videos are of one recording"):
            exchanged(labelled, share, seed)
        return
    after, wrong = exchanged(labelled, share, seed)
    whole = {number for number in recordings if wrong[np.array(recordings) == number].all()}
    part = {number for number in recordings if wrong[np.array(recordings) == number].any()}
    assert whole == part
    assert len(whole) == min(max(round(share * count), fewest(count)), count - 1)
    given_to: dict[tuple[int, int], set[int]] = {}
    for place in np.flatnonzero(wrong):
        assert after[place] != labels[place]
        given_to.setdefault(clips[place], set()).add(int(after[place]))
    assert all(len(found) == 1 for found in given_to.values())


def test_clips_can_be_exchanged_one_by_one() -> None:
    labelled = labelled_videos([0, 1, 2, 3] * 5, 4, recordings=[0] * 10 + [1] * 10)
    _, wrong = exchange_labels(labelled, 0.25, 0, by="clip")  # type: ignore[arg-type]
    assert wrong.sum() == 5
    _, wrong = exchange_labels(labelled, 0.25, 0)  # type: ignore[arg-type]
    assert wrong.sum() == 10


@pytest.mark.parametrize(("recordings", "wrong"), [(2, 1), (3, 1), (4, 2), (10, 2), (30, 3)])
def test_two_recordings_are_exchanged_at_least(recordings: int, wrong: int) -> None:
    """Of one alone nobody could tell whether it was found by chance."""
    labelled = labelled_videos([number % 4 for number in range(recordings)], 4)
    assert exchanged(labelled, 0.1, 0)[1].sum() == wrong
