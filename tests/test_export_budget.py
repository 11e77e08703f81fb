"""Budgets of an export: exact whatever falls out, extended, resumed after any kind of death."""

from __future__ import annotations

import random
import time
import tracemalloc
from collections import Counter
from multiprocessing import get_context
from pathlib import Path

import pytest
from fake_export import (
    IDS,
    META,
    ROWS,
    VIDEOS,
    FakeStore,
    export,
    pair,
    table,
    tree,
)
from hypothesis import given
from hypothesis import strategies as st

from compositing.clipfolder import (
    _FROM_PROVENANCE,
    ClipRecord,
    video_path,
    write_record,
)
from compositing.replacing import next_best
from compositing.settings import ExportSettings
from l2a.errors import InputError
from l2a.pairs import ScoredPair
from l2a.videos import Video


def made_when(folder):
    return {path.name: path.stat().st_mtime_ns for path in (folder / "videos").iterdir()}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    out = tmp_path_factory.mktemp("export") / "out"
    return out, export(out)


SPARES = (pair(4, 1, 0.5), pair(0, 3, 0.4), pair(6, 2, 0.3))


def made_of(out):
    return [(row["foreground"], row["background"]) for row in table(out)]


def names_of(*rows):
    return [(row.foreground, row.background) for row in rows]


def test_the_next_best_take_the_place_of_pairs_that_fall_out(tmp_path):
    """The background of the second cannot be read, and the foreground of the last is unfit."""
    store = FakeStore(unreadable=(IDS[5],), unfit=(IDS[7],))
    report = export(tmp_path / "out", store=store, spares=SPARES)
    assert (report.made, report.replaced, report.missing) == (4, 2, 0)
    assert made_of(tmp_path / "out") == names_of(ROWS[0], ROWS[2], *SPARES[:2])
    assert {(row.foreground, row.reason) for row in report.skipped} == {
        (IDS[2], f"{IDS[5]}: the file is empty"),
        (IDS[7], f"{IDS[7]}: mask too small"),
    }
    assert "2 of the clips are the next best in place of others" in str(report)


def test_spares_can_fall_out_and_can_be_too_few(tmp_path):
    store = FakeStore(unreadable=(IDS[5], IDS[7], IDS[4]), unfit=(IDS[6],))
    report = export(tmp_path / "out", store=store, spares=SPARES)
    assert (report.made, report.replaced, report.missing) == (3, 1, 1)
    assert made_of(tmp_path / "out") == names_of(ROWS[0], ROWS[2], SPARES[1])
    assert "1 fewer than the budget" in str(report)
    assert len(report.skipped) == 4


def test_a_balanced_choice_is_replaced_within_the_class(tmp_path):
    store = FakeStore(unreadable=(IDS[6],))
    balanced = META | {"balance": "equal"}
    report = export(tmp_path / "out", store=store, spares=SPARES, meta=balanced)
    assert report.replaced == 1
    # The first spare pair is of another class than the one that fell out; the second is not.
    assert made_of(tmp_path / "out") == names_of(ROWS[0], ROWS[1], ROWS[3], SPARES[1])


def test_a_budget_below_the_pairs_takes_the_best_and_spares_the_rest(tmp_path):
    report = export(tmp_path / "out", budget=2)
    assert report.made == 2
    assert made_of(tmp_path / "out") == names_of(*ROWS[:2])
    report = export(tmp_path / "two", budget=2, store=FakeStore(unreadable=(IDS[5],)))
    assert made_of(tmp_path / "two") == names_of(ROWS[0], ROWS[2])


def test_what_is_complete_stays_when_a_video_can_be_read_again(tmp_path):
    """The same call adds only what is missing, and nothing is."""
    out = tmp_path / "out"
    export(out, store=FakeStore(unreadable=(IDS[5],)), spares=SPARES)
    before = tree(out)
    report = export(out, spares=SPARES)
    assert (report.made, report.reused, report.replaced) == (0, 4, 1)
    assert tree(out) == before


def test_a_smaller_budget_is_refused(exported):
    out, _ = exported
    before = tree(out)
    with pytest.raises(InputError, match=r"with a budget of 4, and 3 is less; give 4 or more"):
        export(out, ROWS[:3])
    with pytest.raises(InputError, match="budget is 5 and there are only 4 pairs"):
        export(out, budget=5)
    assert tree(out) == before


