"""The classifier: trained on real clips with composites beside them, and measured."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from l2a.augment import Augmentation
from l2a.checkpoints import (
    load_tensors,
    optimizer_tensors,
    restore_optimizer,
    save_tensors,
    with_prefix,
    without_prefix,
)
from l2a.errors import InputError, L2AError
from l2a.networks import VideoNetwork, build_network, to_input
from train.batches import Augment, Batch, ClipSource, ahead, augmented, cycle, join
from train.settings.full import ClassifierSettings

# An interrupted training loses at most this much, and writing costs a small share of the time.
_SECONDS_BETWEEN_CHECKPOINTS = 20.0
_EVALUATION_BATCH = 32

OnEpoch = Callable[[int, dict[str, float]], None]
"""Called after each epoch with its number, from 0, and the figures to show."""


@dataclass(frozen=True)
class Diet:
    """What a classifier is fed.

    Attributes:
        rows: bank rows of the real clips, int64 `[n]`.
        pairs: bank rows of the pairs to composite, int64 `[m, 2]`; `m` may be 0.
        composites_per_batch: composites beside the real clips of each batch.
        replace_real: composites take the place of real clips, so that a batch keeps its size.
        augmentation: what is done to each batch in the end; None for nothing.
    """

    rows: NDArray[np.int64]
    pairs: NDArray[np.int64]
    composites_per_batch: int
    replace_real: bool = False
    augmentation: Augmentation | None = None

    def steps_per_epoch(self, batch_size: int) -> int:
        """Steps in which every real clip is drawn once."""
        return math.ceil(len(self.rows) / self.real_per_batch(batch_size))

    def real_per_batch(self, batch_size: int) -> int:
        """Real clips in a batch."""
        if not self.replace_real or len(self.pairs) == 0:
            return batch_size
        if self.composites_per_batch >= batch_size:
            raise InputError(
                f"composites_per_batch is {self.composites_per_batch} and takes the whole batch "
                f"of {batch_size}; with replace_real it must be smaller."
            )
        return batch_size - self.composites_per_batch

    def batches(
        self, source: ClipSource, batch_size: int, flip: bool, seed: int, epoch: int
    ) -> Iterator[Batch]:
        """The batches of one epoch; they depend on the arguments alone."""
        steps = self.steps_per_epoch(batch_size)
        masks = self.augmentation is not None and self.augmentation.needs_masks
        order = np.random.default_rng([seed, epoch]).permutation(self.rows)
        # Even parts: a last batch of one clip would upset batch normalisation.
        for step, rows in enumerate(np.array_split(order, steps)):
            # Real clips and composites draw from generators of their own, so that a training
            # without composites sees the very same real batches as one with them.
            augment = Augment(np.random.default_rng([seed, epoch, step, 0]), flip)
            batch = source.real(rows, augment, masks=masks)
            if len(self.pairs) and self.composites_per_batch:
                start = (epoch * steps + step) * self.composites_per_batch
                chosen = cycle(start, self.composites_per_batch, len(self.pairs), seed)
                augment = Augment(np.random.default_rng([seed, epoch, step, 1]), flip)
                batch = join(batch, source.composites(self.pairs[chosen], augment, masks=masks))
            if self.augmentation is not None:
                batch = augmented(batch, self.augmentation, [seed, epoch, step, 2])
            yield batch


def make_classifier(
    settings: ClassifierSettings, num_classes: int, seed: int, device: torch.device
) -> VideoNetwork:
    """A classifier on `device` whose first weights follow from `seed` alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build_network(settings.network, num_classes, settings.weights)
    return network.to(device)


