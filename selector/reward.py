"""What a Selector's action is worth, and the loss that follows: pure functions.

Learn2Augment Eq. 2-6 have two misprints, mended here:

- Eq. 2 prints the reward as validation loss − δ and maximises it, which would reward pairs that
  RAISE the loss, against the text. We take δ − loss.
- Eq. 6 prints δ_t = (S−1)/S · δ_{t−1} + loss, whose limit is S times the loss and so no average.
  We take loss/S. It also prints f_θ; the loss is the classifier's, f_φ.

The credit per pair is ours. With the paper's reward every pair of a batch shares one number, and
64 coin flips hide each other's effect; a gradient tells them apart at once.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def update_baseline(delta: float | None, loss: float, window: int = 5) -> float:
    """The moving average δ after a step (Eq. 6, mended): (S−1)/S · δ + loss/S.

    Args:
        delta: δ before the step; None before the first one, which starts it at its own loss.
        loss: the validation loss after the step.
        window: S, the paper's 5.
    """
    return loss if delta is None else (window - 1) / window * delta + loss / window


def moving_average_reward(loss: float, delta: float | None) -> float:
    """The reward of a subset (Eq. 2, mended): δ − loss, positive when the loss fell below δ.

    The first step has nothing to be compared with and gets 0.
    """
    return 0.0 if delta is None else delta - loss


def last_layer_credit(
    val_probabilities: Tensor,
    val_targets: Tensor,
    val_features: Tensor,
    probabilities: Tensor,
    targets: Tensor,
    features: Tensor,
    standardise: bool = True,
) -> Tensor:
    """How far a step on each composite alone would lower the validation loss, to first order.

    With cross-entropy on softmax(W h + b), the gradient of one clip's loss in [W, b] is
    (p − y) ⊗ [h; 1]. A small step −η·grad_i changes the validation loss by −η·⟨grad_val, grad_i⟩,
    so the inner product is the credit:

        credit_i = ⟨ mean_j (p_j − y_j) ⊗ [h_j; 1], (p_i − y_i) ⊗ [h_i; 1] ⟩

    No gradient is formed per composite: the cost is one [C, D+1] matrix and a product with it.

    Args:
        val_probabilities: float [V, C], the classifier's softmax on the validation clips.
        val_targets: float [V, C], their one-hot labels.
        val_features: float [V, D], what enters the classifier's last layer.
        probabilities: float [B, C], the softmax on the composites.
        targets: float [B, C], their mixed labels; rows sum to 1.
        features: float [B, D], what enters the last layer.
        standardise: bring both kinds of features to the validation clips' zero mean and unit
            spread first. Features behind a ReLU are all positive; left so, their common mean
            dominates every inner product and the credit is worse than chance.

    Returns:
        float [B]; positive when a step on the composite lowers the validation loss.
    """
    if standardise:
        mean = val_features.mean(dim=0)
        spread = val_features.std(dim=0, correction=0)
        # A feature that no validation clip varies says nothing about the validation loss.
        scale = torch.where(spread > 1e-6 * spread.max(), 1 / spread, torch.zeros_like(spread))
        val_features = (val_features - mean) * scale
        features = (features - mean) * scale
    val_errors = val_probabilities - val_targets
    weight_gradient = val_errors.T @ val_features / len(val_features)  # [C, D]
    bias_gradient = val_errors.mean(dim=0)  # [C]
    errors = probabilities - targets
    return (errors * (features @ weight_gradient.T + bias_gradient)).sum(dim=1)


def standardise_credit(credit: Tensor) -> Tensor:
    """Credit [B] with zero mean and unit spread over the batch; all zeros when it has no spread.

    The mean is the baseline: without it every credit of an early batch is positive and ω goes
    to 1 for all pairs.
    """
    centred = credit - credit.mean()
    spread = centred.square().mean().sqrt()
    # Rounding leaves a little spread in equal credits; blown up to 1 it would be pure noise.
    flat = spread <= 1e-6 * credit.abs().max()
    return torch.zeros_like(credit) if flat else centred / spread


def log_policy(logits: Tensor, actions: Tensor) -> Tensor:
    """log π(a|s) of each pair: log ω where it was selected, log(1 − ω) where it was not.

    Taken from the logits, so that it stays finite where ω rounds to 0 or 1.

    Args:
        logits: float [B]. actions: float [B], 0 or 1.

    Returns:
        float [B], 0 or less.
    """
    return -functional.binary_cross_entropy_with_logits(logits, actions, reduction="none")


def policy_loss(logits: Tensor, actions: Tensor, reward: Tensor) -> Tensor:
    """What gradient descent lowers to raise the expected reward (Eq. 5 with its sign turned).

    - A reward for the subset, a scalar R: −R · Σ_i log π(a_i|s_i), as in DVRL.
    - A credit for each pair: −mean_i credit_i · (2a_i − 1) · log π(a_i|s_i). The factor turns
      the sign for a pair that was left out: leaving out a good one is a bad action.

    Args:
        logits: float [B]. actions: float [B], 0 or 1. reward: float [] or [B], no gradient.

    Returns:
        float [].

    Raises:
        ValueError: the reward is neither one number nor one per pair.
    """
    log_pi = log_policy(logits, actions)
    if reward.ndim == 0:
        return -reward * log_pi.sum()
    if reward.shape != logits.shape:
        raise ValueError(
            f"The reward has shape {list(reward.shape)}; give one number, or one for each of "
            f"the {len(logits)} pairs."
        )
    return -(reward * (2 * actions - 1) * log_pi).mean()


def exploration_penalty(
    omega: Tensor, low: float = 0.1, high: float = 0.9, weight: float = 1e3
) -> Tensor:
    """DVRL's penalty on a policy that takes nearly all pairs or nearly none.

    weight · (max(mean ω − high, 0) + max(low − mean ω, 0)), with ω float [B] in 0..1.
    """
    mean = omega.mean()
    return weight * (functional.relu(mean - high) + functional.relu(low - mean))
