"""Composites of episodes: whose actor, whose scene, and that no query is ever in one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from train.few_shot.composites import (
    Candidates,
    Compositor,
    KnownScores,
    draw_candidates,
    refuse_leaks,
)
from train.few_shot.episodes import DrawnEpisodes, EpisodeClips, EpisodeSettings

NOVEL = np.arange(100, 148)  # four classes of twelve clips
BASE = np.arange(30)
VALIDATION = np.arange(200, 220)
IDS = tuple(f"v{row}" for row in range(300))


def clips() -> EpisodeClips:
    labels = np.repeat(np.arange(4), 12)
    groups = tuple(f"g{row // 3}" for row in NOVEL)
    return EpisodeClips(tuple("abcd"), tuple(IDS[r] for r in NOVEL), groups, labels, NOVEL)


def nearest(pairs: np.ndarray) -> np.ndarray:
    """A score that likes scenes whose last digit is the actor's."""
    found: np.ndarray = (-((pairs[:, 0] - pairs[:, 1]) % 10)).astype(np.float32)
    return found


def base_compositor(choice: str, count: int, unfit: frozenset[int] = frozenset()) -> Compositor:
    actors = np.array([row for row in NOVEL if row not in unfit])
    found = draw_candidates(actors, lambda row: BASE, IDS, 5, seed=3).rank(nearest)
    return Compositor(choice, count, 7, found, nearest, frozenset(actors.tolist()), frozenset())  # type: ignore[arg-type]


def support_compositor(choice: str, count: int) -> Compositor:
    every = frozenset(NOVEL.tolist())
    return Compositor(choice, count, 7, None, nearest, every, every - {103, 104})  # type: ignore[arg-type]


@pytest.mark.parametrize("choice", ["random", "selector"])
@pytest.mark.parametrize("make", [base_compositor, support_compositor])
def test_nothing_leaks_in_a_thousand_episodes(make: object, choice: str) -> None:
    """Checked apart from `refuse_leaks`: sets of rows, one episode after the other."""
    compositor = make(choice, 5)  # type: ignore[operator]
    episodes = DrawnEpisodes(clips(), EpisodeSettings(4, 5, 2), 1000)
    used: set[int] = set()
    for episode in (episodes[number] for number in range(1000)):
        pairs = compositor.pairs(episode.support, episode.number)
        refuse_leaks(episode.support[None], episode.query[None], pairs[None], BASE)
        assert pairs.shape == (4, 5, 2)
        shown, asked = set(episode.support.ravel()), set(episode.query.ravel())
        for own, made in zip(episode.support, pairs, strict=True):
            assert set(made[:, 0]) <= set(own)
        rows = set(pairs.ravel().tolist())
        assert not rows & asked
        assert not rows & set(VALIDATION)
        assert rows & set(NOVEL.tolist()) <= shown
        used |= rows
    assert used >= set(NOVEL.tolist())  # the test has seen every clip as an actor


def test_refuse_leaks_finds_each_kind() -> None:
    support, queries = np.array([[[100, 101], [112, 113]]]), np.array([[[102], [114]]])
    good = np.array([[[[100, 3]], [[113, 112]]]])
    refuse_leaks(support, queries, good, BASE)
    for bad, what in (
        ([[[[102, 3]], [[113, 4]]]], "an actor"),  # a query as actor
        ([[[[112, 3]], [[113, 4]]]], "an actor"),  # another class's support
        ([[[[100, 103]], [[113, 4]]]], "a scene"),  # a novel clip beyond the support
        ([[[[100, 200]], [[113, 4]]]], "a scene"),  # a validation clip
        ([[[[100, 114]], [[113, 4]]]], "a scene"),  # a query as scene
    ):
        with pytest.raises(ValueError, match=what):
            refuse_leaks(support, queries, np.array(bad), BASE)
    # A row that is base and query at once can be no other kind of leak.
    with pytest.raises(ValueError, match="a query"):
        refuse_leaks(support, queries, np.array([[[[100, 102]], [[113, 4]]]]), np.array([4, 102]))


def test_support_clips_take_turns_and_the_best_scene_comes_first() -> None:
    ranked = {100: np.array([7, 8, 9]), 101: np.array([4, 5])}
    compositor = Compositor(
        "selector", 5, 0, Candidates(ranked, ranked), None, frozenset(ranked), frozenset()
    )
    made = compositor.pairs(np.array([[100, 101]]), 0)
    assert made[0].tolist() == [[100, 7], [101, 4], [100, 8], [101, 5], [100, 9]]


def test_random_scenes_are_each_used_once_before_any_is_used_again() -> None:
    made = base_compositor("random", 5).pairs(np.array([[100]]), 11)[0]
    own = draw_candidates(NOVEL, lambda row: BASE, IDS, 5, seed=3).scenes[100]
    assert sorted(made[:, 1]) == sorted(own)


def test_a_clip_without_an_actor_gives_its_turn_away() -> None:
    compositor = base_compositor("random", 4, unfit=frozenset({101, 112, 113}))
    made = compositor.pairs(np.array([[100, 101], [112, 113]]), 2)
    assert set(made[0, :, 0]) == {100}
    # No actor in the class: its clips stand for themselves, and a prototype stays where it is.
    assert made[1].tolist() == [[112, 112], [113, 113], [112, 112], [113, 113]]


@given(st.integers(0, 10**6), st.integers(1, 5))
def test_an_episode_s_composites_depend_on_its_number_alone(number: int, count: int) -> None:
    support = NOVEL.reshape(4, 12)[:, :3]
    one, other = base_compositor("random", count), base_compositor("random", count)
    other.pairs(support, number + 1)
    assert (one.pairs(support, number) == other.pairs(support, number)).all()


def test_candidates_follow_from_a_clip_s_own_name() -> None:
    alone = draw_candidates(np.array([117]), lambda row: BASE, IDS, 5, seed=3)
    among = draw_candidates(NOVEL, lambda row: BASE, IDS, 5, seed=3)
    assert (alone.scenes[117] == among.scenes[117]).all()
    assert len(set(map(tuple, among.scenes.values()))) > 40
    ranked = among.rank(nearest).ranked
    assert ranked is not None
    for actor, scenes in ranked.items():
        scores = nearest(np.stack([np.full_like(scenes, actor), scenes], axis=1))
        assert (np.diff(scores) <= 0).all()
        assert sorted(scenes) == sorted(among.scenes[actor])


def test_each_pair_is_scored_once() -> None:
    """And as many at a time as are known of."""
    asked: list[int] = []

    def score(pairs: np.ndarray) -> np.ndarray:
        asked.append(len(pairs))
        return nearest(pairs)

    plain = support_compositor("selector", 3)
    known = replace(plain, score=KnownScores(score))
    supports = np.stack([NOVEL.reshape(4, 12)[:, start : start + 2] for start in (0, 1)])
    known.expect(supports)
    made = [known.pairs(support, number) for number, support in enumerate(supports)]
    assert len(asked) == 1
    for number, support in enumerate(supports):
        assert (made[number] == plain.pairs(support, number)).all()
