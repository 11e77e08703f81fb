"""Export: the chosen pairs as an augmented data set of video files, for any other framework.

Each clip appears whole or not at all, and the same call again makes only what is missing. Pairs
that cannot be made are replaced by the next best, so that there are as many clips as the budget
says, and never more. What lies where in the folder is said in `compositing/clipfolder.py`, and what
frameworks get of it in `compositing/faces`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from compositing.clipfolder import (
    Claim,
    SkippedPair,
    check_claim,
    check_folder,
    claim_folder,
    clip_name,
    composite_row,
    made_pairs,
    read_claim,
    read_fallen,
    read_record,
    sweep,
    write_fallen,
    write_manifest,
    write_skipped,
)
from compositing.clipmaking import Clip, Workshop, make_clips, reuse_clip, skipped_pair
from compositing.engines import Engine
from compositing.engines.local import HERE
from compositing.faces import ExportedSet, make_faces
from compositing.faces.folders import class_folders
from compositing.faces.videofolder import write_card
from compositing.making import LayerMaker
from compositing.originals import add_originals, original_rows
from compositing.records import pair_memory
from compositing.replacing import next_best
from compositing.settings import CompositeSettings, ExportSettings
from l2a.errors import InputError, L2AError
from l2a.files import fingerprint
from l2a.pairs import ScoredPair
from l2a.progress import Report
from l2a.videos import Video

Prepare = Callable[[Sequence[ScoredPair]], Mapping[str, str]]
"""Makes the layers that pairs lack; gives back video id ─► why it can have none."""


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
        missing: by how many clips the folder falls short of its budget, for want of spare pairs.
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
            text += f", {self.replaced} of the clips are the next best in the place of others"
        if self.missing:
            text += f"; {self.missing} fewer than the budget, because no spare pairs are left"
        if self.originals:
            text += f"; {self.originals} originals"
        return text


def export_pairs(
    rows: Sequence[ScoredPair],
    videos: Mapping[str, Video],
    classes: Sequence[str],
    store: LayerMaker,
    out: Path,
    composite: CompositeSettings,
    export: ExportSettings,
    *,
    meta: Mapping[str, Any],
    spares: Sequence[ScoredPair] = (),
    budget: int | None = None,
    chosen_by: str = "",
    originals: Sequence[Video] = (),
    prepare: Prepare | None = None,
    engine: Engine = HERE,
    progress: Report | None = None,
) -> ExportReport:
    """Write the composites of the best pairs as a data set, with the faces that are asked for.

    `label` is the foreground's class even where λ < ½: it is the action that is seen; `soft_label`
    is the mixed label of Eq. 7. A pair falls out when a video of it cannot be read, or is unfit for
    its side; the next best takes its place, of the same foreground class if `meta` says that the
    choice was balanced. The engine changes no byte of the result.

    A folder that holds clips takes the same settings and the same or a larger budget. Where
    `chosen_by` says that the same Selector chose them, clips of a smaller budget stay even when
    `rows` lack their pairs; else such clips are refused.

    Args:
        rows: the pairs, each once, best first; the manifest keeps their order.
        videos: id ─► video; all that `rows` and `spares` name.
        classes: all class names of the data set, in the order of their indices.
        store: holds the layers of all these videos, or `prepare` makes them.
        out: the data set's folder; new, or left by an earlier call with the same settings.
        composite: the label rule and α, the blend, and how far placements go.
        export: the encoder's settings, faces, and whether to add the originals.
        meta: of the pairs file; `seed`, `data_set` and `balance` are used.
        spares: the next best pairs, in their order.
        budget: how many clips; as many as `rows` if not given. Rows beyond it are spare ones.
        chosen_by: fingerprint of the Selector and of what else the choice depends on.
        originals: the videos that `include_real` adds.
        prepare: makes layers that are missing.
        engine: spreads the work.
        progress: called as `progress(clips done, clips in all)`.

    Raises:
        InputError: `rows` is empty, shorter than the budget, or names a pair twice, a video or
            class that is not there, or a video that is not of the train split; or `out` holds clips
            of other settings or pairs, or more than the budget.
        L2AError: no clip could be made.
    """
    candidates = [*rows, *spares]
    _check_rows(candidates, videos, classes)
    budget = met_budget(rows, budget)
    if {"torchvision", "fiftyone"} & set(export.face_names):
        class_folders(tuple(classes))
    before = read_claim(out)
    claim = check_claim(out, Claim(budget, chosen_by, export.face_names, export.include_real))
    if before and chosen_by and before.chosen_by == chosen_by:
        here = {(row.foreground, row.background) for row in candidates}
        kept = [row for row in made_pairs(out) if (row.foreground, row.background) not in here]
        _check_rows(kept or candidates, videos, classes)
        candidates = kept + candidates
    segmenter, inpainter = store.identities
    recipe = {
        "data_set": meta.get("data_set"),
        "classes": list(classes),
        **asdict(store.settings),
        # Identities say more than the names in the settings: weights and files by their checksum.
        "segmenter": segmenter,
        "inpainter": inpainter,
        **asdict(composite),
        **export.recipe(),
    }
    shop = Workshop(store, out, composite, export, fingerprint(recipe), meta.get("seed"))
    names = [clip_name(row, shop.settings) for row in candidates]
    check_folder(out, recipe, names)
    claim_folder(out, recipe, claim)
    sweep(out)

    work = _Work(shop, candidates, names, videos, prepare or (lambda rows: {}))
    balanced = meta.get("balance", "none") != "none"
    groups = [row.foreground_class if balanced else "" for row in candidates]
    reused = work.find_made(budget)
    while picked := next_best(groups, budget, work.made, work.fallen):
        work.make(picked, engine, budget, progress)
    skipped = work.skipped()
    if not work.made:
        write_skipped(out, skipped)
        raise L2AError(
            f"None of the {budget} clips could be made; the first reason: {skipped[0].reason}."
        )
    final = sorted(work.made)
    index = {label: i for i, label in enumerate(classes)}
    added: list[Video] = []
    if export.include_real != "no":
        added, left_out = add_originals(
            out, originals, export.include_real, engine, lambda done, total: None
        )
        skipped += left_out
    write_skipped(out, skipped)
    sweep(out, (names[i] for i in final))
    found = ((names[i], read_record(out, names[i])) for i in final)
    composites = (composite_row(name, record, index) for name, record in found if record)
    write_manifest(out, chain(composites, original_rows(added, index)))
    exported = ExportedSet(out, tuple(classes), recipe, budget, export.shard_size * 1_000_000)
    make_faces(exported, claim.faces)
    write_card(exported, claim.faces)
    return ExportReport(
        out,
        made=len(final) - len(reused & work.made),
        reused=len(reused & work.made),
        skipped=skipped,
        replaced=sum(i >= budget for i in final),
        missing=budget - len(final),
        originals=len(added),
    )


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


class _Work:
    """The making of clips, round by round, until the budget is met.

    Attributes:
        made: positions of the candidates whose clips are there.
        fallen: positions of those that could not be made in this call.
    """

    def __init__(
        self,
        shop: Workshop,
        candidates: Sequence[ScoredPair],
        names: Sequence[str],
        videos: Mapping[str, Video],
        prepare: Prepare,
    ) -> None:
        self.made: set[int] = set()
        self.fallen: set[int] = set()
        self._shop, self._candidates, self._names = shop, candidates, names
        self._videos, self._prepare = videos, prepare

    def find_made(self, budget: int) -> frozenset[int]:
        """Note the clips that an earlier try made; at most as many as the budget."""
        out = self._shop.out
        there = [i for i, name in enumerate(self._names) if read_record(out, name) is not None]
        gone = self._prepare([self._candidates[i] for i in there])
        for position in there:
            clip = self._plan(position, gone)
            if isinstance(clip, Clip) and len(self.made) < budget and reuse_clip(self._shop, clip):
                self.made.add(position)
        return frozenset(self.made)

    def make(
        self, picked: Sequence[int], engine: Engine, budget: int, progress: Report | None
    ) -> None:
        """Try to make some clips."""
        gone = self._prepare([self._candidates[i] for i in picked])
        clips: dict[str, tuple[int, Clip]] = {}
        for position in picked:
            clip = self._plan(position, gone)
            if isinstance(clip, Clip):
                clips[clip.name] = position, clip
            else:
                self._fell_out(position, clip)
        report = progress or (lambda done, total: None)
        report(len(self.made), budget)
        for clip, why in make_clips(self._shop, [clip for _, clip in clips.values()], engine):
            position, _ = clips[clip.name]
            if why:
                self._fell_out(position, why)
            else:
                self.made.add(position)
                report(len(self.made), budget)

    def skipped(self) -> tuple[SkippedPair, ...]:
        """The candidates that fell out, now or in an earlier try, in their order."""
        rows = []
        for position, name in enumerate(self._names):
            fallen = read_fallen(self._shop.out, name)
            if fallen and position in self.made:
                write_fallen(self._shop.out, name, None)
            elif fallen:
                rows.append(fallen)
        return tuple(rows)

    def _fell_out(self, position: int, why: SkippedPair) -> None:
        self.fallen.add(position)
        write_fallen(self._shop.out, self._names[position], why)

    def _plan(self, position: int, gone: Mapping[str, str]) -> Clip | SkippedPair:
        row = self._candidates[position]
        for video_id in (row.foreground, row.background):
            if video_id in gone:
                return skipped_pair(row, f"{video_id}: {gone[video_id]}")
        front, behind = (self._shop.store.record(i) for i in (row.foreground, row.background))
        if front.foreground_unfit:
            return skipped_pair(row, f"{front.id}: {front.foreground_unfit}")
        if behind.background_unfit:
            return skipped_pair(row, f"{behind.id}: {behind.background_unfit}")
        return Clip(
            name=self._names[position],
            pair=row,
            foreground=self._videos[row.foreground],
            background=self._videos[row.background],
            layers=(front.fingerprint, behind.fingerprint),
            memory=pair_memory(front, behind),
        )


def _check_rows(
    rows: Sequence[ScoredPair], videos: Mapping[str, Video], classes: Sequence[str]
) -> None:
    if not rows:
        raise InputError("There are no pairs to export; select some with a larger budget.")
    known = set(classes)
    seen: set[tuple[str, str]] = set()
    for row in rows:
        pair = (row.foreground, row.background)
        if pair in seen:
            raise InputError(f"The pair {pair[0]} on {pair[1]} is listed twice; list it once.")
        seen.add(pair)
        for video_id, label in zip(pair, (row.foreground_class, row.background_class), strict=True):
            video = videos.get(video_id)
            if video is None:
                raise InputError(
                    f"The pairs name the video {video_id}, which the data set lacks; "
                    f"give the data set they were selected from."
                )
            if video.split != "train":
                raise InputError(
                    f"The pairs name the video {video_id} of the {video.split} split; only "
                    f"training videos may be composited, so select again with this split."
                )
            if label != video.label or label not in known:
                raise InputError(
                    f"The pairs call the class of {video_id} {label!r}, and the data set "
                    f"{video.label!r}; give the data set they were selected from."
                )
