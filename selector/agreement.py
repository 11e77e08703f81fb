"""Label agreement: how far the videos that look like a video carry the label that it carries.

A Selector that sees features and labels of one pair at a time would have to memorise what a
class looks like. Agreement says it in one number for each video, which costs no training and means
the same in every data set, so that what a Selector learns of it carries over to other classes.
DVRL (Yoon et al., ICML 2020) gives its value estimator the same kind of help: the difference
between a sample's label and the prediction of another model.

It knows nothing of validation. Whether agreement is worth anything, and how much against all else,
is for the reward to teach: with the reward's sign turned the Selector learns to avoid it.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

SHARPNESS = 10.0
"""By how much, in nats, a video at cosine 1 outweighs one at cosine 0."""
REFERENCES = 20_000
"""Videos that others are compared with, at most: with more, the cost would grow with N²."""
LIMIT = 3.0
"""Agreement is clamped to so many standard deviations."""
_ROWS = 2048


@torch.inference_mode()
def label_agreement(features: Tensor, classes: Tensor) -> Tensor:
    """How far each video's neighbours carry its label, standardised over the videos.

    With unit vectors u of the standardised features, weights w_ij = exp(SHARPNESS · u_i·u_j) over
    all other videos j, and p_i the weighted share of them that carry the class of i, it is

        log(p_i / (1 − p_i)) − log(q_i / (1 − q_i)),

    where q_i is their plain share, so that large classes have no head start. Then zero mean, unit
    spread, clamped to ±LIMIT. Of more than REFERENCES videos, as many evenly spread ones stand for
    all.

    Args:
        features: float32 [N, F], the trunk's features.
        classes: int64 [N], class numbers from 0.

    Returns:
        float32 [N]; all zeros when it does not vary, as with one class.
    """
    count = len(features)
    if count < 2:
        return torch.zeros(count, device=features.device)
    spread, mean = features.std(dim=0, correction=0), features.mean(dim=0)
    spread = spread.clamp_min(1e-6 * spread.max() + 1e-12)

    def units(rows: Tensor | slice) -> Tensor:  # of some: as many as the features take much memory
        return functional.normalize((features[rows] - mean) / spread, dim=1)

    chosen = torch.arange(count, device=features.device)
    if count > REFERENCES:
        chosen = torch.linspace(0, count - 1, REFERENCES, device=features.device).long()
    references = units(chosen)
    carried = functional.one_hot(classes[chosen], int(classes.max()) + 1).to(references.dtype)
    of_class = carried.sum(dim=0)
    shares = torch.empty(2, count, dtype=torch.float64, device=features.device)
    for start in range(0, count, _ROWS):
        rows = slice(start, start + _ROWS)
        own = torch.arange(count, device=features.device)[rows, None] == chosen
        weights = (units(rows) @ references.T).sub_(1).mul_(SHARPNESS).exp_().masked_fill_(own, 0)
        agree = (weights @ carried).gather(1, classes[rows, None]).squeeze(1)
        shares[0, rows] = agree.double() / weights.sum(dim=1)
        itself = own.any(dim=1).to(references.dtype)
        shares[1, rows] = (of_class[classes[rows]] - itself).double() / (len(chosen) - itself)
    # A class of one video has no other to agree with: both shares are 0, which says nothing.
    found = shares.logit(eps=1e-6)
    agreement = found[0] - found[1]
    agreement = agreement - agreement.mean()
    deviation = agreement.square().mean().sqrt()
    if deviation < 1e-9:
        return torch.zeros(count, device=features.device)
    return (agreement / deviation).clamp(-LIMIT, LIMIT).float()
