"""Contrast of two views' class probabilities, one by one and by groups (TCL, Singh et al. 2021).

As `simclr_loss`, `get_group` and `compute_group_contrastive_loss` in `main.py` of
github.com/CVIR/TCL, 661076c, compute it: on probabilities, not on features.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from train.objectives.confidence import one_hot

TEMPERATURE = 0.5


def instance_contrast(first: Tensor, second: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """−1/2N Σ_a log( exp(s_aa'/T) / Σ_{b ≠ a} exp(s_ab/T) ), a over both views (TCL, Eq. 2).

    s is the cosine, a' the other view of the same clip; 0 for one clip.

    Args:
        first, second: float32 `[N, C]`, rows of two views of the same clips.
        temperature: T.

    Returns:
        float32 [].
    """
    count = len(first)
    views = F.normalize(torch.cat([first, second]), dim=1)
    alike = (views @ views.T) / temperature
    itself = torch.eye(2 * count, dtype=torch.bool, device=views.device)
    other = torch.arange(2 * count, device=views.device).roll(count)
    return F.cross_entropy(alike.masked_fill(itself, -torch.inf), other)


def group_contrast(first: Tensor, second: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """The contrast of group means (TCL, Eq. 3 and 4).

    A view's clips are grouped by their likeliest class; means of the groups that both views have
    are contrasted. 0, with a gradient of 0, where they share none.

    Args:
        first, second: probabilities float32 `[N, C]`.
        temperature: T.

    Returns:
        float32 [].
    """
    classes = first.shape[1]
    groups = [one_hot(view.argmax(1), classes) for view in (first, second)]
    sizes = [group.sum(0) for group in groups]
    shared = (sizes[0] > 0) & (sizes[1] > 0)
    if not shared.any():
        return 0 * second.sum()
    means = [
        (group.T @ view)[shared] / size[shared, None]
        for group, view, size in zip(groups, (first, second), sizes, strict=True)
    ]
    return instance_contrast(means[0], means[1], temperature)
