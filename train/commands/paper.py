"""`l2a paper`: a table of the paper: what it takes, and with --start its runs and figures."""

from __future__ import annotations

from l2a.arguments import Arguments
from l2a.errors import InputError
from l2a.options import PaperSettings
from train.commands import ablate, show
from train.paper.planning import ablate_arguments, describe, plan_table


def run(arguments: Arguments) -> None:
    """Print the plan; with --start, run what is not finished, group by group.

    Raises:
        InputError: there is no such table, or nothing of it can be started.
        L2AError: some of the runs failed.
    """
    wanted = arguments[PaperSettings]
    plans = plan_table(wanted)
    show(*describe(plans, wanted))
    if not wanted.start:
        return
    ready = [plan for plan in plans if not plan.missing]
    if not ready:
        raise InputError(
            f"Nothing of table {wanted.cells} can be started: {plans[0].missing} is missing; put "
            "it there."
        )
    for plan in ready:
        ablate.run(ablate_arguments(plan.words))
