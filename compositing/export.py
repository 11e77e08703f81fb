"""Export: the chosen pairs as an augmented data set of video files, for any other framework.

Each clip appears whole or not at all, and the same call again makes only what is missing. Pairs
that cannot be made are replaced by the next best, so that there are as many clips as the budget
says, and never more. What lies where in the folder is said in `compositing/clipfolder.py`, and what
frameworks get of it in `compositing/layouts`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from compositing.clipfolder import (
    FolderPlan,
    SkippedPair,
    check_folder,
    check_plan,
    claim_folder,
    clip_name,
    composite_row,
    made_pairs,
    read_failure,
    read_plan,
    read_record,
    sweep,
    write_failure,
    write_manifest,
    write_skipped,
)
from compositing.clipmaking import Clip, ClipMaker, make_clips, reuse_clip, skipped_pair
from compositing.datacard import write_card
from compositing.engines.base import Engine
from compositing.engines.local import HERE
from compositing.layers import LayerSource
from compositing.layouts import ExportedSet, layouts_named
from compositing.originals import add_originals, original_rows
from compositing.records import pair_memory, reduced
from compositing.replacing import next_best
from compositing.settings import CompositeSettings, ExportSettings
from l2a.errors import InputError, L2AError
from l2a.files import fingerprint
from l2a.locks import locked_meanwhile
from l2a.logs import say
from l2a.pairs import ScoredPair
from l2a.progress import Report
from l2a.videos import TRAIN_SIDE, Video

Prepare = Callable[[Sequence[ScoredPair]], Mapping[str, str]]
"""Makes the layers that pairs lack; gives back video id ─► why it can have none."""


@dataclass(frozen=True, slots=True)
class PairList:
    """Chosen pairs, and those that may take their place.

    Attributes:
        rows: the pairs, each once, best first; the manifest keeps their order.
        meta: of the pairs file; `seed`, `data_set` and `balance` are used.
        spares: the next best pairs, in their order.
        chosen_by: fingerprint of the Selector and of what else the choice depends on; "" where
            that is not known.
    """

    rows: Sequence[ScoredPair]
    meta: Mapping[str, Any]
    spares: Sequence[ScoredPair] = ()
    chosen_by: str = ""

    @property
    def balanced(self) -> bool:
        """Whether the choice gave each foreground class its share."""
        return bool(self.meta.get("balance", "none") != "none")


@dataclass(frozen=True, slots=True)
class Material:
    """What clips are made of.

    Attributes:
        videos: id ─► video; all that the pairs name, unlabelled ones with the class that the pairs
            give them.
        classes: all class names of the data set, in the order of their indices.
        store: holds the layers of all these videos, or `prepare` makes them.
        originals: the videos that `include_real` adds.
        prepare: makes layers that are missing.
    """

    videos: Mapping[str, Video]
    classes: Sequence[str]
    store: LayerSource
    originals: Sequence[Video] = ()
    prepare: Prepare | None = None


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What an export did.

    Attributes:
        folder: the data set's folder.
        made: clips made now.
        reused: clips that an earlier try had made.
        skipped: pairs that could not be made, and originals that could not be added, with the
            reason; also in `skipped.csv`.
        replaced: clips that stand in for such pairs.
        missing: by how many clips the folder falls short of its budget, when no spare pairs are
            left.
        originals: original videos in the folder.
    """

    folder: Path
    made: int
    reused: int
    skipped: tuple[SkippedPair, ...]
    replaced: int = 0
    missing: int = 0
    originals: int = 0

    def __str__(self) -> str:
        """One line for the terminal."""
        text = f"{self.made} clips made, {self.reused} reused, {len(self.skipped)} skipped"
        if self.replaced:
            text += f", {self.replaced} of the clips are the next best in place of others"
        if self.missing:
            text += f"; {self.missing} fewer than the budget, because no spare pairs are left"
        if self.originals:
            text += f"; {self.originals} originals"
        return text


