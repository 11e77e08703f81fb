"""Whether `motion` trusts its own masks: measures by hand, rules, and what becomes of a doubt."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, fields, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from compositing.making import LayerMaker
from compositing.masks import NO_DOUBTS, Doubts, Instance, VideoMasks, encode, from_json, to_json
from compositing.records import DOUBTED, reason_kind, unfit_reasons
from compositing.segmenters.motion import MotionSegmenter
from compositing.segmenters.trust import (
    LAG,
    RULES,
    Measures,
    Moving,
    TrustRule,
    doubts_of,
    judge,
    measure,
)
from compositing.settings import PrepareSettings
from l2a.media import Frames, write_video
from l2a.videos import Video

NAMES = [field.name for field in fields(Measures)]
TYPICAL = Measures(0.7, 0.9, 0.6)


def squares(*places: tuple[int, int], count: int = 6) -> NDArray[np.bool_]:
    """bool [count, 80, 80], squares of 20 pixels at (top, left), the same in every frame."""
    masks = np.zeros((count, 80, 80), np.bool_)
    for top, left in places:
        masks[:, top : top + 20, left : left + 20] = True
    return masks


def of(masks: NDArray[np.bool_]) -> Measures:
    found = measure(Moving(masks, masks))
    assert found
    return found


def test_a_steady_square_has_the_best_of_every_measure() -> None:
    assert of(squares((10, 10))) == Measures(steady=1, whole=1, agreed=1)


def test_two_equal_parts_are_half_of_the_whole_each() -> None:
    assert of(squares((10, 10), (50, 50))).whole == 0.5


def test_a_mask_that_walks_is_steady_and_one_whose_area_jumps_is_not() -> None:
    walking = np.concatenate([squares((10, 10 + 5 * t), count=1) for t in range(6)])
    assert of(walking).steady == 1
    jumping = squares((10, 10), count=8)
    jumping[2:4] = jumping[6:8] = squares((10, 10), (50, 50), count=2)
    assert LAG == 2
    assert of(jumping).steady == 0.5  # every second frame has twice the area


def test_a_mask_agrees_as_far_as_the_stricter_threshold_finds_it_too() -> None:
    masks, sure = squares((10, 10)), squares((10, 10))
    sure[:, 20:] = False  # half of the square
    found = measure(Moving(masks, sure))
    assert found
    assert found.agreed == 0.5


def test_frames_without_a_mask_are_not_measured_and_none_at_all_is_no_doubt() -> None:
    masks = squares((10, 10), count=8)
    masks[4:] = False
    assert of(masks) == of(masks[:4])
    assert of(masks[:1]).steady == 0  # nothing to compare it with
    nothing = np.zeros((4, 8, 8), np.bool_)
    assert measure(Moving(nothing, nothing)) is None
    assert judge(Moving(nothing, nothing)) == NO_DOUBTS


RULE = TrustRule(
    bias=-1.0,
    typical=TYPICAL,
    weights=Measures(2, 3, 1),
    least=0.5,
)


def test_a_rule_is_a_logistic_function_of_what_is_not_typical() -> None:
    assert RULE.trust(TYPICAL) == pytest.approx(1 / (1 + math.e))
    better = replace(TYPICAL, steady=0.9, agreed=0.8)  # + 2 · 0.2 + 1 · 0.2
    assert RULE.trust(better) == pytest.approx(1 / (1 + math.exp(0.4)))


def test_a_doubt_names_what_speaks_most_against_the_mask() -> None:
    rules = {"foreground": RULE, "background": replace(RULE, least=0.0)}
    worse = replace(TYPICAL, steady=0.6, whole=0.5)
    assert doubts_of(worse, rules) == Doubts("what moves is scattered (trust 0.08, below 0.50)", "")
    assert doubts_of(replace(TYPICAL, agreed=0.1), rules).foreground.startswith("it is hardly set")
    assert doubts_of(replace(TYPICAL, steady=0.2), rules).foreground.startswith("it flickers")


@given(
    st.sampled_from(sorted(RULES)),
    st.builds(Measures, *[st.floats(-1, 1)] * len(NAMES)),
    st.sampled_from(NAMES),
    st.floats(0.01, 1),
)
def test_more_of_what_speaks_for_a_mask_never_lowers_the_trust(
    side: str, measures: Measures, name: str, more: float
) -> None:
    rule = RULES[side]
    step = more if getattr(rule.weights, name) > 0 else -more
    raised = replace(measures, **{name: getattr(measures, name) + step})
    assert rule.trust(raised) >= rule.trust(measures)
    assert 0 <= rule.trust(measures) <= 1


def test_the_rules_weigh_the_measures_as_their_sentences_say() -> None:
    for rule in RULES.values():
        weights = asdict(rule.weights)
        assert weights["steady"] > 0
        assert weights["whole"] > 0
        assert weights["agreed"] > 0
        assert 0.4 < rule.least < 1


def test_doubts_make_unfit_each_side_alone_after_what_the_settings_say() -> None:
    def reasons(doubts: Doubts, gamma: float = 0.1) -> tuple[str, str]:
        return unfit_reasons(
            PrepareSettings(), note="", gamma=gamma, mask_share=1, hole=0.2, unseen=0, doubts=doubts
        )

    assert reasons(NO_DOUBTS) == ("", "")
    assert reasons(Doubts("it flickers", "")) == (f"{DOUBTED}: it flickers", "")
    assert reasons(Doubts("", "it flickers")) == ("", f"{DOUBTED}: it flickers")
    assert reason_kind(reasons(Doubts("it flickers"), gamma=0.001)[0]) == "mask too small"


def test_doubts_are_stored_with_the_masks_and_leave_no_trace_where_there_are_none() -> None:
    instance = Instance("moving", 1.0, encode(squares((1, 1), count=2)))
    sure = VideoMasks(80, 80, 2, (instance,))
    document = to_json(sure, "a.avi", {})
    assert document["info"] == {"note": ""}
    doubted = replace(sure, doubts=Doubts("it flickers", "what moves is scattered"))
    for masks in (sure, doubted):
        stored = json.loads(json.dumps(to_json(masks, "a.avi", {})))
        assert from_json(stored)["a.avi"] == masks
    for wrong in (3, ["it"]):
        document["info"]["doubts"] = wrong
        with pytest.raises(ValueError, match="YouTube-VIS"):
            from_json(document)


def clip(blobs: str) -> NDArray[np.uint8]:
    """uint8 [30, 96, 128, 3]: over a still scene one thing walks, or many flicker anywhere."""
    rng = np.random.default_rng(5)
    scene = rng.integers(60, 120, (12, 16, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    pixels = np.repeat(scene[None], 30, axis=0)
    for t in range(30):
        if blobs == "one":
            pixels[t, 20:80, 8 + 3 * t : 30 + 3 * t] = (230, 220, 200)
        else:
            for top, left in rng.integers((0, 0), (80, 110), (6, 2)).tolist():
                pixels[t, top : top + 14, left : left + 14] = (230, 220, 200)
    return pixels


def test_one_that_walks_is_trusted_and_what_flickers_everywhere_is_unfit_with_the_reason(
    tmp_path: Path,
) -> None:
    videos = []
    for name in ("one", "many"):
        path = tmp_path / f"{name}.mp4"
        write_video(path, clip(name), 25.0)
        videos.append(Video(name, path, "run", name, "train"))
    store = LayerMaker(tmp_path / "layers", PrepareSettings(segmenter="motion"))
    one, many = store.prepare(videos).records
    assert (one.foreground_unfit, one.background_unfit) == ("", "")
    assert reason_kind(many.foreground_unfit) == DOUBTED
    assert reason_kind(many.background_unfit) == DOUBTED
    assert "(trust 0." in many.foreground_unfit
    # The raw masks carry the doubts: another threshold asks no segmenter again.
    other = PrepareSettings(segmenter="motion", min_speck=0.001)
    again = LayerMaker(tmp_path / "layers", other).prepare(videos).records
    assert [record.foreground_unfit for record in again] == ["", many.foreground_unfit]


def test_the_identity_of_motion_names_the_rules() -> None:
    assert "trust" in MotionSegmenter.identity
    source = Frames(clip("one"), np.arange(30) / 25, 25.0)
    assert MotionSegmenter()(Video("a", Path("a"), "run", "g", "train"), source).doubts == NO_DOUBTS
