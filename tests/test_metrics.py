"""Metrics against numbers worked out by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from train.metrics import Metrics, draw_confusion, measure

LOGITS = np.log(np.array([[0.7, 0.2, 0.1], [0.5, 0.3, 0.2], [0.1, 0.1, 0.8]], dtype=np.float32))


def test_by_hand() -> None:
    metrics = measure(LOGITS, np.array([0, 1, 2]), ["a", "b", "c"])
    assert metrics.n == 3
    assert metrics.top1 == pytest.approx(2 / 3)
    assert metrics.top5 == 1.0
    assert metrics.loss == pytest.approx(-np.log([0.7, 0.3, 0.8]).mean(), rel=1e-6)
    assert metrics.per_class == {"a": 1.0, "b": 0.0, "c": 1.0}
    assert metrics.confusion.tolist() == [[1, 0, 0], [1, 0, 0], [0, 0, 1]]


def test_the_error_is_over_recordings() -> None:
    """Of recordings 7 and 9 all and none are right: residuals ±1, 2/1 · (1 + 1) / 4² = 1/4."""
    logits = np.eye(2, dtype=np.float32)[[0, 0, 1, 1]]
    labels, names = np.zeros(4, np.int64), ["a", "b"]
    assert measure(logits, labels, names, np.array([7, 7, 9, 9])).top1_error == 0.5
    apart = measure(logits, labels, names, np.arange(4))
    assert apart.top1_error == pytest.approx((4 / 3 * 4 * 0.25 / 16) ** 0.5)
    assert measure(logits, labels, names, np.zeros(4, np.int64)).top1_error is None
    before = measure(logits, labels, names).to_json()
    assert before.pop("top1_error") is None
    assert Metrics.from_json(before).top1_error is None  # of an earlier version


def test_top5_counts_the_five_highest_and_ties_go_to_the_lower_class() -> None:
    logits = np.zeros((1, 7), dtype=np.float32)
    assert measure(logits, np.array([4]), list("abcdefg")).top5 == 1.0
    assert measure(logits, np.array([5]), list("abcdefg")).top5 == 0.0


def test_a_class_without_clips_is_left_out() -> None:
    assert set(measure(LOGITS, np.array([0, 0, 0]), ["a", "b", "c"]).per_class) == {"a"}


@given(st.lists(st.integers(0, 2), min_size=3, max_size=3))
def test_json_and_back(labels: list[int]) -> None:
    metrics = measure(LOGITS, np.array(labels), ["a", "b", "c"])
    again = Metrics.from_json(metrics.to_json())
    assert again.to_json() == metrics.to_json()
    assert metrics.confusion.sum() == metrics.n


def test_the_confusion_matrix_is_drawn_with_the_same_bytes(tmp_path: Path) -> None:
    metrics = measure(LOGITS, np.array([0, 1, 2]), ["a", "b", "c"])
    for name in ("one.png", "two.png"):
        draw_confusion(tmp_path / name, metrics, ["a", "b", "c"])
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