@locked_meanwhile()
def export_pairs(
    pairs: PairList,
    material: Material,
    out: Path,
    composite: CompositeSettings,
    export: ExportSettings,
    *,
    budget: int | None = None,
    engine: Engine = HERE,
    progress: Report | None = None,
) -> ExportReport:
    """Write the composites of the best pairs as a data set, in the layouts that are asked for.

    `label` is the foreground's class even where λ < ½: it is the action that is seen; `soft_label`
    is the mixed label of Eq. 7. A pair is skipped when one of its videos cannot be read, or is
    unfit for its side; the next best takes its place, of the same foreground class if the choice
    was balanced. The engine changes no byte of the result.

    A folder that holds clips takes the same settings and the same or a larger budget. Where
    `pairs.chosen_by` says that the same Selector chose them, clips of a smaller budget stay even
    when `pairs` lack them; otherwise such clips are refused.

    Args:
        pairs: which pairs, and which may take their place.
        material: the videos and layers that they are made of.
        out: the data set's folder: new, empty, or left by an earlier call with the same settings.
        composite: the label rule and α, the blend, and how far placements go.
        export: the encoder's settings, layouts, and whether to add the originals.
        budget: how many clips; as many as `pairs.rows` if not given. Rows beyond it are spare ones.
        engine: distributes the work.
        progress: called as `progress(clips done, clips in all)`.

    Raises:
        InputError: `pairs` is empty, shorter than the budget, or names a pair twice, a video or
            class that is not there, or a video that is not of the train split; or `out` holds
            something else, clips of other settings or pairs, or more than the budget.
        L2AError: no clip could be made.
    """
    check_pairs([*pairs.rows, *pairs.spares], material)
    budget = met_budget(pairs.rows, budget)
    for layout in layouts_named(export.layout_names):
        layout.check(material.classes)
    wanted = FolderPlan(budget, pairs.chosen_by, export.layout_names, export.include_real)
    plan = check_plan(out, wanted)
    kept = _kept(out, pairs, material)
    candidates = [*kept, *pairs.rows, *pairs.spares]
    recipe = _recipe(pairs.meta, material, composite, export)
    maker = ClipMaker(
        material.store, out, composite, export, fingerprint(recipe), pairs.meta.get("seed")
    )
    names = [clip_name(row, maker.settings) for row in candidates]
    check_folder(out, recipe, names)
    claim_folder(out, recipe, plan)
    sweep(out)

    clips = _Clips(maker, candidates, names, material)
    reused = clips.find_made(budget)
    groups = [row.foreground_class if pairs.balanced else "" for row in candidates]
    # Of the choice alone: clips of an earlier one stand before it, and change no quota.
    quotas = Counter(groups[len(kept) :][:budget])
    while picked := next_best(groups, quotas, clips.made, clips.failed):
        clips.make(picked, engine, budget, progress)
    skipped = clips.skipped()
    if not clips.made:
        write_skipped(out, skipped)
        raise L2AError(
            f"None of the {budget} clips could be made; the first reason: {skipped[0].reason}."
        )
    final = sorted(clips.made)
    originals, left_out = _add_originals(out, material, export, engine)
    skipped += left_out
    write_skipped(out, skipped)
    sweep(out, (names[i] for i in final))
    exported = ExportedSet(
        out, tuple(material.classes), recipe, budget, export.shard_size * 1_000_000
    )
    _describe(exported, [names[i] for i in final], originals, plan.layouts)
    _say_reduced([candidates[i] for i in final], material.store, bool(originals))
    return ExportReport(
        out,
        made=len(final) - len(reused & clips.made),
        reused=len(reused & clips.made),
        skipped=skipped,
        replaced=sum(i >= len(kept) + budget for i in final),
        missing=budget - len(final),
        originals=len(originals),
    )


def _say_reduced(rows: Sequence[ScoredPair], store: LayerSource, beside_originals: bool) -> None:
    """Say that clips are smaller than their videos, or have fewer frames, where some are."""
    ids = dict.fromkeys(id_ for row in rows for id_ in (row.foreground, row.background))
    if found := reduced(map(store.record, ids), store.settings):
        beside = ", and the originals beside them are whole" if beside_originals else ""
        say(f"note: {found}{beside}")


def _kept(out: Path, pairs: PairList, material: Material) -> list[ScoredPair]:
    """Pairs of an earlier, smaller choice by the same Selector whose clips stay."""
    before = read_plan(out)
    if not (before and pairs.chosen_by and before.chosen_by == pairs.chosen_by):
        return []
    here = {(row.foreground, row.background) for row in (*pairs.rows, *pairs.spares)}
    kept = [row for row in made_pairs(out) if (row.foreground, row.background) not in here]
    if kept:
        check_pairs(kept, material)
    return kept


def _recipe(
    meta: Mapping[str, Any],
    material: Material,
    composite: CompositeSettings,
    export: ExportSettings,
) -> dict[str, Any]:
    """Every setting that clips depend on, as JSON can hold it."""
    segmenter, inpainter = material.store.identities or ("", "")
    return {
        "data_set": meta.get("data_set"),
        "classes": list(material.classes),
        **asdict(material.store.settings),
        # Identities say more than the names in the settings: weights and files by their checksum.
        "segmenter": segmenter,
        "inpainter": inpainter,
        **asdict(composite),
        **export.recipe(),
    }


def _add_originals(
    out: Path, material: Material, export: ExportSettings, engine: Engine
) -> tuple[list[Video], tuple[SkippedPair, ...]]:
    if export.include_real == "no":
        return [], ()
    return add_originals(
        out, material.originals, export.include_real, engine, lambda done, total: None
    )


def _describe(
    exported: ExportedSet,
    names: Sequence[str],
    originals: Sequence[Video],
    layouts: Sequence[str],
) -> None:
    """Write the manifest, and what follows from it: layouts and data card."""
    out, index = exported.out, {label: i for i, label in enumerate(exported.classes)}
    found = ((name, read_record(out, name)) for name in names)
    composites = (composite_row(name, record, index) for name, record in found if record)
    write_manifest(out, chain(composites, original_rows(originals, index)))
    for layout in layouts_named(layouts):
        layout.make(exported)
    write_card(exported, layouts_named(layouts))


