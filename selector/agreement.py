"""Label agreement: how far the videos that look like a video carry the label that it carries.

A Selector that sees features and labels of one pair at a time would have to memorise what a
class looks like. Agreement says it in one number for each video, which costs no training and means
the same in every data set, so that what a Selector learns of it carries over to other classes.
DVRL (Yoon et al., ICML 2020) gives its value estimator the same kind of help: the difference
between a sample's label and the prediction of another model.

Clips of one recording look alike whatever they show, and whoever labelled one wrongly labelled all
of them so. So a video's neighbours are those of other recordings alone: with its own among them,
agreement would say how many clips a recording was cut into.

It knows nothing of validation. Whether agreement is worth anything, and how much against all else,
is for the reward to teach: with the reward's sign turned the Selector learns to avoid it.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional

SHARPNESS = 10.0
"""By how much, in nats, a video at cosine 1 outweighs one at cosine 0."""
REFERENCES = 20_000
"""Videos that others are compared with, at most: with more, the cost would grow with N²."""
LIMIT = 3.0
"""Agreement is clamped to so many standard deviations."""
_ROUNDING = 1e-4
"""A spread of agreement, in nats, below which it is that of rounding."""
_ROWS = 2048


@torch.inference_mode()
def label_agreement(features: Tensor, classes: Tensor, recordings: Tensor) -> Tensor:
    """How far each video's neighbours carry its label, standardised over the videos.

    With unit vectors u of the standardised features, weights w_ij = exp(SHARPNESS · u_i·u_j) over
    all videos j of other recordings, and p_i the weighted share of them that carry the class of i,
    it is

        log(p_i / (1 − p_i)) − log(q_i / (1 − q_i)),

    where q_i is their plain share, so that large classes have no head start. Then zero mean, unit
    spread, clamped to ±LIMIT. A class that no other recording has cannot be judged: its videos get
    0, the mean of the others. Of more than REFERENCES videos, as many evenly spread ones stand for
    all.

    Args:
        features: float32 [N, F], the trunk's features.
        classes: int64 [N], class numbers from 0.
        recordings: int64 [N], the recording that each video was cut from, by any number.

    Returns:
        float32 [N]; all zeros when it does not vary, as with one class.
    """
    count = len(features)
    if count < 2:
        return torch.zeros(count, device=features.device)
    shares = torch.empty(2, count, dtype=torch.float64, device=features.device)
    known = int(classes.max()) + 1
    for rows, near, plain in neighbour_shares(features, classes, recordings, known):
        own = classes[rows, None]
        shares[0, rows] = near.gather(1, own).squeeze(1)
        shares[1, rows] = plain.gather(1, own).squeeze(1)
    judged = shares[1] > 0
    found = shares.logit(eps=1e-6)
    agreement = found[0] - found[1]
    agreement = (agreement - agreement[judged].mean()).masked_fill(~judged, 0)
    deviation = agreement[judged].square().mean().sqrt()
    if not judged.any() or deviation < _ROUNDING:
        return torch.zeros(count, device=features.device)
    return (agreement / deviation).clamp(-LIMIT, LIMIT).float()


@torch.inference_mode()
def neighbour_shares(
    features: Tensor, classes: Tensor, recordings: Tensor, known: int
) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """What share of each video's neighbours in other recordings carries each class, by blocks.

    Args:
        features, classes, recordings: as `label_agreement` takes them.
        known: C, how many classes there are.

    Yields:
        Rows, and for them float64 [n, C] twice: the weighted shares, and the plain ones. Both are 0
        where no other recording is.
    """
    count, device = len(features), features.device
    spread, mean = features.std(dim=0, correction=0), features.mean(dim=0)
    spread = spread.clamp_min(1e-6 * spread.max() + 1e-12)

    def units(rows: Tensor | slice) -> Tensor:  # of some: as many as the features take much memory
        return functional.normalize((features[rows] - mean) / spread, dim=1)

    chosen = torch.arange(count, device=device)
    if count > REFERENCES:
        chosen = torch.linspace(0, count - 1, REFERENCES, device=device).long()
    references, of_reference = units(chosen), recordings[chosen]
    carried = functional.one_hot(classes[chosen], known)
    counts, carried = carried.sum(dim=0), carried.to(references.dtype)
    for start in range(0, count, _ROWS):
        rows = slice(start, start + _ROWS)
        own = recordings[rows, None] == of_reference
        weights = (units(rows) @ references.T).sub_(1).mul_(SHARPNESS).exp_().masked_fill_(own, 0)
        near = (weights @ carried).double() / weights.sum(dim=1, keepdim=True).clamp_min(1e-30)
        others = counts - _counted(recordings[rows], of_reference, classes[chosen], known)
        yield rows, near, others.double() / others.sum(dim=1, keepdim=True).clamp_min(1)


def _counted(recordings: Tensor, of_reference: Tensor, classes: Tensor, known: int) -> Tensor:
    """How many references of each class come from each video's own recording: int64 [n, C]."""
    unique, place = recordings.unique(return_inverse=True)
    where = torch.searchsorted(unique, of_reference).clamp_max(len(unique) - 1)
    here = unique[where] == of_reference
    table = torch.zeros(len(unique), known, dtype=torch.int64, device=recordings.device)
    ones = torch.ones_like(classes[here])
    return table.index_put_((where[here], classes[here]), ones, accumulate=True)[place]
