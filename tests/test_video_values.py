"""Values of real videos: by hand, in file and report, and what --drop-real does with them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from tiny_run import train_tiny

from l2a.cli import main
from l2a.errors import InputError
from l2a.pairs import read_pairs
from l2a.runs import Run
from semantic_match.match import ClassMatch
from semantic_match.pool import Pool
from train.arms import plan_arms
from train.mix import NO_PAIRS, MixedBatches, TrainingMix
from train.prepared import Matching, PreparedData
from train.settings.full import StageTwoSettings
from train.video_table import VIDEOS, VideoRow, dropped_videos, read_videos_table, write_videos
from train.video_values import (
    VideoValues,
    _means,
    _ranks,
    keep_values,
    least_valued,
    probe_figures,
    value_videos,
)

CLASSES = ("jump", "run")


@dataclass(frozen=True)
class Known:
    """A Selector whose logits are known: what a foreground and a background are worth, summed.

    A video that does not carry its class of `classes` is worth 10 less on either side.
    """

    foreground: NDArray[np.float64]
    background: NDArray[np.float64]
    classes: NDArray[np.int64]

    @property
    def card(self) -> Any:
        config = SimpleNamespace(agreement_scale=1.0, agreement_across="recordings")
        return SimpleNamespace(config=config)

    def inputs(self, prepared: PreparedData, matching: Matching) -> tuple[torch.Tensor, ...]:
        labels = torch.from_numpy(prepared.source.labels)
        right = labels == torch.from_numpy(self.classes)
        return right.double()[:, None], labels

    def scorer(self, features: torch.Tensor, labels: torch.Tensor) -> Any:
        wrong = 1 - features[:, 0].numpy()

        def score(numbers: NDArray[np.int64], pairs: NDArray[np.int64]) -> torch.Tensor:
            f, b = pairs.T
            known = self.foreground[f] + self.background[b]
            return torch.from_numpy(known - 10 * wrong[f] - 10 * wrong[b])

        return score


@dataclass(frozen=True)
class Labels:
    labels: NDArray[np.int64]
    soft: None = None


def world(
    labels: list[int], foregrounds: list[int], backgrounds: list[int], within: bool = False
) -> tuple[PreparedData, Matching]:
    """Videos v0, v1, ... with these classes, all of them for training; other classes are matched,
    and with `within` their own too."""
    ids = [f"v{row}" for row in range(len(labels))]
    videos = {
        id_: SimpleNamespace(id=id_, label=CLASSES[label], group=f"g{row}", split="train")
        for row, (id_, label) in enumerate(zip(ids, labels, strict=True))
    }
    records = {
        id_: SimpleNamespace(
            foreground_unfit="" if row in foregrounds else "mask too small",
            background_unfit="" if row in backgrounds else "background never seen",
        )
        for row, id_ in enumerate(ids)
    }
    prepared = PreparedData(
        cast(Any, SimpleNamespace(classes=CLASSES, videos=list(videos.values()))),
        cast(Any, Ids(ids)),
        cast(Any, Labels(np.array(labels, np.int64))),
        {"train": np.arange(len(labels))},
        cast(Any, records),
        cast(Any, None),
    )
    matches = [ClassMatch(f, b, 0.0) for f in (0, 1) for b in (0, 1) if within or f != b]
    sides = [np.array(side, np.int64) for side in (foregrounds, backgrounds)]
    rows = [[list(part) for part in prepared.rows_by_class(side)] for side in sides]
    pool = Pool(rows[0], rows[1], matches)
    vectors = np.eye(2, dtype=np.float32)
    return prepared, Matching("", "all", vectors, tuple(matches), sides[0], sides[1], pool)


class Ids:
    """Of a bank, its ids."""

    def __init__(self, ids: list[str]) -> None:
        self.ids = ids

    def __len__(self) -> int:
        return len(self.ids)


def valued(
    labels: list[int], known: Known, foregrounds: list[int], backgrounds: list[int],
    within: bool = False,
) -> tuple[VideoValues, PreparedData, Matching]:  # fmt: skip
    prepared, matching = world(labels, foregrounds, backgrounds, within)
    return value_videos(cast(Any, known), prepared, matching, 0), prepared, matching


# Values.


def test_values_are_means_over_the_partners_by_hand() -> None:
    known = Known(np.array([1.0, 2, 3, 4]), np.array([0.5, 0.25, 0, 1]), np.array([0, 0, 1, 1]))
    values, _, _ = valued([0, 0, 1, 1], known, [0, 1, 2], [0, 2, 3])
    # Video 0 meets the scenes of 2 and 3, video 2 that of 0; 3 lends no actor, 1 no scene.
    assert values.foreground.tolist()[:3] == [1.5, 2.5, 3.5] and np.isnan(values.foreground[3])
    assert values.background[[0, 2, 3]].tolist() == [3.5, 1.5, 2.5]
    assert np.isnan(values.background[1])
    assert values.value.tolist() == [2.5, 2.5, 2.5, 2.5]
    assert values.agreement.tolist() == [1, 1, 1, 1]


def test_no_video_is_its_own_partner() -> None:
    known = Known(np.zeros(3), np.array([7.0, 1, 4]), np.zeros(3, np.int64))
    values, _, _ = valued([0, 0, 0], known, [0, 1, 2], [0, 1, 2], within=True)
    assert values.foreground.tolist() == [2.5, 5.5, 4]
    alone, _, _ = valued(
        [0], Known(np.zeros(1), np.zeros(1), np.zeros(1, np.int64)), [0], [0], True
    )
    assert np.isnan(alone.value).all()


def test_as_many_partners_count_whether_the_video_is_among_them_or_not() -> None:
    def partner(numbers: NDArray[np.int64], pairs: NDArray[np.int64]) -> torch.Tensor:
        return torch.tensor([10.0, 20, 40, 80])[torch.from_numpy(pairs[:, 1].copy())]

    # Of two partners, 0 and 1, and 2 to spare: video 3 meets the two, 0 the spare one, too.
    found = _means(cast(Any, partner), np.array([3, 0, 2]), np.array([0, 1, 2]), 2, first=True)
    assert found.tolist() == [15, 30, 15]


def test_many_partners_are_sampled_alike_for_all_videos_of_a_class() -> None:
    rng = np.random.default_rng(1)
    known = Known(np.arange(300.0), rng.normal(size=300), np.repeat([0, 1], 150))
    rows = list(range(300))
    labels = [0] * 150 + [1] * 150
    values, prepared, matching = valued(labels, known, rows, rows)
    assert values.partners == 64
    for part in (slice(0, 150), slice(150, 300)):
        assert np.allclose(np.diff(values.foreground[part]), 1)
    again = value_videos(cast(Any, known), prepared, matching, 0)
    other = value_videos(cast(Any, known), prepared, matching, 1)
    assert np.array_equal(values.value, again.value)
    assert not np.array_equal(values.value, other.value)


def test_ranks_within_a_class_by_hand() -> None:
    values = np.array([3.0, 1, 1, np.nan, 9, 2])
    ranks = _ranks(values, np.array([0, 0, 0, 0, 1, 2]))
    assert ranks[[0, 1, 2, 4, 5]].tolist() == [1, 0.25, 0.25, 0.5, 0.5]
    assert np.isnan(ranks[3])


def test_values_tell_what_the_probe_mislabelled() -> None:
    labels = [0, 1] * 10
    known = Known(np.zeros(20), np.zeros(20), np.array(labels))
    rows = list(range(20))
    values, prepared, matching = valued(labels, known, rows, rows)
    assert np.ptp(values.value) == 0  # under their right labels all are alike
    figures = probe_figures(cast(Any, known), prepared, matching, 0.2, 3)
    assert figures is not None
    # A wrong one loses 10 by itself; which partners are wrong moves the rest by less.
    assert figures["value"] == figures["label_agreement"] == 1
    assert (figures["mislabelled"], figures["others"]) == (4, 16)


# What is dropped.


def values_of(value: NDArray[np.float64], classes: NDArray[np.int64]) -> VideoValues:
    return VideoValues(np.arange(len(value)), classes, value, value, value, 1)


def test_the_least_are_dropped_and_of_no_class_more_than_half() -> None:
    value = np.array([0.0, 1, 2, 3, 9, 8, 7, np.nan])
    values = values_of(value, np.array([0, 0, 0, 0, 1, 1, 1, 1]))
    assert np.flatnonzero(least_valued(values, 0.25)).tolist() == [0, 1]
    assert np.flatnonzero(least_valued(values, 0.5)).tolist() == [0, 1, 6]
    assert not least_valued(values, 0).any()


def test_a_share_is_of_the_videos_that_have_a_value() -> None:
    """Of 100 videos 32 can be judged: a quarter of these is 8, and of each class half of its 16."""
    value = np.full(100, np.nan)
    value[:32] = np.arange(32)
    values = values_of(value, np.repeat([0, 1, 0, 1], [16, 16, 34, 34]))
    assert np.flatnonzero(least_valued(values, 0.25)).tolist() == list(range(8))
    assert np.flatnonzero(least_valued(values, 0.5)).tolist() == [*range(8), *range(16, 24)]


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.one_of(st.none(), st.integers(-3, 3))), min_size=1,
        max_size=40,
    ),
    st.floats(0, 0.5),
)  # fmt: skip
def test_no_class_is_emptied(videos: list[tuple[int, int | None]], share: float) -> None:
    classes = np.array([label for label, _ in videos])
    value = np.array([np.nan if worth is None else worth for _, worth in videos], float)
    dropped = least_valued(values_of(value, classes), share)
    valued = np.isfinite(value)
    assert dropped.sum() <= round(share * int(valued.sum()))
    assert not dropped[~valued].any()
    for label in np.unique(classes[valued]):
        own = valued & (classes == label)
        assert dropped[own].sum() <= own.sum() // 2
        kept, gone = value[own & ~dropped], value[own & dropped]
        if len(gone) and np.isfinite(kept).any():
            assert gone.max() <= np.nanmin(kept)


def test_a_pool_without_dropped_videos_keeps_their_neighbours() -> None:
    known = Known(np.arange(6.0), np.arange(6.0), np.array([0, 0, 0, 1, 1, 1]))
    _, prepared, matching = valued([0, 0, 0, 1, 1, 1], known, [0, 1, 2, 3, 4], [1, 2, 3, 4, 5])
    kept = matching.without(np.array([0, 5]), prepared)
    assert kept.foregrounds.tolist() == [1, 2, 3, 4]
    assert kept.backgrounds.tolist() == [1, 2, 3, 4]
    assert not np.isin(kept.pool.block(0, len(kept.pool)), [0, 5]).any()
    assert len(kept.pool) == 8 and len(matching.pool) == 13
    assert kept.rows.tolist() == matching.rows.tolist()  # label agreement is among all of them
    assert matching.without(np.empty(0, np.int64), prepared) is matching


def test_the_table_is_what_was_computed(tmp_path: Path) -> None:
    known = Known(np.array([1.0, 2, 3, 4]), np.array([0.5, 0.25, 0, 1]), np.array([0, 0, 1, 1]))
    prepared, matching = world([0, 0, 1, 1], [0, 1, 2], [0, 2, 3])
    path = tmp_path / VIDEOS
    dropped = keep_values(path, cast(Any, known), prepared, matching, 0, drop_real=0.25)
    rows, meta = read_videos_table(path)
    assert meta == {"drop_real": 0.25, "partners": 64, "seed": 0}
    assert rows[1] == VideoRow(
        "v1", "jump", "g1", "train", 2.5, None, 2.5, 1.0, None, 0.5, 1.0, "",
        "background never seen", False,
    )  # fmt: skip
    assert dropped.tolist() == [0] and dropped_videos(path) == {"v0"}  # ties: the first
    before = path.read_bytes()
    keep_values(path, cast(Any, known), prepared, matching, 0, drop_real=0.25)
    assert path.read_bytes() == before


def test_a_damaged_table_is_refused(tmp_path: Path) -> None:
    path = tmp_path / VIDEOS
    assert dropped_videos(path) == frozenset()
    path.write_bytes(b"PAR1")
    with pytest.raises(InputError, match="not a table of values"):
        read_videos_table(path)
    write_videos(path, [], {})
    assert read_videos_table(path) == ([], {})


# Arms and steps.


def test_which_arms_are_without_the_dropped() -> None:
    def arms(**settings: Any) -> list[tuple[str, str, bool]]:
        stage = StageTwoSettings(drop_real=0.25, **settings)
        return [(plan.name, plan.pairs, plan.drops) for plan in plan_arms(stage)]

    assert arms() == [("selector", "selector", True)]
    assert arms(compare=True, augment="videomix selector+videomix") == [
        ("selector", "selector", True),
        ("none", "none", False),
        ("random", "random", False),
        ("drop", "none", True),
        ("videomix", "none", False),
        ("selector+videomix", "selector", True),
    ]
    assert not any(plan.drops for plan in plan_arms(StageTwoSettings(compare=True)))


def test_without_a_selector_nothing_can_be_dropped() -> None:
    with pytest.raises(InputError, match=r"--drop-real 0\.25 .*--selection none uses none"):
        plan_arms(StageTwoSettings(selection="none", drop_real=0.25, compare=True))
    with pytest.raises(InputError, match=r"drop_real is 0\.6"):
        StageTwoSettings(drop_real=0.6)


def test_fewer_clips_take_as_many_steps_of_the_same_size() -> None:
    class Rows:
        """A source that says which rows it was asked for."""

        def real(self, rows: NDArray[np.int64], *given: Any, masks: bool) -> list[int]:
            return rows.tolist()

    def batches(mix: TrainingMix) -> list[list[int]]:
        made = MixedBatches(cast(Any, Rows()), mix, 4, True, seed=0, epochs=3)
        return [cast(Any, made[step]) for step in range(len(made))]

    full = batches(TrainingMix(np.arange(12), NO_PAIRS, 0, clips_per_epoch=12))
    kept = batches(TrainingMix(np.arange(9), NO_PAIRS, 0, clips_per_epoch=12))
    assert [len(batch) for batch in kept] == [len(batch) for batch in full] == [4] * 9
    assert full == batches(TrainingMix(np.arange(12), NO_PAIRS, 0))
    # Three epochs of twelve are four passes over nine: each clip is drawn four times.
    assert np.bincount(np.concatenate(kept)).tolist() == [4] * 9


# A run.


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("values")
    return train_tiny(
        folder, drop_real=0.25, matches="independent", repeats=1, export=True,
        include_real="copy", scene_test=False,
    )  # fmt: skip


def test_a_run_drops_what_its_table_says(run: Path) -> None:
    rows, meta = read_videos_table(run / VIDEOS)
    assert len(rows) == 18 and all(row.value is not None for row in rows)
    dropped = dropped_videos(run / VIDEOS)
    assert len(dropped) == 4
    least = sorted(rows, key=lambda row: row.value or 0.0)
    if max(sum(row.label == name for row in least[:4]) for name in {r.label for r in rows}) <= 3:
        assert dropped == {row.video for row in least[:4]}
    assert meta["probe"]["mislabelled"] == 4 and 0 <= meta["probe"]["value"] <= 1
    pairs, _ = read_pairs(run / "pairs.parquet")
    assert not dropped & {id_ for pair in pairs for id_ in (pair.foreground, pair.background)}
    originals = {path.read_bytes() for path in (run / "export" / "real").iterdir()}
    absent = {row.video for row in rows if (run.parent / "data" / row.video).read_bytes()
              not in originals}  # fmt: skip
    assert absent == dropped and len(originals) == 20  # those of validation among them
    arms = json.loads((run / "metrics.json").read_text())["arms"]
    assert list(arms) == ["selector", "none", "random", "drop"]
    assert "real clips kept, no composites" in (run / "table.txt").read_text()
    assert Run(run).read()["settings"]["drop_real"] == 0.25


def test_the_same_run_again_gives_the_same_table(run: Path) -> None:
    before = [(run / name).read_bytes() for name in (VIDEOS, "pairs.parquet")]
    for name in (VIDEOS, "pairs.parquet"):
        (run / name).unlink()
    data, config = run.parent / "data", run.parent / "small.yaml"
    assert main(["train", str(data), "--config", str(config), "--out", str(run)]) == 0
    assert [(run / name).read_bytes() for name in (VIDEOS, "pairs.parquet")] == before


def test_the_report_plays_the_worst(run: Path) -> None:
    text = (run / "report.html").read_text()
    section = text[text.index('<section id="worst"') : text.index('<section id="maps"')]
    rows, _ = read_videos_table(run / VIDEOS)
    worst = min(rows, key=lambda row: row.value or 0.0)
    assert section.count("<video") == 12 and "data:video/mp4" in section
    clip = section[section.index("<figcaption") : section.index("</figcaption")]
    assert worst.video in clip and f"value {worst.value:.2f}".replace("-", "−") in clip
    assert "4 of them were left out" in section and "AUROC" in section
    assert "scene classes come with the actors of one class only" in text
