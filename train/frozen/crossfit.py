"""Credit by cross-fitting: every recording measures, and none measures what it has seen.

Validation is small, and a reward is reliable only as far as it has seen many recordings. Training
clips could measure too, but a head has memorised the clips it was fitted to, and a composite made
of a clip would be praised by that clip itself. So training and validation recordings are dealt into
K folds. A pair whose videos lie in the folds i and j is measured on every fold k that is neither,
under a head that was fitted without i, j and k: what measures has seen neither of its videos, and
the clips it is measured on are new to the head.

Halves of the recordings cannot say how reliable such credit is. The gradients of the clips that a
head was fitted to sum to its penalty alone, so that what a pair gains on one half it nearly loses
on the other: of noise the halves do not agree by 0 but by −0.1 to −0.3, and the sum, in which that
cancels, knows more than they tell. Recordings that no head has seen can judge it.

Only features of a frozen trunk make that affordable: K folds take some K³/6 heads, each of which is
a convex problem on a few hundred features (`train.frozen.head`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from l2a.errors import InputError
from l2a.progress import Report
from l2a.videos import VideoSet, counted
from selector.reward import credit_by_recording, standardised
from train.frozen.environment import DrawnPairs, MeasuredClips
from train.frozen.head import LinearHead, fit_head

LEAST_FOLDS = 4
"""With three, a pair's two folds and the one that measures would leave no clip to fit a head to."""


@dataclass(frozen=True)
class FoldedClips:
    """Real clips of training and validation, dealt into folds.

    Attributes:
        clips: as they are measured on.
        views: float32 `[n, V, D]`, as heads are fitted to them.
        folds: int64 `[n]`, the fold of each, 0 to K − 1; one recording lies in one fold.
    """

    clips: MeasuredClips
    views: Tensor
    folds: Tensor

    @property
    def count(self) -> int:
        """K."""
        return int(self.folds.max()) + 1


def refuse_few(count: int, recordings: int, again: str = "") -> None:
    """Say that there are not as many recordings as folds.

    Args:
        count: K, the folds.
        recordings: those that there are to deal.
        again: how another run finds what this one has made, `PreparedData.again`; "" where it has
            made nothing yet.

    Raises:
        InputError: there are fewer recordings than folds.
    """
    if recordings >= count:
        return
    fewer = "leave --reward-folds out"
    if recordings >= LEAST_FOLDS:
        fewer = f"give --reward-folds {recordings} or less, or {fewer}"
    if again:
        fewer = (
            f"as this run keeps its settings, {fewer}, with {again}, so that no mask or clip is "
            "made again"
        )
    raise InputError(
        f"reward_folds is {count} and there are {counted(recordings, 'recording')} of training and "
        f"validation to deal into folds; {fewer}."
    )


def refuse_few_recordings(videos: VideoSet, folds: int) -> None:
    """Say now, and not after a training, that there are fewer recordings than folds.

    Args:
        videos: of the data set.
        folds: `--reward-folds`; 0 for none.

    Raises:
        InputError: there are not as many recordings of labelled training and validation videos.
    """
    refuse_few(folds, len({video.group for video in videos.of_split("train", "val")}))


def deal_folds(
    recordings: NDArray[np.int64], classes: NDArray[np.int64], count: int, seed: int
) -> NDArray[np.int64]:
    """Deal clips into folds by recording, as even over the classes as recordings allow.

    Recordings come in random order; each goes to the fold that holds the fewest clips of its class,
    and of those to the one with the fewest clips.

    Args:
        recordings: int64 [n], any numbers.
        classes: int64 [n].
        count: K, the folds.
        seed: of the order.

    Returns:
        int64 [n], 0 to K − 1.

    Raises:
        InputError: there are fewer recordings than folds.
    """
    names, first, own = np.unique(recordings, return_index=True, return_inverse=True)
    refuse_few(count, len(names))
    sizes = np.bincount(own)
    held = np.zeros((count, int(classes.max()) + 1), np.int64)
    of_recording = np.empty(len(names), np.int64)
    for recording in np.random.default_rng([seed, 9]).permutation(len(names)):
        label = classes[first[recording]]
        fold = np.lexsort((np.arange(count), held.sum(axis=1), held[:, label]))[0]
        of_recording[recording] = fold
        held[fold, label] += sizes[recording]
    return of_recording[own]


def crossfit_credit(
    real: FoldedClips,
    drawn: DrawnPairs,
    pair_folds: Tensor,
    l2: float,
    report: Report | None = None,
) -> Tensor:
    """The credit of pairs by recording, each under heads and on clips that know neither video.

    Args:
        real: the clips that measure and that heads are fitted to.
        drawn: the pairs.
        pair_folds: int64 `[M, 2]`, the folds of each pair's videos.
        l2: strength of every head.
        report: called as `report(done, of)`, combinations of folds.

    Returns:
        float32 `[M, R]`: 0 for the recordings of a pair's own folds; the sum over the others is
        the mean over their clips, as in `last_layer_credit`.
    """
    heads = _Heads(real, l2)
    recordings = int(real.clips.recordings.max()) + 1
    credit = torch.zeros(len(drawn.rows), recordings)
    in_order = pair_folds.sort(dim=1).values
    together = in_order.unique(dim=0)
    for done, folds in enumerate(together):
        own = (in_order == folds).all(dim=1)
        credit[own] = _of_folds(real, drawn, own, set(folds.tolist()), heads)
        if report:
            report(done + 1, len(together))
    return credit


class _Heads:
    """Heads fitted without some folds, each once."""

    def __init__(self, real: FoldedClips, l2: float) -> None:
        self._real, self._l2 = real, l2
        self._kept: dict[frozenset[int], LinearHead] = {}

    def without(self, folds: frozenset[int]) -> LinearHead:
        """The head fitted to all views of the clips outside these folds."""
        if folds not in self._kept:
            rest = ~torch.isin(self._real.folds, torch.tensor(sorted(folds)))
            views = self._real.views[rest]
            labels = self._real.clips.labels[rest].repeat_interleave(views.shape[1], dim=0)
            self._kept[folds] = fit_head(views.flatten(0, 1), labels, self._l2)
        return self._kept[folds]


def _of_folds(
    real: FoldedClips, drawn: DrawnPairs, own: Tensor, folds: set[int], heads: _Heads
) -> Tensor:
    """Credit by recording of the pairs `own`, bool [M], whose videos lie in `folds`."""
    clips, features = real.clips, drawn.features[own].flatten(0, 1)
    outside = ~torch.isin(real.folds, torch.tensor(sorted(folds)))
    # By the clips that may measure: those of the pair's own folds have no say.
    mean_of = clips.features[outside]
    credit = torch.zeros(int(own.sum()), int(clips.recordings.max()) + 1)
    standard = standardised(mean_of, features)[1]
    standard_clips = standardised(mean_of, clips.features)[1]
    for fold in range(real.count):
        there = real.folds == fold
        if fold in folds or not there.any():
            continue
        head = heads.without(frozenset({*folds, fold}))
        on_clips = head.logits(clips.features[there]).softmax(1).float()
        on_pairs = head.logits(features).softmax(1).float()
        found = credit_by_recording(
            on_clips, clips.labels[there], standard_clips[there], clips.recordings[there],
            on_pairs, drawn.labels[own].flatten(0, 1), standard, standardise=False,
        )  # fmt: skip
        views = found.unflatten(0, (-1, drawn.features.shape[1])).mean(dim=1)
        credit[:, : views.shape[1]] += views * (int(there.sum()) / int(outside.sum()))
    return credit
