"""`l2a paper`: a table of the paper: what it takes, and with --start its runs and figures."""

from __future__ import annotations

from l2a.arguments import Arguments
from l2a.errors import InputError, L2AError
from l2a.logs import LOGGER
from l2a.options import PaperSettings
from l2a.videos import counted
from train.commands import show
from train.distributed import refuse_launcher
from train.paper.filling import NAME, damaged, write_table
from train.paper.planning import describe, plan_table
from train.paper.running import refuse_others, run_table


def run(arguments: Arguments) -> None:
    """Print the plan, and the table where runs are finished; with --start, run first what is not.

    Raises:
        InputError: there is no such table, nothing of it can be started, a finished run was made
            with other settings or does not say its figure, or a launcher started it.
        L2AError: some of the commands failed.
    """
    wanted = arguments[PaperSettings]
    if wanted.start:
        refuse_launcher("paper --start")
    groups = plan_table(wanted)
    show(*describe(groups, wanted))
    folder = wanted.out / f"table-{wanted.cells}"
    failed = run_table(groups, wanted.cells, folder) if wanted.start else []
    if not wanted.start:
        refuse_others(groups)
    if any(cell.values() for group in groups for row in group.rows for cell in row.cells.values()):
        show("", write_table(folder, groups, wanted.cells), "", f"it is in {folder}, as {NAME}.*")
    unread = damaged(groups)
    for reason in unread:
        LOGGER.error(reason)
    if failed:
        raise L2AError(
            f"{len(failed)} of the commands failed, such as `l2a {' '.join(failed[0].words[:3])} …`"
            f" ({failed[0].reason.rstrip('.')}); the same command tries them again."
        )
    if unread:
        raise InputError(
            f"{counted(len(unread), 'run')} said to be finished cannot be read, and the table is "
            "without them; remove the folders that are named above, to have them made again."
        )
