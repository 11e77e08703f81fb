"""Stage two: the classifier on real and composited clips (Sec. 4.2), and what it gained.

Each arm is a way to choose pairs, an augmentation, or both (`train/arms.py`). Every arm draws the
same real clips in the same order for the same number of steps, so that only these differ.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l2a.augment import Augmentation
from l2a.checkpoints import load_tensors, save_tensors
from l2a.devices import pick_device
from l2a.errors import InputError
from l2a.files import read_json, write_json
from l2a.networks import VideoNetwork, build_network
from l2a.progress import progress
from train.arms import arm_title
from train.classifier import Diet, fit, make_classifier, predict
from train.metrics import Metrics, measure
from train.settings.full import ClassifierSettings, StageTwoSettings
from train.tracking import Tracker
from train.workspace import Workspace

# Far apart, so that the repeats of neighbouring seeds share no stream of random numbers.
_SEED_STRIDE = 1_000


@dataclass(frozen=True)
class Arm:
    """One way to train the classifier, and what came of it.

    Attributes:
        name: as in `train.arms.ArmPlan`.
        results: metrics on the test split, one a repeat, as `Metrics.to_json` gives them.
    """

    name: str
    results: tuple[dict[str, Any], ...]

    @property
    def mean(self) -> float:
        """Mean top-1 over the repeats, 0..1."""
        return statistics.fmean(result["top1"] for result in self.results)

    @property
    def spread(self) -> float:
        """Standard deviation of top-1 over the repeats; 0 for one."""
        top1 = [result["top1"] for result in self.results]
        return statistics.stdev(top1) if len(top1) > 1 else 0.0


def run_arm(
    name: str,
    pairs: NDArray[np.int64],
    space: Workspace,
    settings: ClassifierSettings,
    stage: StageTwoSettings,
    folder: Path,
    seed: int,
    augmentation: Augmentation | None = None,
) -> Arm:
    """Train and test the classifier `stage.repeats` times; finished repeats are not run again.

    Args:
        name: the arm's name; its files go to `folder` / "name-repeat", with "_" for each ":".
        pairs: bank rows of the pairs to composite, int64 `[m, 2]`; `m` may be 0.
        folder: where results and checkpoints go.
        seed: the first repeat's seed.
        augmentation: what is done to each batch; None for nothing.
    """
    per_batch = stage.composites_per_batch or settings.batch_size
    diet = Diet(space.rows["train"], pairs, per_batch, stage.replace_real, augmentation)
    results = []
    for repeat in range(stage.repeats):
        place = folder / f"{name.replace(':', '_')}-{repeat}"
        done = place / "metrics.json"
        if not done.is_file():
            metrics = _train_once(
                f"{name} {repeat + 1}/{stage.repeats}", diet, space, settings, place,
                seed + _SEED_STRIDE * repeat,
            )  # fmt: skip
            write_json(done, metrics.to_json())
            (place / "state.safetensors").unlink(missing_ok=True)
        results.append(read_json(done))
    return Arm(name, tuple(results))


def _train_once(
    title: str,
    diet: Diet,
    space: Workspace,
    settings: ClassifierSettings,
    place: Path,
    seed: int,
) -> Metrics:
    device = pick_device(settings.device)
    network = make_classifier(settings, len(space.videos.classes), seed, device)
    with progress(f"train {title}", "epochs") as report, Tracker(place / "tensorboard") as tracker:

        def on_epoch(epoch: int, figures: dict[str, float]) -> None:
            tracker.scalars("classifier", figures, epoch)
            report(epoch + 1, settings.epochs)

        fit(
            network, space.source, diet, settings, epochs=settings.epochs, seed=seed,
            checkpoint=place / "state.safetensors", on_epoch=on_epoch,
        )  # fmt: skip
    rows = space.rows["test"]
    metrics = measure(
        predict(network, space.source, rows), space.source.labels[rows], space.videos.classes
    )
    save_classifier(place / "classifier.safetensors", network, space)
    return metrics


def save_classifier(path: Path, network: VideoNetwork, space: Workspace) -> None:
    """Write a classifier with its classes and clip geometry: safetensors with a JSON header."""
    card = {
        "network": network.name,
        "classes": list(space.videos.classes),
        "clips": vars(space.bank.settings),
    }
    save_tensors(path, network.state_dict(), card)


def load_classifier(path: Path) -> tuple[VideoNetwork, Mapping[str, Any]]:
    """Read what `save_classifier` wrote: the network, and its card (network, classes, clips).

    Raises:
        InputError: the file is absent, damaged, or no classifier of ours.
    """
    tensors, card = load_tensors(path)
    if not isinstance(card, dict) or not {"network", "classes", "clips"} <= card.keys():
        raise InputError(f"{path} is not a classifier that `l2a train` saved; name another file.")
    network = build_network(card["network"], len(card["classes"]))
    network.load_state_dict(tensors)
    return network, card


def table(arms: list[Arm], clips: int) -> str:
    """Arms as a table for the terminal: top-1 on the test split, and the gain over no composites.

    Args:
        clips: test clips, from which the standard error of one accuracy is given.
    """
    base = next((arm.mean for arm in arms if arm.name == "none"), None)
    titles = [arm_title(arm.name) for arm in arms]
    width = max(16, *(len(title) + 2 for title in titles))
    lines = [f"{'':<{width}}{'top-1':>8}{'sd':>8}{'gain':>8}   seeds"]
    for arm, title in zip(arms, titles, strict=True):
        gain = "" if base is None or arm.name == "none" else f"{100 * (arm.mean - base):+.1f}"
        top1s = " ".join(f"{100 * result['top1']:.1f}" for result in arm.results)
        lines.append(
            f"{title:<{width}}{100 * arm.mean:>7.1f}%{100 * arm.spread:>8.1f}{gain:>8}   {top1s}"
        )
    error = 100 * standard_error([arm.mean for arm in arms], clips)
    lines.append(f"{clips} test clips: one accuracy is uncertain by ±{error:.1f} (1 s.e.)")
    return "\n".join(lines)


def standard_error(accuracies: Sequence[float], clips: int) -> float:
    """How uncertain one accuracy on `clips` test clips is, at the mean of several; all 0..1."""
    mean = statistics.fmean(accuracies)
    return float((mean * (1 - mean) / clips) ** 0.5)
