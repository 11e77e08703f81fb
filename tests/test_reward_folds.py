"""Credit by cross-fitting where some clips have a pseudo-label: who measures, and who does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from banks import make_source
from torch import Tensor

from compositing.layers import LayerStore
from l2a.networks import build_network
from l2a.videos import Video, VideoSet
from selector.settings import ReinforceSettings, SelectorSettings
from train.batches import UNLABELLED
from train.frozen import stage_one
from train.frozen.crossfit import FoldedClips
from train.frozen.environment import DrawnPairs
from train.frozen.features import FeatureBank
from train.prepared import PreparedData
from train.recipe import SelectorRecipe
from train.semi_supervised.pseudo_labels import PseudoLabels, with_pseudo_labels
from train.settings.frozen import FrozenSettings
from train.settings.full import ClassifierSettings, StageOneSettings

RECORDINGS = [0, 0, 1, 1, 2, 2, 0, 3, 4, 5, 6, 7]
SIDES = ["train"] * 6 + ["unlabelled"] * 3 + ["val"] * 2 + ["test"]
"""Row 6, which has no label, is cut from the recording of rows 0 and 1, which have one."""

MEASURE = [0, 1, 2, 3, 4, 5, 9, 10]
PAIRS = torch.tensor([[0, 2], [6, 4], [7, 8], [3, 6]])
RECIPE = SelectorRecipe(
    ClassifierSettings(network="tiny3d", freeze_trunk=True),
    StageOneSettings(reward_folds=5), SelectorSettings(), ReinforceSettings(reward="credit"),
    frozen=FrozenSettings(l2=0.01),
)  # fmt: skip


def labelled(folder: Path, given: list[int]) -> PreparedData:
    """Rows 6 to 8 have these pseudo-labels; the truth would be 0, 1, 2."""
    source = make_source(folder / "bank")
    source.labels[6:9] = UNLABELLED
    videos = tuple(
        Video(id_, folder, "" if side == "unlabelled" else "abc"[row % 3], f"r{group}", side)
        for row, (id_, side, group) in enumerate(
            zip(source.bank.ids, SIDES, RECORDINGS, strict=True)
        )
    )
    rows = {side: np.flatnonzero(np.array(SIDES) == side) for side in dict.fromkeys(SIDES)}
    prepared = PreparedData(
        VideoSet(folder, "folder", ("a", "b", "c"), videos), source.bank, source, rows, {},
        cast(LayerStore, None),
    )  # fmt: skip
    sure = np.eye(3, dtype=np.float32)[given]
    return with_pseudo_labels(prepared, PseudoLabels(np.array([6, 7, 8]), sure, 0.5))


def crossfitted(prepared: PreparedData, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, ...]:
    """The credit, and what it was measured with: real clips and the folds of the pairs."""
    torch.manual_seed(0)
    bank = FeatureBank(build_network("tiny3d", 3).trunk, prepared, RECIPE.frozen, True, 0)
    generator = torch.Generator().manual_seed(0)
    drawn = DrawnPairs(
        PAIRS, torch.rand(4, 1, bank.dim, generator=generator),
        torch.rand(4, 1, 3, generator=generator).softmax(2),
    )  # fmt: skip
    seen: list[Any] = []
    measure = stage_one.crossfit_credit

    def watched(
        real: FoldedClips, pairs: DrawnPairs, folds: Tensor, *rest: Any, **more: Any
    ) -> Any:
        seen.extend((real, folds))
        return measure(real, pairs, folds, *rest, **more)

    monkeypatch.setattr(stage_one, "crossfit_credit", watched)
    credit = stage_one._crossfitted(prepared, RECIPE, bank, drawn)
    return credit, bank, *seen


def test_labelled_clips_alone_measure_and_a_pseudo_labelled_one_has_its_recordings_fold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = labelled(tmp_path, [1, 2, 0])
    credit, bank, real, pair_folds = crossfitted(prepared, monkeypatch)
    assert torch.equal(real.clips.features, bank.centre(np.array(MEASURE)))
    assert real.clips.labels.argmax(1).tolist() == [row % 3 for row in MEASURE]
    of_row = dict(zip(MEASURE, real.folds.tolist(), strict=True))
    assert of_row[0] == of_row[1]
    folds = {6: of_row[0], 7: -1, 8: -1, **of_row}  # no labelled clip has the recordings of 7 and 8
    assert pair_folds.tolist() == [[folds[f], folds[b]] for f, b in PAIRS.tolist()]
    # By recording: of a pair's own folds none has a say, that of a pseudo-labelled clip included.
    recordings = dict(zip(real.clips.recordings.tolist(), real.folds.tolist(), strict=True))
    assert credit.shape == (4, 5)
    for own, said in zip(pair_folds.tolist(), credit, strict=True):
        silent = [recordings[number] in own for number in range(5)]
        assert [float(value) == 0 for value in said] == silent
    assert int((credit == 0).sum()) == 2 + 2 + 0 + 2


def test_what_a_pseudo_label_says_changes_no_credit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But through the composite's own label, which is the same here."""
    found = [
        crossfitted(labelled(tmp_path / str(i), given), monkeypatch)[0]
        for i, given in enumerate(([0, 1, 2], [2, 0, 1]))
    ]
    assert torch.equal(found[0], found[1])