def test_a_larger_choice_of_the_same_selector_keeps_what_is_there(tmp_path):
    """The larger choice lacks a pair of the smaller: caps grow with the budget."""
    out = tmp_path / "out"
    export(out, ROWS[:2], chosen_by="one")
    when = made_when(out)
    report = export(out, [*ROWS[1:], *SPARES], chosen_by="one", budget=5)
    assert (report.made, report.reused) == (3, 2)
    assert made_when(out).items() >= when.items()
    assert made_of(out) == names_of(*ROWS, SPARES[0])
    again = tree(out)
    export(out, [*ROWS[1:], *SPARES], chosen_by="one", budget=5)
    assert tree(out) == again


def test_kept_clips_use_up_their_own_class_s_share_of_a_larger_balanced_choice():
    # A clip of a is kept that the new choice of two a, two b and two c lacks; then three of a.
    groups, quotas = [*"a", *"aabbcc", *"abc"], Counter(a=2, b=2, c=2)
    assert next_best(groups, quotas, {0}, ()) == [1, 3, 4, 5, 6]
    assert next_best(groups, quotas, {0}, {4}) == [1, 3, 5, 6, 8]  # b's spare one, and not a's
    groups = [*"aaa", *"aabbcc", *"abc"]
    assert next_best(groups, quotas, {0, 1, 2}, ()) == [5, 6, 7]


def test_a_larger_balanced_choice_stays_balanced_beside_clips_that_it_lacks(tmp_path):
    out, balanced = tmp_path / "out", META | {"balance": "equal"}
    kept = pair(0, 5, 0.9)  # of the first class, whose videos are 0 and 1
    export(out, [kept], chosen_by="one", meta=balanced)
    larger = [pair(0, 3, 0.8), pair(1, 3, 0.7), pair(2, 4, 0.6), pair(3, 4, 0.5)]
    report = export(out, larger, chosen_by="one", meta=balanced)
    assert (report.made, report.reused, report.replaced) == (3, 1, 0)
    assert made_of(out) == names_of(kept, larger[0], *larger[2:])


def test_clips_of_a_smaller_choice_whose_video_is_gone_are_named(tmp_path):
    out = tmp_path / "out"
    export(out, ROWS[:2], chosen_by="one")
    left = {id_: video for id_, video in VIDEOS.items() if id_ != ROWS[0].background}
    with pytest.raises(InputError, match=f"the video {ROWS[0].background}, which the data set"):
        export(out, [*ROWS[1:], *SPARES], chosen_by="one", budget=5, videos=left)


def test_a_folder_that_forgot_its_budget_has_no_more_clips_than_it_says(tmp_path):
    out = tmp_path / "out"
    export(out)
    (out / ".export" / "budget.json").unlink()
    report = export(out, budget=2)
    assert (report.made, report.reused, report.missing) == (0, 2, 0)
    assert made_of(out) == names_of(*ROWS[:2])
    assert len(list((out / "videos").iterdir())) == len(made_of(out))


def test_pairs_of_another_selector_are_refused(tmp_path):
    out = tmp_path / "out"
    export(out, ROWS, chosen_by="one")
    export(out, ROWS)  # by nobody knows whom: these pairs are welcome, and the first is remembered
    with pytest.raises(InputError, match="chosen by another Selector or with other settings"):
        export(out, ROWS, chosen_by="two")


class FailingPreparation:
    """Makes no layers; knows of a video that can have none."""

    def __init__(self):
        self.asked = []

    def __call__(self, rows):
        self.asked.append(names_of(*rows))
        return {IDS[5]: "it holds no video, only sound or data"}


def test_layers_are_made_for_spare_pairs_only_when_they_are_needed(tmp_path):
    prepare = FailingPreparation()
    report = export(tmp_path / "out", spares=SPARES, prepare=prepare)
    assert [row.reason for row in report.skipped] == [
        f"{IDS[5]}: it holds no video, only sound or data"
    ]
    assert prepare.asked == [[], names_of(*ROWS), names_of(SPARES[0])]
    assert made_of(tmp_path / "out") == names_of(ROWS[0], *ROWS[2:], SPARES[0])


