"""Batches of labelled clips beside views of unlabelled ones, each a function of its step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from l2a.augment import Augmentation
from l2a.augment.objects import bounding_boxes
from l2a.clips import RowState
from l2a.errors import InputError
from train.batches import Augment, ClipBatch, ClipSource, UnlabelledViews
from train.loading import StepBatches, TensorBatch
from train.mix import augmented, cycle
from train.semi_supervised.strong import strong_augmentation

# Streams of random numbers: none is one of `train.mix`.
_ORDER, _WEAK, _AGAIN, _STRONG, _SLOW, _CUT, _FRAME = range(10, 17)

CUT_PROBABILITY = 0.5
"""How often a batch is cut by ActorCut: one coin a step, as in the authors' code."""

CUT_ALPHA = 4.0
"""ActorCut: the actors' label weighs 1 − (1 − ρ)^4, ρ their share of the clip."""


@dataclass(frozen=True, slots=True)
class SemiBatch(TensorBatch):
    """Labelled clips and views of U unlabelled ones.

    Every view is uint8 `[U, T, h, w, 3]`, RGB, or float32 `[U, D]` where features of a frozen trunk
    stand in place of clips. What an objective does not ask for is None.

    Attributes:
        labelled: real clips, and composites where the arm has them.
        weak: crop and flip.
        weak_again: an independent crop and flip of the same clips.
        strong: the weak clip with strong augmentation: same frames, same crop.
        slow: every other frame of the clips, `[U, ⌈T/2⌉, h, w, 3]`, cropped independently.
        cut: ActorCut: the actors of weak clip i on the emptied scene of weak clip `partners[i]`;
            where nothing was cut, the strong clip.
        partners: int64 `[U]`, indices within the batch; i itself where nothing was cut.
        cut_weight: float32 `[U]`, the share of the label of clip i in that of `cut[i]`,
            1 − (1 − ρ)^4; 1 where nothing was cut.
        targets: float32 `[U, C]`, pseudo-labels given beforehand, weighed so that their mean is one
            over clips without a label; zero rows where there is none.
        teacher: float32 `[U, K]`, the teacher's probabilities of one frame of each weak clip.
    """

    labelled: ClipBatch
    weak: Tensor
    weak_again: Tensor | None = None
    strong: Tensor | None = None
    slow: Tensor | None = None
    cut: Tensor | None = None
    partners: Tensor | None = None
    cut_weight: Tensor | None = None
    targets: Tensor | None = None
    teacher: Tensor | None = None

    def __len__(self) -> int:
        return len(self.labelled) + len(self.weak)

    @property
    def most_parts(self) -> int:
        """As many as there are clips of the fewer kind; two that ActorCut cut stay together."""
        apart = len(self.weak) if self.partners is None else -(-len(self.weak) // 2)
        return min(len(self.labelled), apart)

    @property
    def terms(self) -> tuple[int, int]:
        """Labelled and unlabelled clips."""
        return len(self.labelled), len(self.weak)

    def part(self, index: int, of: int) -> SemiBatch:
        """One of `of` parts of about the same size, of the labelled clips and of the views.

        A clip stays with the one whose scene it has: the label of one is a guess about the other.

        Raises:
            InputError: a part would have no labelled, or no unlabelled clip.
        """
        if of == 1:
            return self
        count = len(self.weak)
        if self.most_parts < of:
            raise InputError(
                f"A batch has {len(self.labelled)} labelled and {count} unlabelled clips, which "
                f"cannot be shared out in {of} parts; give a larger batch_size or "
                "unlabelled_per_batch, or start fewer processes."
            )
        own = torch.arange(count, device=self.weak.device)
        scene = own if self.partners is None else self.partners
        first = torch.minimum(own, scene)
        # One of a pair may be whole: it is then found by the other.
        first = first.scatter_reduce(0, scene, first, "amin")
        places = (first.unique(return_inverse=True)[1] % of == index).nonzero()[:, 0]
        found: dict[str, Any] = {name: getattr(self, name) for name in VIEWS}
        found = {name: view if view is None else view[places] for name, view in found.items()}
        if self.partners is not None:
            moved = torch.zeros_like(own).scatter(0, places, own[: len(places)])
            found["partners"] = moved[scene[places]]
        return SemiBatch(self.labelled._each(lambda rows: rows[index::of].contiguous()), **found)


VIEWS = frozenset(one.name for one in fields(SemiBatch)) - {"labelled"}
"""What an objective can ask for; `partners` and `cut_weight` come with `cut`."""


class TeacherOutputs(Protocol):
    """What a teacher made of frames of the bank, stored."""

    def of(self, rows: NDArray[np.int64], frames: NDArray[np.int64]) -> Tensor:
        """Probabilities float32 `[n, K]` of frame `frames[i]` of the clip in bank row `rows[i]`."""


@dataclass(frozen=True)
class Unlabelled:
    """What unlabelled clips a training sees, and what is known of them.

    Attributes:
        rows: bank rows, int64 `[n]`, at least one.
        per_batch: U, unlabelled clips in a batch.
        targets: pseudo-labels given beforehand, float32 `[N, C]`, a row for each of the bank, as
            `train.semi_supervised.learning.targets_of` weighs them; zeros where there is none.
        teacher: stored outputs of a teacher.
        strong: the strong augmentation.
    """

    rows: NDArray[np.int64]
    per_batch: int
    targets: Tensor | None = None
    teacher: TeacherOutputs | None = None
    strong: Augmentation = field(default_factory=strong_augmentation)


class SemiBatches:
    """The batches of a semi-supervised training, as `train.loading.StepBatches`.

    The labelled part is that of a supervised training, to the byte. Unlabelled clips are drawn in
    endless shuffled passes. Each view draws from a generator of its own, so that objectives that
    ask for different views see the same weak clips.
    """

    def __init__(
        self, labelled: StepBatches[ClipBatch], source: ClipSource, unlabelled: Unlabelled,
        flip: bool, seed: int, needs: frozenset[str],
    ) -> None:  # fmt: skip
        """
        Args:
            labelled: says how many steps there are.
            source: of the unlabelled clips.
            unlabelled: which they are, and what is known of them.
            flip: mirror clips at random.
            seed: order, crops, flips and augmentations follow from it.
            needs: the views to make, of `VIEWS`.

        Raises:
            ValueError: a view is not known, or needs targets or a teacher that are not given.
        """
        known = {"targets": unlabelled.targets, "teacher": unlabelled.teacher}
        absent = [name for name in needs if name not in VIEWS or known.get(name, needs) is None]
        if absent:
            raise ValueError(f"no {absent[0]} can be made here")
        self._labelled, self._source, self._unlabelled = labelled, source, unlabelled
        self._flip, self._seed, self._needs = flip, seed, needs
        self.steps_per_epoch = labelled.steps_per_epoch

    def __len__(self) -> int:
        """Steps of the whole training."""
        return len(self._labelled)

    def __getitem__(self, index: int) -> SemiBatch:
        """The batch of a step, counted from 0 over all epochs."""
        given, needs, rows = self._unlabelled, self._needs, self.rows(index)
        cutting = "cut" in needs and self._rng(index, _CUT).random() < CUT_PROBABILITY
        draws = self._draws(index, _WEAK)
        weak = self._source.unlabelled(rows, draws, masks=cutting, scenes=cutting)
        batch: dict[str, Tensor] = {}
        if "weak_again" in needs:
            batch["weak_again"] = self._source.unlabelled(rows, self._draws(index, _AGAIN)).clips
        if "slow" in needs:
            again = self._draws(index, _SLOW)
            batch["slow"] = self._source.unlabelled(rows, again, every=2).clips
        if "strong" in needs:
            batch["strong"] = self._strong(weak.clips, index)
        if "cut" in needs:
            batch |= self._cut(weak, rows, index)
        if "targets" in needs and given.targets is not None:
            batch["targets"] = given.targets[torch.from_numpy(rows)]
        if "teacher" in needs and given.teacher is not None:
            frames = self._source.bank.settings.num_frames
            drawn = self._rng(index, _FRAME).integers(frames, size=len(rows))
            batch["teacher"] = given.teacher.of(rows, drawn)
        return SemiBatch(self._labelled[index], weak.clips, **batch)

    def rows(self, index: int) -> NDArray[np.int64]:
        """Bank rows int64 `[U]` of the unlabelled clips of a step."""
        given, count = self._unlabelled, self._unlabelled.per_batch
        return given.rows[cycle(index * count, count, len(given.rows), self._seed, _ORDER)]

    def _rng(self, index: int, stream: int) -> np.random.Generator:
        epoch, step = divmod(index, self.steps_per_epoch)
        return np.random.default_rng([self._seed, epoch, step, stream])

    def _draws(self, index: int, stream: int) -> Augment:
        return Augment(self._rng(index, stream), self._flip)

    def _strong(self, weak: Tensor, index: int) -> Tensor:
        """Weak clips with strong augmentation."""
        seed: Sequence[int] = [self._seed, *divmod(index, self.steps_per_epoch), _STRONG]
        return augmented(
            ClipBatch(weak, torch.zeros(len(weak), 1)), self._unlabelled.strong, seed
        ).clips

    def _cut(self, weak: UnlabelledViews, rows: NDArray[np.int64], index: int) -> dict[str, Tensor]:
        """`cut`, `partners` and `cut_weight` of a batch."""
        count = len(rows)
        if weak.masks is None or weak.scenes is None:  # the coin said no
            plan = CutPlan(torch.arange(count), torch.ones(count), None)
        else:
            layers = np.asarray(self._source.bank.state)[rows] == RowState.LAYERS
            plan = plan_cut(weak.masks, torch.from_numpy(layers))
        cut = torch.empty_like(weak.clips)
        whole = plan.partners == torch.arange(count)
        if whole.any():
            # Every clip is drawn for, so that what becomes of one does not depend on the others.
            cut[whole] = self._strong(weak.clips, index)[whole]
        if plan.regions is not None and weak.scenes is not None:
            scenes, regions = weak.scenes[plan.partners], plan.regions[..., None]
            cut[~whole] = torch.where(regions, weak.clips, scenes)[~whole]
        return {"cut": cut, "partners": plan.partners, "cut_weight": plan.weight}


@dataclass(frozen=True)
class CutPlan:
    """What ActorCut does with a batch.

    Attributes:
        partners: int64 `[U]`, whose scene each clip gets; itself where nothing is cut.
        weight: float32 `[U]`, of its own label.
        regions: bool `[U, T, h, w]`, what is kept of each clip; None where nothing is cut.
    """

    partners: Tensor
    weight: Tensor
    regions: Tensor | None


def plan_cut(masks: Tensor, layers: Tensor) -> CutPlan:
    """Whose actors stand on whose scene (ActorCut, Zou et al. 2021).

    The partner is the batch in reverse order; the middle one of an odd number stays whole. So does
    a clip without actors, one that is full of them, and one of a pair of which one has no layers:
    who acts in it, or what is behind its actors, is not known.

    Args:
        masks: bool `[U, T, h, w]`, of the actors in the weak clips.
        layers: bool `[U]`, whether a clip has them.

    Returns:
        Regions are the boxes about each frame's mask. Weights are 1 − (1 − ρ)^4, ρ the share of the
        box in the clip.
    """
    regions = bounding_boxes(masks)
    share = regions.flatten(1).double().mean(1)
    own = torch.arange(len(masks))
    cuts = (share > 0) & (share < 1) & layers & layers.flip(0) & (own != own.flip(0))
    weight = torch.where(cuts, 1 - (1 - share) ** CUT_ALPHA, 1.0)
    return CutPlan(torch.where(cuts, own.flip(0), own), weight.float(), regions)