def met_budget(rows: Sequence[ScoredPair], budget: int | None) -> int:
    """How many clips there are to be: as many as pairs if not given.

    Raises:
        InputError: there are fewer pairs.
    """
    if budget is not None and budget > len(rows):
        raise InputError(
            f"The budget is {budget} and there are only {len(rows)} pairs; choose more with "
            "`l2a select`, or lower --budget."
        )
    return len(rows) if budget is None else budget


class _Clips:
    """Makes clips, round by round, until the budget is met.

    Attributes:
        made: positions of the candidates whose clips are there.
        failed: positions of those that could not be made in this call.
    """

    def __init__(
        self,
        maker: ClipMaker,
        candidates: Sequence[ScoredPair],
        names: Sequence[str],
        material: Material,
    ) -> None:
        self.made: set[int] = set()
        self.failed: set[int] = set()
        self._maker, self._candidates, self._names = maker, candidates, names
        self._material = material
        self._prepare = material.prepare or (lambda rows: {})

    def find_made(self, budget: int) -> frozenset[int]:
        """Note the clips that an earlier try made; at most as many as the budget."""
        out = self._maker.out
        there = [i for i, name in enumerate(self._names) if read_record(out, name) is not None]
        unusable = self._prepare([self._candidates[i] for i in there])
        for position in there:
            clip = self._plan(position, unusable)
            if isinstance(clip, Clip) and len(self.made) < budget and reuse_clip(self._maker, clip):
                self.made.add(position)
        return frozenset(self.made)

    def make(
        self, picked: Sequence[int], engine: Engine, budget: int, progress: Report | None
    ) -> None:
        """Try to make some clips."""
        unusable = self._prepare([self._candidates[i] for i in picked])
        clips: dict[str, tuple[int, Clip]] = {}
        for position in picked:
            clip = self._plan(position, unusable)
            if isinstance(clip, Clip):
                clips[clip.name] = position, clip
            else:
                self._failed(position, clip)
        report = progress or (lambda done, total: None)
        report(len(self.made), budget)
        for clip, why in make_clips(self._maker, [clip for _, clip in clips.values()], engine):
            position, _ = clips[clip.name]
            if why:
                self._failed(position, why)
            else:
                self.made.add(position)
                report(len(self.made), budget)

    def skipped(self) -> tuple[SkippedPair, ...]:
        """The candidates that could not be made, now or in an earlier try, in their order."""
        rows = []
        for position, name in enumerate(self._names):
            failure = read_failure(self._maker.out, name)
            if failure and position in self.made:
                write_failure(self._maker.out, name, None)
            elif failure:
                rows.append(failure)
        return tuple(rows)

    def _failed(self, position: int, why: SkippedPair) -> None:
        self.failed.add(position)
        write_failure(self._maker.out, self._names[position], why)

    def _plan(self, position: int, unusable: Mapping[str, str]) -> Clip | SkippedPair:
        row = self._candidates[position]
        for video_id in (row.foreground, row.background):
            if video_id in unusable:
                return skipped_pair(row, f"{video_id}: {unusable[video_id]}")
        foreground, background = (
            self._maker.store.record(video_id) for video_id in (row.foreground, row.background)
        )
        if foreground.foreground_unfit:
            return skipped_pair(row, f"{foreground.id}: {foreground.foreground_unfit}")
        if background.background_unfit:
            return skipped_pair(row, f"{background.id}: {background.background_unfit}")
        return Clip(
            name=self._names[position],
            pair=row,
            foreground=self._material.videos[row.foreground],
            background=self._material.videos[row.background],
            layers=(foreground.fingerprint, background.fingerprint),
            memory=pair_memory(foreground, background),
        )


def check_pairs(rows: Sequence[ScoredPair], material: Material) -> None:
    """Refuse pairs that the data set cannot make.

    Raises:
        InputError: there are none, one is listed twice, or it names a video or a class that is not
            there, or a video that is not of the train split.
    """
    if not rows:
        raise InputError("There are no pairs to export; select some with a larger budget.")
    listed: set[tuple[str, str]] = set()
    classes = frozenset(material.classes)
    for row in rows:
        pair = (row.foreground, row.background)
        if pair in listed:
            raise InputError(f"The pair {pair[0]} on {pair[1]} is listed twice; list it once.")
        listed.add(pair)
        for video_id, label in zip(pair, (row.foreground_class, row.background_class), strict=True):
            _check_video(video_id, label, material.videos, classes)


def _check_video(
    video_id: str, label: str, videos: Mapping[str, Video], classes: frozenset[str]
) -> None:
    video = videos.get(video_id)
    if video is None:
        raise InputError(
            f"The pairs name the video {video_id}, which the data set lacks; "
            f"give the data set they were selected from."
        )
    if video.split not in TRAIN_SIDE:
        raise InputError(
            f"The pairs name the video {video_id} of the {video.split} split; only "
            f"training videos may be composited, so select again with this split."
        )
    if label != video.label or label not in classes:
        raise InputError(
            f"The pairs call the class of {video_id} {label!r}, and the data set "
            f"{video.label!r}; give the data set they were selected from."
        )