@given(
    groups=st.lists(st.sampled_from("abc"), min_size=1, max_size=12),
    share=st.floats(0, 1),
    fallen=st.sets(st.integers(0, 11)),
    data=st.data(),
)
def test_the_budget_is_met_exactly_whatever_was_made_before(groups, share, fallen, data):
    """And the same pairs are made, however far an earlier try had come."""
    budget = max(1, round(share * len(groups)))
    quotas = Counter(groups[:budget])
    alive = [i for i in range(len(groups)) if i not in fallen]

    def finish(made, rounds=None):
        known = set()
        while picked := next_best(groups, quotas, made, known):
            assert picked == sorted(set(picked)) and not set(picked) & made
            made = made | (set(picked) - fallen)
            known |= set(picked) & fallen
            if rounds is not None:
                rounds.append(made)
        return made

    rounds = []
    whole = finish(set(), rounds)
    assert len(whole) == min(budget, len(alive)) and not whole & fallen
    before = rounds[-2] if len(rounds) > 1 else set()
    last = sorted(whole - before)
    part = data.draw(st.sets(st.sampled_from(last))) if last else set()
    assert finish(before | part) == whole


SLOW = ExportSettings("videofolder,mmaction2,torchvision,webdataset", crf=30, preset="veryslow")
MANY = [pair(f, b) for f in range(8) for b in range(8) if f != b]


def export_many(out):
    """Thirty clips of pairs of which some fall out, in four layouts."""
    export(out, MANY[:30], FakeStore(unreadable=(IDS[3],)), spares=MANY[30:], export=SLOW)


def export_many_when_told(out, begun):
    begun.set()
    export_many(out)


def test_an_export_that_was_killed_ten_times_ends_the_same(tmp_path):
    began = time.monotonic()
    export_many(tmp_path / "whole")
    span = time.monotonic() - began
    whole = tree(tmp_path / "whole")
    rng = random.Random(0)
    context = get_context("spawn")
    out, counts = tmp_path / "killed", []
    for clips in sorted(rng.sample(range(31), 10)):  # by clips, for time means little when busy
        begun = context.Event()
        process = context.Process(target=export_many_when_told, args=(out, begun))
        process.start()
        assert begun.wait(600)
        while process.is_alive() and len(list(out.glob("videos/*.mp4"))) < clips:
            time.sleep(0.002)
        process.join(rng.uniform(0, span / 60))
        process.kill()
        process.join()
        counts.append(len(list(out.glob("videos/*.mp4"))))
    export_many(out)
    assert tree(out) == whole
    assert sum(0 < count < 30 for count in counts) >= 3


def test_memory_does_not_grow_with_the_clips(tmp_path, monkeypatch):
    """A pair costs a few hundred bytes of names, and not its row of 100 classes nor its record."""

    def make_nothing(maker, clips):
        for clip in clips:
            path = video_path(maker.out, clip.name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"clip")
            pair_of = {"foreground": clip.pair.foreground, "background": clip.pair.background}
            made = dict.fromkeys(_FROM_PROVENANCE) | pair_of | {"lam": 0.5, "omega": 0.5}
            made |= {"foreground_class": "c1", "background_class": "c2", "settings": "x" * 2000}
            write_record(
                maker.out, clip.name, ClipRecord(5, 34, 48, 30.0, clip.layers, ("a", "b"), made)
            )
        return {}

    monkeypatch.setattr("compositing.clipmaking._make_group", make_nothing)
    classes = [f"c{n}" for n in range(100)]
    fronts = [Video(f"f/{n}", Path("/nowhere"), "c1", "g", "train") for n in range(50)]
    backs = [Video(f"b/{n}", Path("/nowhere"), "c2", "g", "train") for n in range(50)]
    videos = {video.id: video for video in (*fronts, *backs)}
    rows = [ScoredPair(f.id, b.id, 0.5, 0.0, "c1", "c2") for f in fronts for b in backs]
    export(tmp_path / "first", rows[:600], videos=videos, classes=classes)  # imports and buffers
    peaks = []
    for count in (1024, 2048):
        tracemalloc.start()
        export(tmp_path / str(count), rows[:count], videos=videos, classes=classes)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert (peaks[1] - peaks[0]) / 1024 < 1300
