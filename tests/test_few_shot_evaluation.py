"""Episodes measured from codes: which clips are compared, resuming, memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from l2a.class_splits import ClassSplit
from l2a.errors import InputError
from train.few_shot.composites import Candidates, Compositor
from train.few_shot.episodes import DrawnEpisodes, EpisodeClips, EpisodeSettings
from train.few_shot.evaluation import Codes, Evaluation
from train.few_shot.methods import FeatureShape, make_method
from train.few_shot.table import Arm, results_json, results_table
from train.settings.few_shot import FewShotSettings

TOTAL = 60
LABELS = np.repeat(np.arange(3), 10)


class Bank:
    """Features float32 [n, 1, 2] that say which clip they are of; counts what is asked for."""

    device = torch.device("cpu")

    def __init__(self, table: Tensor) -> None:
        self.table, self.asked = table, 0

    def centre(self, rows: np.ndarray) -> Tensor:
        self.asked += len(rows)
        return self.table[torch.from_numpy(rows)][:, None]

    def pairs(self, pairs: np.ndarray) -> Tensor:
        self.asked += len(pairs)
        return self.table[torch.from_numpy(pairs[:, 1])][:, None]


def evaluation(bank: Any, count: int = 40) -> Evaluation:
    clips = EpisodeClips(
        tuple("abc"), tuple(f"v{row:02}" for row in range(30)), tuple(map(str, range(30))),
        LABELS, np.arange(30),
    )  # fmt: skip
    method = make_method("prototype", FeatureShape(2, 1, 1, 1, 8)).eval()
    episodes = DrawnEpisodes(clips, EpisodeSettings(3, 2, 2), count)
    return Evaluation(Codes(method, bank, TOTAL), episodes, np.arange(30, 60))


def noisy() -> Tensor:
    rng = torch.Generator().manual_seed(0)
    table = torch.randn(TOTAL, 2, generator=rng)
    table[:30] += 2 * torch.tensor([[0.0, 0.0], [1, 0], [0, 1]]).repeat_interleave(10, 0)
    return table


def scenes_only(count: int) -> Compositor:
    """The composite of a clip of class c is scene 30 + c, whatever its actor."""
    scenes = {row: np.array([30 + LABELS[row]]) for row in range(30)}
    return Compositor(
        "random", count, 0, Candidates(scenes), None, frozenset(range(30)), frozenset()
    )


def test_accuracies_are_those_of_the_definition(tmp_path: Path) -> None:
    """Against nearest means, computed by hand from the episodes."""
    table, own = noisy(), evaluation(Bank(noisy()))
    found = own.accuracies(40, 2, None, tmp_path / "a.npy", 7).values
    for number, value in enumerate(found):
        episode = own.episodes[number]
        means = table[torch.from_numpy(episode.support)].mean(1)
        asked = table[torch.from_numpy(episode.query)]
        nearest = (asked[:, :, None] - means).square().sum(-1).argmin(-1)
        assert value == pytest.approx(float((nearest == torch.arange(3)[:, None]).float().mean()))
    assert 0.4 < found.mean() < 0.95


def test_composites_stand_in_the_support(tmp_path: Path) -> None:
    """Scenes that are far apart, with many of them, decide where a prototype is."""
    table = torch.zeros(TOTAL, 2)
    turn = 2 * torch.pi * torch.arange(3) / 3
    table[30:33] = torch.stack([turn.cos(), turn.sin()], dim=1)
    table[:30] = 0.1 * table[30:33].roll(1, 0).repeat_interleave(10, 0)  # classes name each other
    own = evaluation(Bank(table))
    assert own.values(range(10), 1, None).mean() == 1
    assert own.values(range(10), 1, scenes_only(5)).mean() == 0


def test_a_stopped_evaluation_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    whole = evaluation(Bank(noisy()))
    whole.accuracies(40, 2, scenes_only(2), tmp_path / "whole.npy", 100)
    part = evaluation(Bank(noisy()))
    part.accuracies(13, 2, scenes_only(2), tmp_path / "part.npy", 5)
    again = evaluation(Bank(noisy()))
    measured = again.accuracies(40, 2, scenes_only(2), tmp_path / "part.npy", 9)
    assert (tmp_path / "part.npy").read_bytes() == (tmp_path / "whole.npy").read_bytes()
    assert measured.per_second is not None
    done = evaluation(Bank(noisy())).accuracies(40, 2, None, tmp_path / "part.npy", 9)
    assert done.per_second is None
    (tmp_path / "part.npy").write_bytes(b"nothing")
    with pytest.raises(InputError, match="is damaged"):
        again.accuracies(40, 2, None, tmp_path / "part.npy", 9)


def test_every_clip_and_composite_is_seen_once(tmp_path: Path) -> None:
    """However many episodes there are."""
    bank = Bank(noisy())
    own = evaluation(bank, 400)
    own.accuracies(400, 2, scenes_only(2), tmp_path / "a.npy", 50)
    assert bank.asked == 60  # 30 clips and a composite of each
    own.accuracies(400, 1, scenes_only(2), tmp_path / "b.npy", 50)
    assert bank.asked == 60


def test_table_and_json_say_means_intervals_and_paired_differences() -> None:
    few = FewShotSettings(shots=(1,), compare=True)
    none, random = np.array([0.5, 1.0, 0.0, 0.5]), np.array([0.5, 1.0, 0.5, 0.5])
    arms = [Arm("none", 1, none), Arm("random", 1, random)]
    text = results_table(few, arms, apart=True)
    # σ = √(1/8) of the first, and (0, 0, 1/2, 0) are the differences: σ = √3/8.
    assert f"50.00 ± {100 * 1.96 * np.sqrt(1 / 8) / 2:.2f}" in text
    assert f"+12.50 ± {100 * 1.96 * np.sqrt(3) / 8 / 2:.2f}" in text
    assert "1.96 · σ / √n" in text
    assert "No recording is on both sides of an episode." in text
    assert "can be on both sides" in results_table(few, arms, apart=False)
    said = results_json(few, ClassSplit(("a",), (), ("b",)), arms, apart=True)
    assert said["group_disjoint"] is True
    assert said["differences"]["random - none"]["1"]["mean"] == 0.125
    assert said["accuracy"]["none"]["1"]["episodes"] == 4
    assert said["classes"]["novel"] == ["b"]
