"""Views of unlabelled clips as features: those of a training, made once for whoever asks again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from banks import make_source
from test_frozen_features import bank_of, trunk_of

from l2a.errors import L2AError
from train.batches import ClipBatch, ClipSource
from train.frozen.features import FeatureBank
from train.frozen.head import fit_head
from train.memory import smaller_steps
from train.objectives.table import find_method
from train.semi_supervised.batches import SemiBatch, Unlabelled
from train.semi_supervised.on_features import FeatureViews, train_on_features
from train.settings.full import ClassifierSettings
from train.settings.semi import SemiSettings

ROWS = np.array([1, 4, 5, 7, 8])
ALL = frozenset({"weak_again", "strong", "slow", "cut"})


def views_of(source: ClipSource, passes: int = 2, **unlabelled: object) -> FeatureViews:
    how = replace(Unlabelled(ROWS, 2), **unlabelled)  # type: ignore[arg-type]
    return FeatureViews(bank_of(source), source, how, flip=True, seed=3, passes=passes)


def same(first: list[SemiBatch], second: list[SemiBatch]) -> bool:
    names = ("weak", *ALL, "partners", "cut_weight")
    return len(first) == len(second) and all(
        torch.equal(getattr(one, name), getattr(other, name))
        for one, other in zip(first, second, strict=True) for name in names
    )  # fmt: skip


@pytest.fixture
def source(tmp_path: Path) -> ClipSource:
    return make_source(tmp_path / "bank")


@torch.no_grad()
def test_they_are_features_of_the_views_that_a_training_on_clips_sees(source: ClipSource) -> None:
    views, trunk = views_of(source), trunk_of().eval()
    found = views.steps(ALL)
    assert len(found) == 2 * 3
    assert [len(step.weak) for step in found] == [2] * 6
    drawn = np.concatenate([views._kept["weak"][step]["rows"].numpy() for step in range(6)])
    assert sorted(drawn[:5]) == sorted(drawn[5:10]) == ROWS.tolist()
    crops = [side[:, top : top + 20, left : left + 20] for row in drawn[:2]
             for clip in [torch.from_numpy(source.bank.frames[row].copy())]
             for side in (clip, clip.flip(2)) for top in range(5)
             for left in range(11)]  # fmt: skip
    every = trunk(trunk.to_input(torch.stack(crops))).unflatten(0, (2, -1))
    nearest = (every - found[0].weak[:, None]).norm(dim=2).min(dim=1).values
    assert float(nearest.max()) < 1e-3 * float(every.norm(dim=2).mean())


def test_a_run_with_other_thresholds_makes_none_again_and_one_with_other_clips_does(
    source: ClipSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = views_of(source).steps(ALL)
    monkeypatch.setattr(FeatureBank, "of", None)
    targets = torch.eye(3)[torch.arange(12) % 3]
    again = views_of(source, targets=targets).steps(ALL | {"targets"})
    assert same(first, again)
    assert all(step.targets is not None for step in again)
    assert same(first[:3], views_of(source, passes=1).steps(ALL))
    others: list[dict[str, Any]] = [{"rows": ROWS[1:]}, {"per_batch": 3}]
    for other in others:
        with pytest.raises(TypeError):
            views_of(source, **other).steps(frozenset())


def test_nothing_unlabelled_leaves_the_optimum(source: ClipSource) -> None:
    """The bias is not punished, as in the fit that it begins with; and a batch is taken whole."""
    views, rows = views_of(source), np.array([0, 2, 3, 6])
    labelled = ClipBatch(views.bank.centre(rows), source.one_hot(rows))
    assert labelled.labels.sum(0).tolist() == [3, 0, 1]  # so that the bias is not 0
    start = fit_head(labelled.clips, labelled.labels, 0.5)
    head, _ = train_on_features(
        find_method("fixmatch"), views, labelled, start,
        ClassifierSettings(epochs=30, micro_batch=1), SemiSettings(pseudo_threshold=1.0),
    )  # fmt: skip
    logits = [one.logits(labelled.clips) for one in (start, head)]
    torch.testing.assert_close(logits[0], logits[1], atol=1e-3, rtol=0)


def test_a_restart_of_the_rate_and_clipped_gradients_reach_methods_on_features(
    source: ClipSource,
) -> None:
    """The rate on features is their own: the restart keeps its share of it."""
    views, rows = views_of(source), np.array([0, 2, 3])
    labelled = ClipBatch(views.bank.centre(rows), source.one_hot(rows))
    start = fit_head(labelled.clips, labelled.labels, 0.1)
    plain = ClassifierSettings(epochs=2, lr=0.02)
    heads = [
        train_on_features(
            find_method("fixmatch"), views, labelled, start, how, SemiSettings(pseudo_threshold=0.0)
        )[0].weight
        for how in (plain, plain, replace(plain, lr_restart=0.02, restart_at=0.5),
                    replace(plain, lr=0.2, lr_restart=0.2, restart_at=0.5),
                    replace(plain, clip_gradients=1e-3))
    ]  # fmt: skip
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])
    assert torch.equal(heads[2], heads[3])
    # Without a gradient worth the name the penalty alone is left, which shrinks the start.
    likeness = [torch.cosine_similarity(head.flatten(), start.weight.flatten(), dim=0)
                for head in (heads[4], heads[0])]  # fmt: skip
    assert likeness[0] > 0.999 > likeness[1]


def test_a_method_on_features_that_diverges_names_what_makes_its_steps_smaller(
    source: ClipSource,
) -> None:
    views, rows = views_of(source), np.array([0, 2, 3])
    labelled = ClipBatch(views.bank.centre(rows), source.one_hot(rows))
    start = fit_head(labelled.clips, labelled.labels, 0.1)
    far = ClassifierSettings(epochs=2, lr=0.02, lr_restart=1e35, restart_at=0.5)
    with pytest.raises(L2AError, match=r"give a lower --lr-restart \(it is 1e\+35\), with an"):
        train_on_features(
            find_method("fixmatch"), views, labelled, start, far, SemiSettings(pseudo_threshold=0.0)
        )
    assert smaller_steps(ClassifierSettings()).startswith("give --clip-gradients (such as 1), with")
    clipped = smaller_steps(ClassifierSettings(clip_gradients=2.0))
    assert clipped.startswith("give a lower --clip-gradients (it is 2), with another --out")
