"""Episodes: drawn by number, apart from one another; recordings kept apart; files equal draws."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from l2a.errors import InputError
from l2a.videos import Video
from train.few_shot.episodes import (
    DrawnEpisodes,
    Episode,
    EpisodeClips,
    EpisodeSettings,
    check_enough,
    draw_episode,
    labels_of,
)
from train.few_shot.saved import SavedEpisodes, check_episode_file, write_episodes

CLASSES = ("jump", "run", "sit", "wave")


def clips(per_class: int = 8, order: int = 0) -> EpisodeClips:
    """Videos `run/3.avi` of recordings of two each, in an order of the seed `order`."""
    videos = [
        Video(f"{name}/{k}.avi", "", name, f"{name}-{k // 2}", "train")
        for name in CLASSES
        for k in range(per_class)
    ]
    places = np.random.default_rng(order).permutation(len(videos))
    rows = 100 + 7 * np.arange(len(videos))
    return EpisodeClips.from_videos([videos[at] for at in places], rows.tolist(), CLASSES)


def ids(of: EpisodeClips, rows: np.ndarray) -> list[list[str]]:
    name = dict(zip(of.rows.tolist(), of.ids, strict=True))
    return [[name[row] for row in line] for line in rows.tolist()]


def same(one: Episode, other: Episode) -> bool:
    return one.number == other.number and all(
        np.array_equal(getattr(one, part), getattr(other, part))
        for part in ("classes", "support", "query")
    )


def test_an_episode_has_other_clips_to_ask_about_than_to_learn_from() -> None:
    of = clips()
    asked = EpisodeSettings(way=3, shot=4, queries=2)
    for episode in map(DrawnEpisodes(of, asked, 50).__getitem__, range(50)):
        assert episode.support.shape == (3, 4)
        assert episode.query.shape == (3, 2)
        both = np.concatenate([episode.support, episode.query], axis=1)
        assert len(np.unique(both)) == both.size
        assert len(np.unique(episode.classes)) == 3
        for place, names in enumerate(ids(of, both)):
            assert {name.split("/")[0] for name in names} == {CLASSES[episode.classes[place]]}
    assert labels_of(episode.query).tolist() == [0, 0, 1, 1, 2, 2]


def test_any_episode_is_drawn_without_those_before_it_and_wherever_clips_lie() -> None:
    asked = EpisodeSettings(way=2, shot=2, queries=2, seed=5)
    here, there = clips(order=0), clips(order=1)
    all_of_them = DrawnEpisodes(here, asked, 20)
    forward = [all_of_them[number] for number in range(20)]
    assert same(draw_episode(here, asked, 13), forward[13])
    elsewhere = draw_episode(there, asked, 13)
    assert ids(there, elsewhere.support) == ids(here, forward[13].support)
    assert ids(there, elsewhere.query) == ids(here, forward[13].query)
    assert len({tuple(one.support.ravel()) for one in forward}) > 15
    other_seed = EpisodeSettings(way=2, shot=2, queries=2, seed=6)
    assert not same(draw_episode(here, other_seed, 13), forward[13])
    with pytest.raises(IndexError):
        all_of_them[20]


def test_more_shots_are_the_same_ones_and_more() -> None:
    of = clips()
    five = draw_episode(of, EpisodeSettings(way=3, shot=5, queries=2), 4)
    two = draw_episode(of, EpisodeSettings(way=3, shot=2, queries=2), 4)
    assert same(five.with_shots(2), two)


def grouped(sizes: list[int]) -> EpisodeClips:
    """Two classes; recordings of the first have these numbers of clips."""
    videos = [
        Video(f"a/{group}-{k}", "", "a", f"a{group}", "train")
        for group, size in enumerate(sizes)
        for k in range(size)
    ] + [Video(f"b/{k}", "", "b", f"b{k}", "train") for k in range(12)]
    return EpisodeClips.from_videos(videos, range(len(videos)), ("a", "b"))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=5), st.integers(1, 4), st.integers(1, 4))
def test_recordings_are_on_one_side_wherever_that_can_be(
    sizes: list[int], shot: int, queries: int
) -> None:
    of = grouped(sizes)
    asked = EpisodeSettings(way=2, shot=shot, queries=queries, group_disjoint=True)
    possible = any(
        sum(chosen) >= queries and sum(sizes) - sum(chosen) >= shot
        for count in range(len(sizes) + 1)
        for chosen in combinations(sizes, count)
    )
    if not possible:
        with pytest.raises(InputError, match=r"too few|cannot be parted"):
            check_enough(of, asked)
        return
    check_enough(of, asked)
    group = dict(zip(of.rows.tolist(), of.groups, strict=True))
    for number in range(5):
        episode = draw_episode(of, asked, number)
        assert episode.support.shape == (2, shot)
        assert episode.query.shape == (2, queries)
        for shown, wanted in zip(episode.support.tolist(), episode.query.tolist(), strict=True):
            assert not {group[row] for row in shown} & {group[row] for row in wanted}
            assert len(set(shown)) == shot


def test_without_the_option_recordings_are_on_both_sides_at_times() -> None:
    of = grouped([3, 3])
    group = dict(zip(of.rows.tolist(), of.groups, strict=True))
    asked = EpisodeSettings(way=2, shot=3, queries=2)
    leaks = 0
    for number in range(20):
        one = draw_episode(of, asked, number)
        shown, wanted = ({group[row] for row in side.ravel()} for side in (one.support, one.query))
        leaks += bool(shown & wanted)
    assert leaks > 5


def test_what_cannot_be_drawn() -> None:
    with pytest.raises(InputError, match="Episodes of 5 classes cannot be drawn from 4 classes"):
        DrawnEpisodes(clips(), EpisodeSettings(way=5), 1)
    with pytest.raises(
        InputError, match=r"'jump' has 5 clips \(and 3 other .*, too few for 5 shots and 1 query"
    ):
        DrawnEpisodes(clips(5), EpisodeSettings(way=2, shot=5), 1)
    with pytest.raises(InputError, match="come from 1 recording, which cannot be parted"):
        DrawnEpisodes(grouped([9]), EpisodeSettings(2, 1, 1, group_disjoint=True), 1)
    with pytest.raises(InputError, match="shot is 0"):
        EpisodeSettings(shot=0)


def test_episodes_of_a_file_equal_those_drawn_also_in_another_bank(tmp_path: Path) -> None:
    asked = EpisodeSettings(way=3, shot=2, queries=2, seed=9)
    here, there = clips(order=0), clips(order=1)
    drawn = DrawnEpisodes(here, asked, 25)
    path = tmp_path / "episodes.jsonl"
    write_episodes(path, drawn)
    saved = SavedEpisodes(path, here)
    assert len(saved) == 25
    assert saved.settings == asked
    assert all(same(saved[number], drawn[number]) for number in (24, 0, 7))
    elsewhere = SavedEpisodes(path, there)[7]
    assert ids(there, elsewhere.support) == ids(here, drawn[7].support)
    assert elsewhere.support.dtype == elsewhere.classes.dtype == np.int64
    write_episodes(tmp_path / "again.jsonl", saved)
    assert (tmp_path / "again.jsonl").read_bytes() == path.read_bytes()
    with pytest.raises(IndexError):
        saved[25]


def test_a_file_that_names_other_videos_or_is_damaged(tmp_path: Path) -> None:
    of = clips()
    path = tmp_path / "episodes.jsonl"
    write_episodes(path, DrawnEpisodes(of, EpisodeSettings(way=2, shot=1), 3))
    with pytest.raises(InputError, match=r"4 of the 32 videos .* such as '"):
        SavedEpisodes(path, clips(7))
    lines = path.read_text().splitlines(keepends=True)
    episode = json.loads(lines[2])

    def refused(second: str, message: str) -> None:
        bad = tmp_path / "bad.jsonl"
        bad.write_text("".join([*lines[:2], second, lines[3]]))
        with pytest.raises(InputError, match=message):
            SavedEpisodes(bad, of)[1]

    refused(lines[2][:-4] + "\n", r"Episode 1 of .* \(line 3\) is damaged")
    twice = [episode[0], [[v] for [v] in episode[2]], episode[2]]
    refused(json.dumps(twice) + "\n", "is damaged")  # support and query are the same clips
    refused(json.dumps([episode[0][::-1], *episode[1:]]) + "\n", "is damaged")  # other classes
    refused(json.dumps([[-1, 0], *episode[1:]]) + "\n", "is damaged")
    refused("", "holds 2 of 3 episodes")
    (tmp_path / "other.jsonl").write_text('{"kind": "something"}\n')
    with pytest.raises(InputError, match="is no file of episodes"):
        SavedEpisodes(tmp_path / "other.jsonl", of)


def test_a_file_that_keeps_recordings_apart_does_so_with_the_recordings_of_here(
    tmp_path: Path,
) -> None:
    of, path = clips(), tmp_path / "episodes.jsonl"
    write_episodes(path, DrawnEpisodes(of, EpisodeSettings(2, 1, 1, group_disjoint=True), 1))
    assert SavedEpisodes(path, of)[0].number == 0
    # Whoever tells recordings otherwise, here by the class alone, has them on both sides.
    one_each = replace(of, groups=tuple(id_.split("/")[0] for id_ in of.ids))
    with pytest.raises(InputError, match=r"recording '\w+' is on both sides of its episode 0"):
        SavedEpisodes(path, one_each)[0]
    shown = [line.replace('"group_disjoint":true', '"group_disjoint":false')
             for line in path.read_text().splitlines(keepends=True)]  # fmt: skip
    path.write_text("".join(shown))
    assert SavedEpisodes(path, one_each)[0].number == 0


def test_recordings_apart_are_refused_of_a_file_that_mixes_them(
    tmp_path: Path,
) -> None:
    path, asked = tmp_path / "episodes.jsonl", EpisodeSettings(way=2, shot=2)
    write_episodes(path, DrawnEpisodes(clips(), asked, 3))
    apart = replace(asked, group_disjoint=True)
    check_episode_file(path, replace(asked, shot=1), 3, begun=False)
    with pytest.raises(InputError, match="was drawn without --group-disjoint"):
        check_episode_file(path, apart, 3, begun=False)
    check_episode_file(path, apart, 3, begun=True)  # an earlier version's run goes on
    with pytest.raises(InputError, match="2, 3 and 1 are asked for"):
        check_episode_file(path, replace(asked, shot=3), 3, begun=False)
    with pytest.raises(InputError, match="give --episodes 3"):
        check_episode_file(path, asked, 4, begun=False)
    write_episodes(path, DrawnEpisodes(clips(), apart, 3))
    check_episode_file(path, apart, 3, begun=False)
    check_episode_file(path, asked, 3, begun=False)  # more than was asked for
