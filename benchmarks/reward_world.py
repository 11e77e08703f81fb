"""The world of `reward_scaling.py`: generated recordings whose scenes lie in part, as features.

People and places are the demo's (`l2a.demo`). What is planted:

- scenes lie in part: a share `home` of each class's training recordings plays in the scene of its
  class, as if the place belonged to the action; validation and test play anywhere. So a composite
  helps that shows an actor elsewhere, and one that shows it at home teaches the place once more;
- wrong labels: a share `wrong` of the training recordings carries the class of another one, in the
  real clips and in the composites made of them. Validation and test are clean.

What a pair is worth so depends on both its videos. Layers are the generator's truth: nothing is
segmented or inpainted. A recording gives one clip, because another clip of it adds little to a
reward. Clips are not cropped; each real training clip is seen as it is and mirrored.

Run by itself, this file does nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compositing.labels import mix_labels
from compositing.pair import Side, composite_pair
from compositing.settings import CompositeSettings
from l2a.checkpoints import load_tensors, save_tensors
from l2a.demo import RenderedClip, render_clip, stage_recording
from l2a.demo.motions import MOTIONS
from l2a.demo.scenes import SCENES
from l2a.files import fingerprint
from l2a.trunk import Trunk, trunk_checksum

Rows = NDArray[np.int64]
Clip = NDArray[np.uint8]
Part = Literal["train", "validation", "test"]
PARTS: tuple[Part, ...] = ("train", "validation", "test")
CLASSES = tuple(MOTIONS)
RULE = CompositeSettings(label_rule="actor")
"""The demo's label rule: what a composite shows is the one actor that is left of two."""

_BATCH = 32


@dataclass(frozen=True)
class World:
    """How much is generated, and what is planted.

    Attributes:
        train, validation, test: recordings of each part.
        partners: pairs that each training recording is the foreground of, and the background.
        home: share of each class's training recordings that play in its own scene.
        wrong: share of the training recordings with a wrong label.
        height, width: of a clip, in pixels.
        frames, fps: of a clip.
    """

    train: int = 240
    validation: int = 2000
    test: int = 2000
    partners: int = 4
    home: float = 0.8
    wrong: float = 0.3
    height: int = 64
    width: int = 80
    frames: int = 4
    fps: float = 3.0


@dataclass(frozen=True)
class Take:
    """One recording that is to be filmed: its class, its scene, its number within the class."""

    label: int
    scene: str
    number: int


@dataclass(frozen=True)
class Seen:
    """A world as a frozen trunk sees it.

    Attributes:
        real: float32 `[n, 2, D]`, training clips, plain and mirrored.
        labels: int64 `[n]`, as they are given, some of them wrong.
        wrong: bool `[n]`, which.
        pairs: int64 `[m, 2]`, rows (foreground, background) of training clips.
        composites: float32 `[m, 1, D]`, theirs; composite_labels: float32 `[m, 1, C]`.
        at_home: bool `[m]`, the scene is the one of the foreground's label.
        validation, test: float32 `[v, D]`; validation_labels, test_labels: int64 `[v]`.
    """

    real: Tensor
    labels: Tensor
    wrong: Tensor
    pairs: Rows
    composites: Tensor
    composite_labels: Tensor
    at_home: Tensor
    validation: Tensor
    validation_labels: Tensor
    test: Tensor
    test_labels: Tensor


