"""Stage one with a frozen trunk: what its environment is made of."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from l2a.logs import say
from l2a.networks import VideoNetwork
from l2a.progress import progress
from train.environment import Features, ValidationRows
from train.frozen.crossfit import FoldedClips, crossfit_credit, deal_folds, refuse_few
from train.frozen.environment import DrawnPairs, FrozenEnvironment, MeasuredClips, draw_pairs
from train.frozen.features import FeatureBank
from train.frozen.head import LinearHead
from train.frozen.stage_two import find_strength, frozen_network
from train.frozen.training_set import real_set
from train.prepared import Matching, PreparedData
from train.recipe import SelectorRecipe


def frozen_start(prepared: PreparedData, recipe: SelectorRecipe) -> VideoNetwork:
    """The classifier that stage one begins with where the trunk stays as it is: no warming up, but
    the head that is the best one for the real training clips."""
    network = frozen_network(prepared, recipe.classifier, recipe.seed)
    if not recipe.stage.fresh_head:
        bank = _bank(prepared, recipe, network)
        _fitted(prepared, recipe, bank)[1].put_into(network)
    return network


def frozen_environment(
    prepared: PreparedData,
    matching: Matching,
    recipe: SelectorRecipe,
    network: VideoNetwork,
    seen: Features,
    vectors: Tensor,
    validation: NDArray[np.int64],
) -> FrozenEnvironment:
    """Draw pairs, make their composites once, and with `--reward-folds` measure their credit.

    Args:
        prepared, matching, recipe: of the run.
        network: the classifier; its trunk gives the features, its head begins unless it is fresh.
        seen: what the Selector sees of videos.
        vectors: float32 `[N, E]`, the label vector of every row of the bank.
        validation: bank rows of the validation subset.
    """
    stage, bank = recipe.stage, _bank(prepared, recipe, network)
    rows = draw_pairs(matching.pool, stage.frozen_pairs, recipe.seed)
    made = bank.composites(rows)
    drawn = DrawnPairs(torch.from_numpy(rows), made.features, bank.composite_labels(rows, made))
    credit = _crossfitted(prepared, recipe, bank, drawn) if stage.reward_folds else None
    start = None
    if not stage.fresh_head:
        weight, bias = (part.detach().cpu().double() for part in network.head.parameters())
        start = LinearHead(weight, bias, 0.0, 0.0, 0.0, 0)
    return FrozenEnvironment(
        drawn, _measured(prepared, bank, validation), seen, vectors,
        torch.from_numpy(prepared.source.labels), stage.environment_lr, start, credit,
    )  # fmt: skip


def _bank(prepared: PreparedData, recipe: SelectorRecipe, network: VideoNetwork) -> FeatureBank:
    flip = recipe.classifier.flip
    return FeatureBank(network.trunk, prepared, recipe.frozen, flip, recipe.seed)


def _fitted(
    prepared: PreparedData, recipe: SelectorRecipe, bank: FeatureBank
) -> tuple[float, LinearHead]:
    """The strength and the head of the real training clips."""
    problem = real_set(bank, prepared, prepared.real).problem()
    found = find_strength([problem], bank, prepared, recipe.frozen)
    return found.l2, found.heads[0]


def _measured(prepared: PreparedData, bank: FeatureBank, rows: NDArray[np.int64]) -> MeasuredClips:
    own = ValidationRows.of(rows, prepared.recordings)
    labels, recordings = prepared.source.one_hot(rows), torch.from_numpy(own.recordings)
    return MeasuredClips(bank.centre(rows), labels, recordings)


def _crossfitted(
    prepared: PreparedData, recipe: SelectorRecipe, bank: FeatureBank, drawn: DrawnPairs
) -> Tensor:
    """Credit `[M, R]` by heads and on folds that know neither video of a pair."""
    count = recipe.stage.reward_folds
    if not recipe.classifier.freeze_trunk:
        say(
            "note: the heads of --reward-folds are new to the clips that they are measured on, "
            "the warmed-up trunk is not: it has seen the training clips; --freeze-trunk keeps it "
            "from that"
        )
    # A pseudo-label may be wrong, and must not say what a pair is worth.
    rows = np.concatenate([prepared.labelled, prepared.rows["val"]])
    own = prepared.recordings[rows]
    if (there := len(np.unique(own))) < count:
        refuse_few(count, there, prepared.again)
    folds = deal_folds(own, prepared.source.labels[rows], count, recipe.seed)
    # By recording: a pseudo-labelled clip may be cut from one that measures.
    fold_of_recording = np.full(int(prepared.recordings.max()) + 1, -1, np.int64)
    fold_of_recording[own] = folds
    fold_of_row = fold_of_recording[prepared.recordings]
    real = FoldedClips(_measured(prepared, bank, rows), bank.real(rows), torch.from_numpy(folds))
    l2 = _fitted(prepared, recipe, bank)[0]
    say(f"credit on {len(np.unique(own))} recordings in {count} folds, by cross-fitting")
    with progress("reward", "folds") as report:
        return crossfit_credit(
            real, drawn, torch.from_numpy(fold_of_row)[drawn.rows], l2, report=report
        )
