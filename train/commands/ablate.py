"""`l2a ablate`: rows of a table, trained on splits and seeds, compared in pairs."""

from __future__ import annotations

from compositing.settings import EngineSettings
from l2a.arguments import Arguments
from l2a.errors import L2AError
from l2a.logs import say
from l2a.options import AblationSettings
from l2a.runs import Run
from train.ablation.drawn import NAME, markdown
from train.ablation.plan import COMMAND, describe, make_plan
from train.ablation.running import run_all, run_side_by_side
from train.ablation.spread import in_words, make_spread
from train.ablation.table import read_table
from train.commands import show
from train.distributed import refuse_launcher
from train.settings.full import ClassifierSettings


def run(arguments: Arguments) -> None:
    """Train what is not trained yet, and print the table.

    Raises:
        L2AError: some of the runs failed; the others were made all the same.
    """
    wanted = arguments[AblationSettings]
    engine = arguments[EngineSettings]
    plan, how = make_plan(arguments, read_table(wanted.table)), in_words(wanted.jobs, engine)
    if wanted.dry_run:
        show(*describe(plan, how))
        return
    refuse_launcher("ablate")
    spread = make_spread(wanted.jobs, engine, arguments[ClassifierSettings].device)
    own = Run.open(plan.out, COMMAND, plan.groups, {"data": plan.data})
    for line in describe(plan, how):
        say(line)
    own.fix_settings()
    results = run_side_by_side(plan, spread) if spread else run_all(plan)
    show(markdown(results, results.lines()), "", f"everything is in {plan.out}, as {NAME}.*")
    if results.failed:
        raise L2AError(
            f"{len(results.failed)} of {len(plan.runs)} runs failed; the reasons are in "
            f"{plan.out / NAME}.md, and the same command tries them again."
        )