def takes(world: World, seed: int, part: Part) -> list[Take]:
    """The recordings of a part, class after class in turn: any first n are even over classes."""
    count, scenes = getattr(world, part), sorted(SCENES)
    rng = np.random.default_rng([seed, PARTS.index(part), 14])
    found = []
    for place in range(count):
        number, label = divmod(place, len(CLASSES))
        home, choice = MOTIONS[CLASSES[label]].home, scenes
        if part == "train":
            of_class = -(-(count - label) // len(CLASSES))
            at_home = number < round(world.home * of_class)
            choice = [scene for scene in scenes if (scene == home) == at_home]
        found.append(Take(label, choice[rng.integers(len(choice))], number))
    return found


def exchange(labels: Rows, share: float, rng: np.random.Generator) -> Rows:
    """The labels with a share of them, to the nearest number, replaced by another class each."""
    count = round(share * len(labels))
    chosen = rng.permutation(len(labels))[:count]
    given = labels.copy()
    given[chosen] = (labels[chosen] + rng.integers(1, len(CLASSES), count)) % len(CLASSES)
    return given


def list_pairs(count: int, partners: int, rng: np.random.Generator) -> Rows:
    """Pairs of `count` rows in which each stands `partners` times on either side, never with
    itself: int64 `[count · partners, 2]`, each pair once. `partners` is below `count`."""
    order = rng.permutation(count)
    steps = 1 + rng.permutation(count - 1)[:partners]
    pairs = [np.stack([order, np.roll(order, int(step))], axis=1) for step in steps]
    return np.concatenate(pairs)


def film(world: World, seed: int, part: Part, take: Take) -> RenderedClip:
    """The clip of a recording; it follows from the seed, the part, the class and the number."""
    stream = [seed, PARTS.index(part), take.label, take.number]
    recording = stage_recording(
        CLASSES[take.label], take.scene, take.number, (world.height, world.width),
        np.random.default_rng(stream),
    )  # fmt: skip
    return render_clip(recording, world.frames, np.random.default_rng([*stream, 1]), world.fps)


def see(world: World, seed: int, trunk: Trunk, folder: Path) -> Seen:
    """Film a world and compute its features, as far as they are not kept in `folder`.

    Args:
        world, seed: what is generated.
        trunk: in evaluation.
        folder: features are kept there by all that they depend on.
    """
    rng = np.random.default_rng([seed, 13])
    cast = takes(world, seed, "train")
    true = np.array([take.label for take in cast])
    given = exchange(true, world.wrong, rng)
    pairs = list_pairs(world.train, world.partners, rng)
    mark = fingerprint([world, seed, trunk_checksum(trunk)])
    folder = folder / "features" / f"{seed}-{mark}"
    kept = partial(_kept, trunk=trunk.eval().folded())
    held = {
        part: kept(folder / f"{part}.safetensors", partial(_frames, world, seed, part))["features"]
        for part in ("validation", "test")
    }
    train = [film(world, seed, "train", take) for take in cast]
    both = (flip for clip in train for flip in (clip.frames, clip.frames[:, :, ::-1].copy()))
    real = kept(folder / "train.safetensors", lambda: ((clip, 0.0) for clip in both))["features"]
    made = kept(folder / "composites.safetensors", lambda: _composites(train, pairs))
    one_hot = np.eye(len(CLASSES), dtype=np.float32)[given]
    soft = mix_labels(one_hot[pairs[:, 0]], one_hot[pairs[:, 1]], made["lam"].numpy())
    homes = [MOTIONS[CLASSES[label]].home for label in given]
    at_home = [homes[f] == cast[b].scene for f, b in pairs.tolist()]
    labels = {part: torch.tensor([t.label for t in takes(world, seed, part)]) for part in PARTS}
    return Seen(
        real.unflatten(0, (-1, 2)), torch.from_numpy(given), torch.from_numpy(given != true),
        pairs, made["features"][:, None], torch.from_numpy(soft)[:, None], torch.tensor(at_home),
        held["validation"], labels["validation"], held["test"], labels["test"],
    )  # fmt: skip


def _frames(world: World, seed: int, part: Part) -> Iterator[tuple[Clip, float]]:
    return ((film(world, seed, part, take).frames, 0.0) for take in takes(world, seed, part))


def _composites(train: Sequence[RenderedClip], pairs: Rows) -> Iterator[tuple[Clip, float]]:
    """Each pair's composite and its λ."""
    for foreground, background in pairs.tolist():
        scene = train[background]
        made = composite_pair(
            Side(train[foreground].frames, train[foreground].mask),
            Side(scene.background.copy(), scene.mask), RULE,
        )  # fmt: skip
        yield made.frames, made.lam


@torch.no_grad()
def _kept(
    path: Path, clips: Callable[[], Iterator[tuple[Clip, float]]], *, trunk: Trunk
) -> dict[str, Tensor]:
    """`features` float32 `[n, D]` and `lam` float64 `[n]` of the clips that `clips()` gives."""
    if path.is_file():
        return load_tensors(path)[0]
    features, shares = [], []
    source = clips()
    while batch := list(islice(source, _BATCH)):
        stacked = torch.from_numpy(np.stack([clip for clip, _ in batch]))
        features.append(trunk(trunk.to_input(stacked)).float())
        shares += [lam for _, lam in batch]
    found = {"features": torch.cat(features), "lam": torch.tensor(shares, dtype=torch.float64)}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_tensors(path, found)
    return found
