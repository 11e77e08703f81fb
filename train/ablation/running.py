"""The runs of an ablation, one after another; finished ones are read, failed ones are listed."""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from l2a.disks import is_full
from l2a.errors import L2AError
from l2a.logs import LOGGER, opened_run
from l2a.progress import in_words, say
from l2a.runs import Run
from train.ablation.drawn import write_tables
from train.ablation.plan import LAYERS, MASKS, Plan, PlannedRun
from train.ablation.results import Outcome, Results, read_outcome
from train.scene_test.clips import APART
from train.settings.full import FullSettings
from train.two_stage import train

Train = Callable[[Path, Path, FullSettings], object]
"""What makes a run: `train.two_stage.train`."""

DONE = "report.html"
"""What a run writes last."""


def run_all(plan: Plan, work: Train = train) -> Results:
    """Make every run that is not finished, and write the tables anew after each.

    Args:
        plan: the runs; the ablation's own folder is open.
        work: makes one.

    Returns:
        What came out, the runs that failed among them.
    """
    own = plan.out / LAYERS
    for store in plan.stores():
        if store.parent == own:
            share_masks(store, plan.masks)
            # Of test videos, for the scene test: apart, as all that is theirs.
            share_masks(store.with_name(store.name + APART), own / (MASKS + APART))
    outcomes: dict[PlannedRun, Outcome] = {}
    took: list[float] = []
    for number, run in enumerate(plan.runs, 1):
        say(f"── run {number} of {len(plan.runs)}: {run.title}")
        began = time.monotonic()
        outcomes[run], fresh = one(plan, run, work)
        opened_run(plan.out)  # whose log goes on
        write_tables(plan.out, Results(plan.table, outcomes))
        if fresh:
            took.append(time.monotonic() - began)
            left = sum(not finished(other) for other in plan.runs[number:])
            if left:
                mean = sum(took) / len(took)
                say(f"a run takes about {in_words(mean)}; the other {left} about "
                    f"{in_words(left * mean)}")  # fmt: skip
    return Results(plan.table, outcomes)


def one(plan: Plan, run: PlannedRun, work: Train) -> tuple[Outcome, bool]:
    """What one run came to, and whether anything was computed for it."""
    try:
        if finished(run):
            Run(run.folder).refuse_other("train", run.settings.groups(), {"data": plan.data})
            say(f"{run.folder} is finished")
            return read_outcome(run), False
        work(plan.data, run.folder, run.settings)
        return read_outcome(run), True
    except L2AError as error:
        reason = str(error)
    except Exception as error:  # it costs this run alone, and its reason is listed
        if is_full(error):
            raise  # which strikes all that follow
        LOGGER.debug(traceback.format_exc())
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    LOGGER.error(f"{run.title}: {reason}")
    return Outcome(failed=reason), True


def finished(run: PlannedRun) -> bool:
    """Whether a run has written all that it writes."""
    return (run.folder / DONE).is_file()


def share_masks(store: Path, masks: Path) -> None:
    """Let a layer store keep its raw masks where the others do: they are found once.

    Raw masks do not depend on what the rows differ in; their file names tell segmenters apart.
    Where links cannot be made, each store finds its own.
    """
    place = store / MASKS
    if place.is_symlink() or place.exists() or place == masks:
        return
    masks.mkdir(parents=True, exist_ok=True)
    store.mkdir(parents=True, exist_ok=True)
    try:
        place.symlink_to(os.path.relpath(masks.resolve(), store.resolve()), True)
    except OSError as error:
        LOGGER.debug(f"{place} cannot be a link ({error}); masks are found again for this store")
