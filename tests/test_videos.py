"""Sets of videos, and carving a split by group."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l2a.errors import InputError
from l2a.videos import (
    TEST_SHARE,
    Skipped,
    Video,
    VideoSet,
    carve_test,
    carve_validation,
    shared_groups,
)


def make_set(rows: Sequence[tuple[str, str, str]]) -> VideoSet:
    """A set of videos from (class, group, split) rows."""
    videos = tuple(
        Video(f"{i:04}", Path(f"/data/{i:04}.avi"), label, group, split)
        for i, (label, group, split) in enumerate(rows)
    )
    classes = tuple(sorted({video.label for video in videos}))
    return VideoSet(Path("/data"), "folder", classes, videos)


def of_sizes(**sizes: Sequence[int]) -> VideoSet:
    """A train set whose classes have groups, each of one class, of the given sizes."""
    return make_set(
        [
            (label, f"{label}{number}", "train")
            for label, counts in sizes.items()
            for number, count in enumerate(counts)
            for _ in range(count)
        ]
    )


def per_class(videos: VideoSet, split: str) -> Counter[str]:
    return Counter(video.label for video in videos.of_split(split))


train_sets = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from("uvwxyz"), st.just("train")),
    min_size=1,
    max_size=30,
).map(make_set)


def test_a_video_listed_twice_is_named() -> None:
    video = Video("a/x.avi", Path("/data/a/x.avi"), "a", "x", "train")
    with pytest.raises(InputError, match=r"a/x\.avi is listed twice in /data; list it once"):
        VideoSet(Path("/data"), "folder", ("a",), (video, video))


def test_without_moves_videos_to_the_skipped_ones() -> None:
    videos = of_sizes(a=[1, 1])
    rest = videos.without([Skipped("0000", "broken")])
    assert [video.id for video in rest.videos] == ["0001"]
    assert rest.skipped == (Skipped("0000", "broken"),)
    assert len(videos) == 2


def test_the_fingerprint_follows_splits() -> None:
    videos = of_sizes(a=[1] * 5, b=[1] * 5)
    assert carve_validation(videos, 0.2, 0).fingerprint() != videos.fingerprint()
    assert videos.noting("a note").fingerprint() == videos.fingerprint()


def test_shared_groups_names_the_splits_and_ignores_unused_videos() -> None:
    videos = make_set(
        [
            ("a", "both", "test"),
            ("b", "both", "train"),
            ("a", "one", "train"),
            ("a", "one", "unused"),
        ]
    )
    assert shared_groups(videos) == {"both": ("train", "test")}


def test_the_nearest_sum_of_groups_is_found() -> None:
    # A fifth of 20 is 4: of 9, 7, 3 and 1 only 3 + 1 make it.
    assert per_class(carve_validation(of_sizes(a=[9, 7, 3, 1]), 0.2, 0), "val") == {"a": 4}


def test_of_two_choices_equally_near_the_smaller_moves() -> None:
    # Half of 8 is 4, and 3 and 5 are equally far.
    for seed in range(5):
        assert per_class(carve_validation(of_sizes(a=[3, 5]), 0.5, seed), "val") == {"a": 3}


def test_each_class_that_can_gives_a_video_even_when_nothing_is_nearer() -> None:
    # A tenth of 12 is 1.2, so no video is nearer than a whole group; the smaller one goes.
    carved = carve_validation(of_sizes(a=[7, 5]), 0.1, 0)
    assert per_class(carved, "val") == {"a": 5}


def test_a_class_of_one_group_stays_in_train_and_is_noted() -> None:
    carved = carve_validation(of_sizes(alone=[4], many=[1] * 10), 0.3, 0)
    assert per_class(carved, "val") == {"many": 3}
    assert carved.notes[0] == (
        "The val split was carved out of train by group: 3 of 14 videos, 3 groups."
    )
    assert carved.notes[1].startswith("Classes without a val video")
    assert carved.notes[1].endswith(": 1 (alone).")


def test_a_group_of_two_classes_moves_whole_and_never_takes_a_last_video() -> None:
    # The spanning group is all that `b` has: it can never move.
    rows = [("a", f"g{i}", "train") for i in range(8)]
    rows += [("a", "span", "train"), ("b", "span", "train")]
    for seed in range(20):
        carved = carve_validation(make_set(rows), 0.5, seed)
        assert {v.split for v in carved.videos if v.group == "span"} == {"train"}
        # Half of 9 videos is 4.5: the smaller of the two nearest.
        assert per_class(carved, "val") == {"a": 4}


def test_groups_of_several_classes_give_their_share_too() -> None:
    rows = [(label, f"span{i}", "train") for i in range(10) for label in "ab"]
    rows += [(label, f"{label}{i}", "train") for i in range(10) for label in "ab"]
    carved = carve_validation(make_set(rows), 0.2, 0)
    assert per_class(carved, "val") == {"a": 4, "b": 4}
    moved = {video.group for video in carved.of_split("val")}
    assert sum(group.startswith("span") for group in moved) == 2


def test_an_official_validation_split_is_left_alone() -> None:
    videos = make_set([("a", "g", "train"), ("a", "h", "train"), ("a", "i", "val")])
    assert carve_validation(videos, 0.5, 0) is videos


def test_test_and_unused_videos_never_move() -> None:
    rows = [("a", f"g{i}", split) for split in ("train", "test", "unused") for i in range(6)]
    videos = make_set(rows)
    carved = carve_validation(videos, 0.3, 1)
    for split in ("test", "unused"):
        assert carved.of_split(split) == videos.of_split(split)


@pytest.mark.parametrize("share", [0.0, 1.0, -0.5, float("nan")])
def test_a_share_outside_of_0_to_1_is_refused(share: float) -> None:
    with pytest.raises(InputError, match="choose one between 0 and 1"):
        carve_validation(of_sizes(a=[1, 1]), share, 0)


def test_no_class_with_two_groups_is_an_error() -> None:
    with pytest.raises(InputError, match="No class of /data has train videos of two groups"):
        carve_validation(of_sizes(a=[3], b=[2]), 0.2, 0)


def test_no_train_video_is_an_error() -> None:
    with pytest.raises(InputError, match="no train video in /data"):
        carve_validation(make_set([("a", "g", "test")]), 0.2, 0)


@given(train_sets, st.floats(0.05, 0.9), st.integers(0, 5))
def test_carving_keeps_its_promises(videos: VideoSet, share: float, seed: int) -> None:
    before = videos.videos
    try:
        carved = carve_validation(videos, share, seed)
    except InputError:
        # Then no group can leave: each is all that one of its classes has.
        for group in {video.group for video in videos.videos}:
            labels = {video.label for video in videos.videos if video.group == group}
            others = {video.label for video in videos.videos if video.group != group}
            assert not labels <= others
        return
    assert videos.videos == before
    assert not shared_groups(carved)
    assert set(per_class(carved, "train")) == set(videos.classes)
    assert [(v.id, v.label, v.group) for v in carved.videos] == [
        (v.id, v.label, v.group) for v in before
    ]
    assert carve_validation(videos, share, seed) == carved


@given(st.lists(st.integers(1, 9), min_size=2, max_size=7), st.sampled_from([0.1, 0.2, 0.3, 0.5]))
def test_groups_of_one_class_come_as_close_as_any_choice(sizes: list[int], share: float) -> None:
    possible = {sum(some) for count in range(1, len(sizes)) for some in combinations(sizes, count)}
    nearest = min(abs(total - share * sum(sizes)) for total in possible)
    moved = per_class(carve_validation(of_sizes(a=sizes), share, 0), "val")["a"]
    assert moved in possible
    assert abs(moved - share * sum(sizes)) == pytest.approx(nearest)


def test_seeds_choose_different_groups() -> None:
    videos = of_sizes(a=[1] * 20, b=[1] * 20)
    choices = {
        tuple(video.group for video in carve_validation(videos, 0.2, seed).of_split("val"))
        for seed in range(10)
    }
    assert len(choices) == 10


def test_the_choice_is_the_same_on_every_machine() -> None:
    # Read off the SHA-256 of the names: a change here changes everybody's splits.
    carved = carve_validation(of_sizes(a=[1] * 10), 0.3, 0)
    assert sorted(video.group for video in carved.of_split("val")) == ["a4", "a7", "a9"]
    tested = carve_test(of_sizes(a=[1] * 10))
    assert sorted(video.group for video in tested.of_split("test")) == ["a1", "a3", "a4"]


def test_a_new_group_leaves_the_order_of_the_others_alone() -> None:
    few = carve_validation(of_sizes(a=[1] * 10, b=[1] * 10), 0.2, 0)
    more = carve_validation(of_sizes(a=[1] * 10, b=[1] * 10, c=[1] * 10), 0.2, 0)
    assert {v.group for v in few.of_split("val")} < {v.group for v in more.of_split("val")}


def test_the_test_split_has_its_share_of_each_class() -> None:
    carved = carve_test(of_sizes(a=[1] * 10, b=[2] * 20))
    assert per_class(carved, "test") == {"a": TEST_SHARE * 10, "b": TEST_SHARE * 40}
    assert carved.notes[0].startswith("The test split was carved out of train by group: 15 of 50")


def test_a_set_without_two_groups_stays_without_a_test_split() -> None:
    carved = carve_test(of_sizes(a=[3], b=[2]))
    assert not carved.of_split("test")
    assert carved.notes == ("There is no test split, and no class has two groups to carve one.",)


@pytest.mark.clips
def test_validation_of_the_real_clips_is_near_its_share(clips_root: Path) -> None:
    from l2a.formats import DataSettings, read_videos

    for split in "123":
        videos = read_videos(clips_root / "jhmdb12", DataSettings(split=split))
        carved = carve_validation(videos, 0.2, 0)
        assert not shared_groups(carved)
        moved, total = per_class(carved, "val"), per_class(videos, "train")
        for label in videos.classes:
            largest = max(Counter(v.group for v in videos.of_split("train")).values())
            assert 1 <= moved[label] <= 0.2 * total[label] + largest
        assert 0.18 < moved.total() / total.total() < 0.24


def test_a_note_says_where_every_video_counts_as_a_recording_of_its_own() -> None:
    alone = carve_validation(of_sizes(a=[1] * 5, b=[1] * 5), 0.2, 0)
    shared = carve_validation(of_sizes(a=[1] * 5, b=[2, 1, 1]), 0.2, 0)
    assert any("recording of its own" in note for note in alone.notes)
    assert not any("recording of its own" in note for note in shared.notes)