def fit(
    network: VideoNetwork,
    source: ClipSource,
    diet: Diet,
    settings: ClassifierSettings,
    *,
    epochs: int,
    seed: int,
    checkpoint: Path | None = None,
    on_epoch: OnEpoch = lambda epoch, figures: None,
) -> None:
    """Train `network` in place: soft-label cross-entropy, SGD, cosine schedule (Sec. 5.1).

    Args:
        network: on the device to train on.
        source: real clips and composites.
        diet: which of them.
        settings: optimiser, schedule and batch size; `epochs` comes apart because warming up
            uses fewer.
        epochs: passes over the real clips.
        seed: order, crops and flips follow from it.
        checkpoint: where to keep the state after an epoch; an existing file is gone on from,
            with the result that an undisturbed training would have had.
        on_epoch: told the mean training loss, the learning rate and clips a second.

    Raises:
        L2AError: the loss is no longer a number.
    """
    device = next(network.parameters()).device
    optimizer = torch.optim.SGD(
        network.parameters(),
        lr=settings.lr,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
    )
    first = _restore(network, optimizer, checkpoint)
    steps = diet.steps_per_epoch(settings.batch_size)
    saved = time.monotonic()
    for epoch in range(first, epochs):
        network.train()
        started, total, clips = time.monotonic(), torch.zeros((), device=device), 0
        batches = diet.batches(source, settings.batch_size, settings.flip, seed, epoch)
        # Stochastic depth and dropout draw from the global generator: give it a known state.
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(seed * 1_000_003 + epoch)
            for step, batch in enumerate(ahead(batches)):
                rate = cosine(settings.lr, epoch * steps + step, epochs * steps)
                for group in optimizer.param_groups:
                    group["lr"] = rate
                loss = soft_loss(network, batch, settings.precision)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                total += loss.detach()
                clips += len(batch.labels)
        mean = float(total) / steps
        if not math.isfinite(mean):
            raise L2AError(
                f"The training loss is {mean} in epoch {epoch}; lower lr ({settings.lr})."
            )
        rate_shown = clips / (time.monotonic() - started)
        on_epoch(epoch, {"loss": mean, "lr": rate, "clips_per_second": rate_shown})
        if checkpoint and (
            epoch + 1 == epochs or time.monotonic() - saved > _SECONDS_BETWEEN_CHECKPOINTS
        ):
            _save(network, optimizer, checkpoint, epoch + 1)
            saved = time.monotonic()


def cosine(lr: float, step: int, steps: int) -> float:
    """The learning rate at `step` of `steps`: from `lr` to 0 along half a cosine."""
    return lr * 0.5 * (1 + math.cos(math.pi * step / steps))


def soft_loss(network: VideoNetwork, batch: Batch, precision: str = "float32") -> Tensor:
    """Mean cross-entropy of a batch against its soft labels; a scalar with gradient."""
    device = next(network.parameters()).device
    with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
        logits = network(to_input(batch.clips.to(device, non_blocking=True)))
    return F.cross_entropy(logits.float(), batch.labels.to(device, non_blocking=True))


@torch.inference_mode()
def predict(
    network: VideoNetwork, source: ClipSource, rows: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Logits float32 `[n, num_classes]` of real clips, one centre crop a clip."""
    return _over_clips(network, network, source, rows)


@torch.inference_mode()
def trunk_features(
    trunk: torch.nn.Module, source: ClipSource, rows: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Trunk features float32 `[n, feature_dim]` of real clips, one centre crop a clip."""
    return _over_clips(trunk, trunk, source, rows)


def _over_clips(
    model: torch.nn.Module,
    function: Callable[[Tensor], Tensor],
    source: ClipSource,
    rows: NDArray[np.int64],
) -> NDArray[np.float32]:
    device = next(model.parameters()).device
    model.eval()
    parts = [rows[i : i + _EVALUATION_BATCH] for i in range(0, len(rows), _EVALUATION_BATCH)]
    outputs = [
        function(to_input(batch.clips.to(device))).float().cpu().numpy()
        for batch in ahead(source.real(part) for part in parts)
    ]
    return np.concatenate(outputs)


def _save(
    network: VideoNetwork, optimizer: torch.optim.Optimizer, path: Path, epochs_done: int
) -> None:
    tensors = with_prefix("network.", network.state_dict()) | optimizer_tensors(optimizer, "sgd.")
    save_tensors(path, tensors, {"epochs_done": epochs_done})


def _restore(network: VideoNetwork, optimizer: torch.optim.Optimizer, path: Path | None) -> int:
    """Put back the state that `_save` kept; returns how many epochs are done."""
    if path is None or not path.is_file():
        return 0
    tensors, values = load_tensors(path)
    network.load_state_dict(without_prefix("network.", tensors))
    restore_optimizer(optimizer, tensors, "sgd.")
    return int(values["epochs_done"])
