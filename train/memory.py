"""What to give where a training runs out of memory, or of numbers for its loss."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch

from l2a.machine import memory_for
from train.settings.full import ClassifierSettings

_KEPT = (
    "with another --out and the same --layers and --bank (RUN/layers and RUN/bank where none were "
    "given), which keep what is made"
)
_CLIPS_KEPT = (
    "with another --out and the same --bank (RUN/bank where none was given), which keeps the clips"
)
"""Results depend on what is to be changed, so that the same run folder would refuse it."""


def memory_for_training(
    settings: ClassifierSettings, device: torch.device
) -> AbstractContextManager[None]:
    """Train a classifier on a device in this block; see `l2a.machine.memory_for`."""
    most = settings.micro_batch
    at_once = "all at once" if most is None else f"{most} at once"
    less = (most or settings.batch_size) // 2
    smaller = f"--micro-batch (such as {less}) or --batch-size" if less else "--crop"
    precise = " or --precision bfloat16" if _halves(settings, device) else ""
    return memory_for(
        f"a training on {device} in batches of {settings.batch_size} clips, {at_once}",
        f"give a smaller {smaller}{precise}, {_KEPT}",
    )


def memory_for_selector(
    pairs: int, settings: ClassifierSettings, device: torch.device
) -> AbstractContextManager[None]:
    """Train the Selector with batches of `pairs` pairs in this block."""
    precise = " or --precision bfloat16" if _halves(settings, device) else ""
    return memory_for(
        f"the Selector's training on {device} in batches of {pairs} pairs",
        f"give a smaller --selector-batch (such as {max(2, pairs // 2)}) or "
        f"--micro-batch{precise}, {_KEPT}",
    )


def memory_for_episodes(
    way: int, queries: int, settings: ClassifierSettings, device: torch.device
) -> AbstractContextManager[None]:
    """Train on episodes of `way` classes with `queries` queries each in this block."""
    precise = " or --precision bfloat16" if _halves(settings, device) else ""
    return memory_for(
        f"a training on {device} on episodes of {way} classes with {queries} queries each",
        f"give fewer --queries or a lower --way{precise}, {_CLIPS_KEPT}",
    )


def lower_rate(settings: ClassifierSettings) -> str:
    """What to give where the loss of a training with `--lr` is no longer a number."""
    return f"give a lower --lr (it is {settings.lr:g}), {_KEPT}"


def lower_episode_rate(rate: float) -> str:
    """The same for a training on episodes, which has a learning rate of its own."""
    return f"give a lower --episode-lr (it is {rate:g}), {_CLIPS_KEPT}"


def smaller_steps(settings: ClassifierSettings) -> str:
    """The same for a method on features, whose learning rate is no setting."""
    if settings.lr_restart is not None:
        less = f"a lower --lr-restart (it is {settings.lr_restart:g})"
    elif settings.clip_gradients:
        less = f"a lower --clip-gradients (it is {settings.clip_gradients:g})"
    else:
        less = "--clip-gradients (such as 1)"
    return f"give {less}, {_KEPT}"


def _halves(settings: ClassifierSettings, device: torch.device) -> bool:
    return device.type == "cuda" and settings.precision == "float32"
